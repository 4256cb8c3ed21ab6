"""Which rows a private generator learns from: each for itself, none because of another user's.

Privacy compares a log with the same log less one user, so nothing else may change when a user
leaves. Whether a row is in, and in which part, is decided by its own id and by its user's other
rows alone: there are no caps that are filled up in hash order, which a user who leaves would let
others into. Every row is in, at most `max_user_rows` of a user; where that is too many for this
machine it is refused, not cut. There is no validation part, since held-out rows may decide nothing.

Public, as if known beforehand: the settings; names and kinds of columns; the segments, their
profiles, and which user is in which; which segments drift, and on which request types; and that
an id is of one request of one user.

Covered by epsilon: the codec and the generator of all segments, `codec_json` and `weights` of the
row of `synthesizers` without a segment, which with the public `profiles_json` make the synthesizer
that may leave. Not covered: all else that is told of the rows. The gate's scores, fidelity and who
serves are computed on real held-out rows; counts, hashes and versions are exact; a synthetic
request borrows a logged user; resampled requests are logged ones. These tables stay inside.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from rehearsal.errors import SettingsError
from rehearsal.generate.training.plan import CONTEXT, Share, pack
from rehearsal.generate.training.stage import TEST, TRAINING
from rehearsal.seeds import derive_seed, hash_order, uniform
from rehearsal.settings import Generator
from rehearsal.tables.schemas import COLD, NOISE

Counts = Mapping[tuple[str, ...], int]


def rows_of_users(rows: DataFrame, most: int, seed: int) -> DataFrame:
    """Return at most `most` rows of every user, by hash: what one user can change is bounded."""
    order = hash_order(derive_seed(seed, "user rows"), "request_id")
    by_user = Window.partitionBy("user_id").orderBy(order, "request_id")
    return rows.withColumn("of_user", F.row_number().over(by_user)).where(
        F.col("of_user") <= most
    ).drop("of_user")  # fmt: skip


def part_of_row(chosen: Sequence[str], settings: Generator, seed: int) -> Column:
    """Return the STRING column `part`: test for a share of the chosen segments' rows, by own hash.

    The gate judges the chosen segments only, so all other rows are trained on.
    """
    held_out = uniform(derive_seed(seed, "parts"), "request_id") < settings.test_share
    judged = F.col("segment_id").isin(*chosen)
    return F.when(judged & held_out, F.lit(TEST)).otherwise(F.lit(TRAINING))


def plan_private(
    counts: Counts, chosen: Sequence[str], known: Sequence[str], settings: Generator
) -> list[Share]:
    """Return what every segment brings, the chosen ones first, then all known in order of names.

    A segment keeps its place also when it has no rows. The counts decide where rows are staged,
    and whether there are too many; nothing that is learnt.

    Args:
        counts: sound rows by (segment, part).
        chosen: the drifting segments.
        known: all segments.
        settings: the section `generator`.

    Raises:
        SettingsError: there are more rows than `max_total_rows`.
    """
    segments = [*chosen, *sorted({*known, COLD, NOISE} - set(chosen))]
    parts = {s: (counts.get((s, TEST), 0), counts.get((s, TRAINING), 0)) for s in segments}
    total = sum(map(sum, parts.values()))
    if chosen and total > settings.max_total_rows:
        raise SettingsError(
            f"generator.private: {total:,} requests, generator.max_total_rows is "
            f"{settings.max_total_rows:,}. No cap on the total may leave rows out in private mode "
            "(a user who leaves would let others in): raise max_total_rows to what the driver "
            "can hold, lower private.max_user_rows, or shorten the replay range"
        )
    bins = pack({segment: sum(parts[segment]) for segment in chosen})
    return [
        Share(segment, position, bins.get(segment, CONTEXT), sum(parts[segment]), n_test, 0, n)
        for position, (segment, (n_test, n)) in enumerate(parts.items())
    ]


def private_rows(rows: DataFrame, shares: Sequence[Share], seed: int) -> DataFrame:
    """Return the rows of the planned segments with `position`, `bin`, and `place` in their part.

    The place, a rank over users, is for the gate alone, which looks at so many rows and no more.

    Args:
        rows: the sound rows with their `part`.
        shares: of `plan_private`.
        seed: of the step.
    """
    plan = rows.sparkSession.createDataFrame(
        [(s.segment_id, s.position, s.bin) for s in shares],
        "segment_id string, position int, bin int",
    )
    order = hash_order(derive_seed(seed, "training"), "request_id")
    by_hash = Window.partitionBy("segment_id", "part").orderBy(order, "request_id")
    placed = rows.join(F.broadcast(plan), "segment_id")
    return placed.withColumn("place", F.row_number().over(by_hash))
