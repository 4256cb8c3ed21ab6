"""The requests of breaching segments, in the windows that matter, with features and outputs."""

from collections.abc import Sequence
from math import ceil

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins
from rehearsal.drift.breach import Breach
from rehearsal.drift.dimensions import DAY, HOUR, Field, time_columns
from rehearsal.drift.kpis import counted_kpis, ratios_of
from rehearsal.drift.narrow import answers, outputs_of, window_index
from rehearsal.drift.random_groups import group_of
from rehearsal.drift.spread import Spread
from rehearsal.names import quoted
from rehearsal.runtime import Job
from rehearsal.seeds import derive_seed, uniform
from rehearsal.tables.schemas import COLD, REPLAYS
from rehearsal.tables.source import admit_requests, open_source, read_users

_ROWS_PER_PART = 1_000_000
_PLACED = {
    "request_id": "string", HOUR: "string", DAY: "string", "segment": "int", "bucket": "int",
    "draw": "double",
}  # fmt: skip


def breach_requests(
    job: Job, bins: Bins, breaches: Sequence[Breach], fields: Sequence[Field], n_requests: int
) -> DataFrame:
    """Return one row per request that counts for a breach, in order of segment in a partition.

    (segment, window, bucket, draw, f0, f1, ..., x0, y0, ...): segment is the breach's number of
    it, window the number of the window, bucket the user's random group, draw uniform on [0, 1) by
    the request's id, f{i} the value of fields[i], and the rest as `Spread` has them. A request
    that is no longer in the log has no features; it still counts.

    Args:
        job: the run.
        bins: the bins its counts were made with.
        breaches: what breaches.
        fields: the dimensions.
        n_requests: about how many rows there will be.
    """
    placed = _placed(job, breaches)
    numbered = _numbers(job, placed, bins)
    names = {field.name: f"f{i}" for i, field in enumerate(fields)}
    keys = [F.col(quoted(n)).alias(names[n]) for n in ("request_type", HOUR, DAY)]
    counted = [n for n in numbered.columns if n[1:].isdigit()]
    whole = numbered.join(_features(job, placed, fields), "request_id", "left")
    profiles = _profiles(job, fields)
    if profiles is not None:
        whole = whole.join(profiles, "user_id", "left")
    own = [F.col(names[field.name]) for field in fields if field.origin != "key"]
    chosen = whole.select("segment", "window", "bucket", "draw", *keys, *own, *counted)
    parts = max(ceil(n_requests / _ROWS_PER_PART), 1)
    return chosen.repartition(parts, "segment", "bucket").sortWithinPartitions("segment")


def _placed(job: Job, breaches: Sequence[Breach]) -> DataFrame:
    """Return the replays of breaching segments in the windows of their breaches."""
    wanted = {
        (one.segment_id, one.segment, window)
        for one in breaches
        for window in (*one.breaching, *one.baseline)
    }
    named = job.spark.createDataFrame(sorted(wanted), "segment_id string, segment int, window int")
    ids = sorted({one[0] for one in wanted})
    index = window_index(F.col("requested_at"), job.settings.drift.window)
    replays = job.store.read(REPLAYS, run_id=job.run_id, origin="logged")
    in_time = replays.where("user_id IS NOT NULL").withColumn("window", index)
    in_time = in_time.where(F.col("window").isin(sorted({one[2] for one in wanted})))
    held = job.segments()
    if COLD in ids:  # those without a segment too
        rows = in_time.join(held, "user_id", "left")
        rows = rows.withColumn("segment_id", F.coalesce("segment_id", F.lit(COLD)))
    else:
        rows = in_time.join(held.where(F.col("segment_id").isin(ids)), "user_id")
    return rows.join(F.broadcast(named), ["segment_id", "window"])


def _numbers(job: Job, placed: DataFrame, bins: Bins) -> DataFrame:
    """Return the keys and the outputs' numbers of every request."""
    settings = job.settings
    graded = settings.requests.columns.outcome is not None
    kpis = counted_kpis(settings.kpis)
    names, ratios = outputs_of(bins, kpis, graded=graded), ratios_of(kpis)
    rows = placed.withColumns(
        {
            "bucket": group_of(settings.seed, "user_id"),
            "draw": uniform(derive_seed(settings.seed, "dimensions"), "request_id"),
            **time_columns(F.col("requested_at")),
        }
    )
    kept = {**_PLACED, "user_id": "string", "request_type": "string", "window": "int"}
    spread = Spread(names, bins.classes, frozenset(ratios), tuple(kept))
    chosen = rows.select(*map(quoted, kept), *answers(names, bins, ratios))
    fields = [f"{quoted(name)} {kind}" for name, kind in kept.items()]
    return chosen.mapInArrow(spread, ", ".join([*fields, *spread.fields]))


def _features(job: Job, placed: DataFrame, fields: Sequence[Field]) -> DataFrame:
    """Return (request_id, f...) from the log, of the users in `placed` alone.

    The first sound request of an id is the one that was replayed, and it is among its user's.
    """
    settings, columns = job.settings, job.settings.requests.columns
    table = open_source(job.spark, settings.requests, "requests")
    instant = table[quoted(columns.requested_at)].try_cast("timestamp")
    in_range = (instant >= F.lit(settings.replay.start)) & (instant < F.lit(settings.replay.end))
    users = placed.select(F.col("user_id").alias("__user")).distinct()
    theirs = table[quoted(columns.user_id)].try_cast("string") == F.col("__user")
    near = table.where(in_range).join(users, theirs, "left_semi")
    admitted = admit_requests(near, settings, settings.requests.label).rows
    return admitted.select("request_id", *_named(fields, "request"))


def _profiles(job: Job, fields: Sequence[Field]) -> DataFrame | None:
    users = job.settings.users
    if users is None:
        return None
    return read_users(job.spark, users).rows.select("user_id", *_named(fields, "user"))


def _named(fields: Sequence[Field], origin: str) -> list[Column]:
    return [
        F.col(quoted(field.name)).alias(f"f{i}")
        for i, field in enumerate(fields)
        if field.origin == origin
    ]
