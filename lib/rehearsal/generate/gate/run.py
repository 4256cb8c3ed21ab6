"""Judge the candidates of every drifting segment on the executors, a segment at a time.

A judgement runs in a child process, so that its death costs a candidate, and not the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from rehearsal.generate.codec.columns import Categorical
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.gate.candidates import Candidate
from rehearsal.generate.gate.in_turn import (
    Bench,
    Real,
    Row,
    judge_in_turn,
    refused_rows,
    rows_of,
    serves,
)
from rehearsal.generate.gate.verdict import CRITERIA
from rehearsal.generate.training.child import ChildDied, run_in_child
from rehearsal.generate.training.pack import unpack
from rehearsal.generate.training.stage import TEST, TRAINING
from rehearsal.names import quoted
from rehearsal.seeds import derive_seed, hash_order
from rehearsal.settings import Gate

JUDGED_ROWS = 5_000
"""Most rows of a part that a judgement looks at: more would tell no more."""
_PARTITIONS_EACH = 8
TOGETHER = "all drifting segments together"
_SCHEMA = (
    "judged_as string, candidate string, synthesizer_version string, n_test long, score string, "
    "direction string, value double, standard_error double, half_vs_half double, "
    "independent double, limit double, passed boolean, note string"
)

_ENDS = ("half_vs_half", "independent", "limit")


def judged_rows(rows: DataFrame, codec: Codec, judged_as: Mapping[str, str]) -> DataFrame:
    """Return the rows that judgements look at, instants as seconds, with `judged_as` and `part`.

    Of either part of a judgement at most JUDGED_ROWS, by hash, so that training and held-out rows
    are of the same segments in the same proportions.

    Args:
        rows: of all segments, with `segment_id` and `part`.
        codec: of the run.
        judged_as: drifting segment -> itself, or TOGETHER where its held-out rows are few. What
            is judged together is judged on the rows of all of them.
    """
    own = [pair for pair in judged_as.items() if pair[1] != TOGETHER]
    everyone = list(judged_as) if TOGETHER in judged_as.values() else []
    pairs = rows.sparkSession.createDataFrame(
        [*own, *((segment, TOGETHER) for segment in everyone)],
        "segment_id string, judged_as string",
    )
    columns = [*codec.conditions, *codec.generated]
    values = [_plain(c.name, kind=c.kind) for c in columns]
    parts = rows.where(F.col("part").isin(TRAINING, TEST)).join(F.broadcast(pairs), "segment_id")
    hashed = hash_order(derive_seed(0, "judged"), "request_id")
    by_hash = Window.partitionBy("judged_as", "part").orderBy(hashed, "request_id")
    return (
        # Spark keeps the first of each task before it shuffles (WindowGroupLimit).
        parts.withColumn("place", F.row_number().over(by_hash))
        .where(F.col("place") <= JUDGED_ROWS)
        .select("judged_as", "segment_id", "part", "request_id", *values)
    )


def _plain(name: str, *, kind: str) -> Any:
    column = F.col(quoted(name))
    seconds = F.unix_micros(column) / F.lit(1e6) if kind == "datetime" else column
    return seconds.alias(name)


def judge_candidates(rows: DataFrame, bench: Bench) -> DataFrame:
    """Return one row per judgement and score; a candidate is judged when all before it failed.

    Args:
        rows: `judged_rows`.
        bench: candidates, limits and seed.
    """
    # By hash: with so many partitions one judgement in eight shares its own with another.
    spread = rows.repartition(_PARTITIONS_EACH * len(bench.candidates), "judged_as")
    return spread.groupBy("judged_as").applyInPandas(judge_group(bench), _SCHEMA)


def judge_group(bench: Bench) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return what a worker does with the rows of one judgement: their scores, by candidate."""

    def work(frame: pd.DataFrame) -> pd.DataFrame:
        name = str(frame["judged_as"].iloc[0])
        _load(bench.candidates[name])
        # In an order of their own: which rows are drawn must not hang on the shuffle.
        ordered = frame.sort_values(["part", "segment_id", "request_id"], ignore_index=True)
        seed = derive_seed(bench.seed, name)
        test, training = (
            ordered[ordered["part"] == part].reset_index(drop=True) for part in (TEST, TRAINING)
        )
        real = Real(training, test, bench.target, seed)
        rows = _judge_apart(replace(bench, candidates={}), bench.candidates[name], real)
        made = pd.DataFrame(rows).assign(judged_as=name, n_test=len(test))
        return _with_ends(made, bench.gate)

    return work


def _load(candidates: Sequence[Candidate]) -> None:
    """Load what judgements need, which takes seconds, once in a worker: children are its forks."""
    import sklearn.ensemble  # noqa: F401

    if any(candidate.kind != "mixture" for candidate in candidates):
        import torch  # noqa: F401


def _judge_apart(bench: Bench, candidates: Sequence[Candidate], real: Real) -> list[Row]:
    """Judge in a child process; if it dies, each in one of its own, to lose only the reason."""
    try:
        judged = run_in_child(judge_in_turn, (bench, candidates, real), bench.timeout_seconds)
        rows: list[Row] = unpack(judged)["rows"]
    except ChildDied as death:
        if len(candidates) == 1:
            return rows_of(candidates[0], refused_rows(death.reason))
        rows = []
        for candidate in candidates:
            own = _judge_apart(bench, [candidate], real)
            rows += own
            if serves(own):
                break
    return rows


def _with_ends(rows: pd.DataFrame, gate: Gate) -> pd.DataFrame:
    """Return the rows with the scale, which is the real rows', at who was not judged too."""
    ends = list(_ENDS)
    rows[ends] = rows[ends].fillna(rows.groupby("score")[ends].transform("first"))
    asked = {criterion.name: float(getattr(gate, criterion.setting)) for criterion in CRITERIA}
    rows["limit"] = rows["limit"].fillna(rows["score"].map(asked))
    names = [part.split()[0] for part in _SCHEMA.split(", ")]
    return rows[names]


def target_of(codec: Codec, outcome: str | None) -> str:
    """Return the column whose prediction measures utility: the outcome, else the request type."""
    generated = {column.name for column in codec.generated}
    if outcome in generated:
        return str(outcome)
    first = next((c for c in codec.conditions if isinstance(c, Categorical)), None)
    return first.name if first is not None else codec.generated[0].name
