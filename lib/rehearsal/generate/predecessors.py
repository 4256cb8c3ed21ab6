"""What an earlier run of the same history of segments left serving each segment."""

from dataclasses import dataclass

import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from rehearsal.generate.gate.candidates import ALL, RESAMPLED, SERVING, Candidate
from rehearsal.generate.rounds import Predecessor
from rehearsal.generate.training.profiles import Profiles, effect_sizes, segment_vectors
from rehearsal.tables.schemas import EFFECTS, GENERATOR_ROUNDS, SYNTHESIZERS
from rehearsal.tables.store import Store


@dataclass(frozen=True)
class History:
    """Where a run stands among the rounds of its history of segments.

    Args:
        round: its number, the same when the run is done again.
        predecessors: segment -> what served until now.
    """

    round: int
    predecessors: dict[str, Predecessor]


def read_history(store: Store, segmentation: str, run_id: str, profiles: pd.DataFrame) -> History:
    """Return the run's round and what each segment's generator is to beat.

    Args:
        store: the tables.
        segmentation: name of the history of segments.
        run_id: of this run, which is never its own predecessor.
        profiles: rows of `segment_profiles` in force.
    """
    if not store.exists(GENERATOR_ROUNDS):
        return History(1, {})
    rounds = store.read(GENERATOR_ROUNDS).where(F.col("segmentation") == segmentation)
    own = rounds.where(F.col("run_id") == run_id).agg(F.max("round")).collect()[0][0]
    others = rounds.where(F.col("run_id") != run_id)
    newest = others.agg(F.max("round")).collect()[0][0]
    number = int(own or (newest or 0) + 1)
    latest = Window.partitionBy("segment_id").orderBy(F.desc("round"), F.desc("run_id"))
    last = (
        others.where(F.col("round") < number)
        .withColumn("rank", F.row_number().over(latest))
        .where(F.col("rank") == 1)
        .select("segment_id", "run_id")
    )
    return History(number, _predecessors(store, last, profiles))


def _predecessors(store: Store, last: DataFrame, profiles: pd.DataFrame) -> dict[str, Predecessor]:
    synthesizers = store.read(SYNTHESIZERS)
    held = synthesizers.join(F.broadcast(last), ["segment_id", "run_id"])
    # Bounded: at most max_segments rows, and one generator per run they come from.
    rows = [row.asDict() for row in held.where(F.col("served_by") != RESAMPLED).collect()]
    runs = sorted({row["base_run_id"] for row in rows})
    bases = {
        row["run_id"]: row.asDict()
        for row in synthesizers.where(
            F.col("segment_id").isNull() & F.col("run_id").isin(runs)
        ).collect()
    }
    shown, described = _effects(store, last), effect_sizes(profiles)
    found = {}
    for row in rows:
        base, segment = bases.get(row["base_run_id"]), row["segment_id"]
        if base is None or base["weights"] is None:
            # Its run was done again without it, or its rows are gone.
            continue
        axes = Profiles.from_json(base["profiles_json"])
        vector = segment_vectors(axes, described, [segment])[0]
        added = None if row["served_by"] == ALL else row["weights"]
        candidate = Candidate(
            SERVING, row["synthesizer_version"], base["kind"], base["codec_json"],
            bytes(base["weights"]), None if added is None else bytes(added),
            {segment: [float(value) for value in vector]},
        )  # fmt: skip
        found[segment] = Predecessor(candidate, row["base_run_id"], shown.get(segment))
    return found


def _effects(store: Store, last: DataFrame) -> dict[str, tuple[float, float]]:
    if not store.exists(EFFECTS):
        return {}
    rows = store.read(EFFECTS).where(F.col("scope") == "segment")
    held = rows.join(F.broadcast(last), ["segment_id", "run_id"])
    names = ("segment_id", "effect_per_1000", "effect_ci_low")
    return {
        row["segment_id"]: (row["effect_per_1000"], row["effect_ci_low"])
        for row in held.select(*names).collect()
        if row["effect_ci_low"] is not None
    }
