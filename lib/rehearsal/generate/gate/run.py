"""Judge the candidates of every drifting segment on the executors, a segment at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.generate.codec.columns import Categorical
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.gate.candidates import Candidate, with_instants, with_seconds
from rehearsal.generate.gate.judge import judge
from rehearsal.generate.training.stage import TEST, TRAINING
from rehearsal.names import quoted
from rehearsal.seeds import derive_seed
from rehearsal.settings import Gate

JUDGED_ROWS = 5_000
"""Most rows of a part that a judgement looks at: more would tell no more."""
TOGETHER = "all drifting segments together"
_SCHEMA = (
    "judged_as string, candidate string, synthesizer_version string, n_test long, score string, "
    "direction string, value double, half_vs_half double, independent double, limit double, "
    "passed boolean, note string"
)


@dataclass(frozen=True)
class Bench:
    """What a judgement needs beside the rows.

    Args:
        candidates: judged as -> the candidates, in the order they are tried.
        columns: the columns compared, conditions included.
        target: the column whose prediction measures utility.
        gate: the limits.
        seed: of everything drawn.
    """

    candidates: Mapping[str, Sequence[Candidate]]
    columns: tuple[str, ...]
    target: str
    gate: Gate
    seed: int


def judged_rows(rows: DataFrame, codec: Codec, judged_as: Mapping[str, str]) -> DataFrame:
    """Return the rows that judgements look at, instants as seconds, with `judged_as` and `part`.

    Args:
        rows: `training_rows`.
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
    near = rows.where(F.col("part").isin(TRAINING, TEST) & (F.col("place") <= JUDGED_ROWS))
    return near.join(F.broadcast(pairs), "segment_id").select(
        "judged_as", "segment_id", "part", "request_id", *values
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
    groups = len(bench.candidates)
    # As many partitions as groups, so that no two judgements wait for one another.
    spread = rows.repartition(groups, "judged_as")
    return spread.groupBy("judged_as").applyInPandas(_judge_group(bench), _SCHEMA)


def _judge_group(bench: Bench) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def work(frame: pd.DataFrame) -> pd.DataFrame:
        name = str(frame["judged_as"].iloc[0])
        # In an order of their own: which rows are drawn must not hang on the shuffle.
        ordered = frame.sort_values(["part", "segment_id", "request_id"], ignore_index=True)
        seed = derive_seed(bench.seed, name)
        test = _sampled(ordered[ordered["part"] == TEST], seed)
        training = _sampled(ordered[ordered["part"] == TRAINING], seed)
        made: list[pd.DataFrame] = []
        for candidate in bench.candidates[name]:
            judged = _judged(bench, candidate, training, test, seed)
            made.append(judged.assign(judged_as=name, n_test=len(test)))
            if judged["passed"].all() and candidate.name != "serving":
                break
        names = [part.split()[0] for part in _SCHEMA.split(", ")]
        return pd.concat(made)[names]

    return work


def _sampled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    few = min(len(frame), JUDGED_ROWS)
    chosen = np.random.default_rng(seed).permutation(len(frame))[:few]
    return frame.iloc[np.sort(chosen)].reset_index(drop=True)


def _judged(
    bench: Bench, candidate: Candidate, training: pd.DataFrame, test: pd.DataFrame, seed: int
) -> pd.DataFrame:
    about = {"candidate": candidate.name, "synthesizer_version": candidate.version}
    codec, generator = candidate.load()
    real = {"training": training, "test": test}
    codes = {part: codec.encode(with_instants(rows, codec)) for part, rows in real.items()}
    vectors = {part: candidate.vectors(rows["segment_id"]) for part, rows in real.items()}
    given = codes["test"][:, : codec.n_conditions]
    drawn = generator.sample(given, vectors["test"], derive_seed(seed, "sample"))
    values = codec.decode(drawn, np.random.default_rng(derive_seed(seed, "values")))
    synthetic = with_seconds(values, codec).assign(
        **{c.name: test[c.name] for c in codec.conditions}
    )
    held = [generator.log_likelihood(codes[part], vectors[part]) for part in ("training", "test")]
    columns = [name for name in bench.columns if name in synthetic]
    likelihoods = None if held[0] is None or held[1] is None else (held[0], held[1])
    found = judge(
        training[columns], test[columns], synthetic[columns], bench.target, likelihoods,
        bench.gate, derive_seed(seed, "judge"),
    )  # fmt: skip
    rows = pd.DataFrame(found.as_rows()).rename(columns={"synthesizer": "value"})
    if not found.passed and rows["passed"].all():
        # Nothing could be computed, which is no proof of anything.
        rows = rows.assign(passed=False, note=" ".join(found.reasons))
    return rows.assign(**about)


def target_of(codec: Codec, outcome: str | None) -> str:
    """Return the column whose prediction measures utility: the outcome, else the request type."""
    generated = {column.name for column in codec.generated}
    if outcome in generated:
        return str(outcome)
    first = next((c for c in codec.conditions if isinstance(c, Categorical)), None)
    return first.name if first is not None else codec.generated[0].name
