"""What an earlier run of the same history of segments left serving each segment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, Row, Window
from pyspark.sql import functions as F

from rehearsal.errors import ModelError
from rehearsal.generate.gate.candidates import ALL, RESAMPLED, SERVING, Candidate
from rehearsal.generate.rounds import FRESH, Predecessor
from rehearsal.generate.training.profiles import Profiles, effect_sizes, segment_vectors
from rehearsal.settings import Private
from rehearsal.tables.schemas import EFFECTS, GENERATOR_ROUNDS, SYNTHESIZERS
from rehearsal.tables.store import Store


@dataclass(frozen=True)
class History:
    """Where a run stands among the rounds of its history of segments.

    Args:
        round: its number, the same when the run is done again.
        predecessors: segment -> what served until now, told too where it is gone or damaged.
    """

    round: int
    predecessors: dict[str, Predecessor]


def read_history(
    store: Store, segmentation: str, run_id: str, profiles: pd.DataFrame, segments: Sequence[str]
) -> History:
    """Return the run's round and what each segment's generator is to beat.

    Args:
        store: the tables.
        segmentation: name of the history of segments.
        run_id: of this run, which is never its own predecessor.
        profiles: rows of `segment_profiles` in force.
        segments: the drifting ones of this run; of no others anything is read.
    """
    if not store.exists(GENERATOR_ROUNDS):
        return History(1, {})
    rounds = store.read(GENERATOR_ROUNDS).where(F.col("segmentation") == segmentation)
    own = rounds.where(F.col("run_id") == run_id).agg(F.max("round")).collect()[0][0]
    others = rounds.where(F.col("run_id") != run_id)
    newest = others.agg(F.max("round")).collect()[0][0]
    number = int(own or (newest or 0) + 1)
    wanted = others.where((F.col("round") < number) & F.col("segment_id").isin(list(segments)))
    # A run stopped before its end may have left rounds, and no synthesizers.
    store.ensure(SYNTHESIZERS)
    synthesizers = store.read(SYNTHESIZERS)
    stored = synthesizers.select("segment_id", "run_id", F.lit(1).alias("stored"))
    # Such a round hides none that is whole; where there is no other, it is told as gone.
    latest = Window.partitionBy("segment_id").orderBy(
        F.desc_nulls_last("stored"), F.desc("round"), F.desc("run_id")
    )
    last = (
        wanted.join(stored, ["segment_id", "run_id"], "left")
        .withColumn("rank", F.row_number().over(latest))
        .where((F.col("rank") == 1) & (F.col("kept") != RESAMPLED))
        .select("segment_id", "run_id", "kept", "fresh_version", "serving_version")
    )
    # Bounded: a row per drifting segment.
    return History(number, _predecessors(store, synthesizers, last.collect(), profiles))


def _predecessors(
    store: Store, synthesizers: DataFrame, last: Sequence[Row], profiles: pd.DataFrame
) -> dict[str, Predecessor]:
    names = [(place["segment_id"], place["run_id"]) for place in last]
    schema = "segment_id string, run_id string"
    places = F.broadcast(synthesizers.sparkSession.createDataFrame(names, schema))
    # Bounded: a row per drifting segment, and one generator per run they come from.
    held = synthesizers.join(places, ["segment_id", "run_id"]).collect()
    rows = {row["segment_id"]: row.asDict() for row in held}
    runs = sorted({row["base_run_id"] for row in rows.values() if row["base_run_id"]})
    found_bases = synthesizers.where(F.col("segment_id").isNull() & F.col("run_id").isin(runs))
    bases = {row["run_id"]: _with_bytes(row) for row in found_bases.collect()}
    shown, described = _effects(store, places), effect_sizes(profiles)
    asked = store.settings.generator.private
    found = {}
    for place in last:
        segment = place["segment_id"]
        row = rows.get(segment, {})
        version = place["fresh_version" if place["kept"] == FRESH else "serving_version"]
        run_id = row.get("base_run_id") or place["run_id"]
        candidate, lost = None, ""
        try:
            check_private(run_id, bases.get(run_id), asked)
            candidate = _candidate(segment, run_id, row, bases.get(run_id), described)
        except ModelError as error:
            lost = str(error)
        found[segment] = Predecessor(version, run_id, shown.get(segment), candidate, lost)
    return found


def _with_bytes(row: Row) -> dict[str, Any]:
    """Return a generator's row, its weights made bytes once: its segments share the object."""
    weights = row["weights"]
    return row.asDict() | {"weights": None if weights is None else bytes(weights)}


def check_private(run_id: str, base: Mapping[str, Any] | None, asked: Private | None) -> None:
    """Check that a generator of an earlier run is as private as is asked now.

    Args:
        run_id: it was fitted in.
        base: its row of `synthesizers`; None: gone, of which nothing is said here.
        asked: the section `generator.private`; None: nothing is.

    Raises:
        ModelError: it is less so, or not at all.
    """
    if asked is None or base is None:
        return
    told = f"the generator of all segments of run {run_id} was fitted"
    if base["epsilon"] is None:
        raise ModelError(f"{told} without privacy, which generator.private asks for now")
    if base["epsilon"] > asked.epsilon or base["delta"] > asked.delta:
        raise ModelError(
            f"{told} with epsilon {base['epsilon']:.4g}, delta {base['delta']:g}; "
            f"generator.private allows {asked.epsilon:.4g}, {asked.delta:g} now"
        )


def _candidate(
    segment: str,
    run_id: str,
    row: Mapping[str, Any],
    base: Mapping[str, Any] | None,
    described: pd.DataFrame,
) -> Candidate:
    """Return what serves a segment, described by the profiles in force.

    Raises:
        ModelError: some of it is gone or damaged.
    """
    if not row or base is None or base["weights"] is None:
        what = "the generator of all segments" if row else f"what serves {segment}"
        raise ModelError(
            f"{what} of run {run_id} is gone from table synthesizers: that run was done again "
            "without it or not to its end, or its rows were deleted"
        )
    try:
        axes = Profiles.from_json(base["profiles_json"])
    except ModelError as error:
        raise ModelError(f"of the generator of run {run_id} {error}") from error
    vector = segment_vectors(axes, described, [segment])[0]
    added = None if row["served_by"] == ALL else row["weights"]
    return Candidate(
        SERVING, row["synthesizer_version"], base["kind"], base["codec_json"],
        base["weights"], None if added is None else bytes(added),
        {segment: [float(value) for value in vector]},
    )  # fmt: skip


def _effects(store: Store, places: DataFrame) -> dict[str, tuple[float, float]]:
    if not store.exists(EFFECTS):
        return {}
    rows = store.read(EFFECTS).where(F.col("scope") == "segment")
    held = rows.join(places, ["segment_id", "run_id"])
    names = ("segment_id", "effect_per_1000", "effect_ci_low")
    return {
        row["segment_id"]: (row["effect_per_1000"], row["effect_ci_low"])
        for row in held.select(*names).collect()
        if row["effect_ci_low"] is not None
    }
