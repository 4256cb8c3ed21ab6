"""Judge the candidates of every drifting segment on the executors, a segment at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import ModelError
from rehearsal.generate.codec.columns import Categorical
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.redate import redated
from rehearsal.generate.gate.candidates import (
    SERVING,
    Candidate,
    with_instants,
    with_seconds,
)
from rehearsal.generate.gate.judge import Ends, ends_of_scale, judge
from rehearsal.generate.gate.verdict import CRITERIA
from rehearsal.generate.training.stage import TEST, TRAINING
from rehearsal.names import quoted
from rehearsal.seeds import derive_seed
from rehearsal.settings import Gate

JUDGED_ROWS = 5_000
"""Most rows of a part that a judgement looks at: more would tell no more."""
TOGETHER = "all drifting segments together"
_SCHEMA = (
    "judged_as string, candidate string, synthesizer_version string, n_test long, score string, "
    "direction string, value double, standard_error double, half_vs_half double, "
    "independent double, limit double, passed boolean, note string"
)

_ENDS = ("half_vs_half", "independent", "limit")
_NUMBERS = ("value", "standard_error", *_ENDS)
_LONGEST_NOTE, _MOST_TOLD = 2_000, 3


@dataclass(frozen=True)
class Bench:
    """What a judgement needs beside the rows.

    Args:
        candidates: judged as -> the candidates, in the order they are tried.
        codec_json: of this run: the columns that requests have now.
        target: the column whose prediction measures utility.
        gate: the limits.
        seed: of everything drawn.
    """

    candidates: Mapping[str, Sequence[Candidate]]
    codec_json: str
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
    return spread.groupBy("judged_as").applyInPandas(judge_group(bench), _SCHEMA)


@dataclass(frozen=True, eq=False)
class _Real:
    """The real rows of a judgement; every candidate is held against the same ends of the scale."""

    training: pd.DataFrame
    test: pd.DataFrame
    target: str
    seed: int

    @cached_property
    def ends(self) -> Ends:
        return ends_of_scale(*self.compared, len(self.test), self.target, self.seed)

    @property
    def compared(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        keys = ["judged_as", "segment_id", "part", "request_id"]
        return self.training.drop(columns=keys), self.test.drop(columns=keys)


def judge_group(bench: Bench) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return what a worker does with the rows of one judgement: their scores, by candidate."""

    def work(frame: pd.DataFrame) -> pd.DataFrame:
        name = str(frame["judged_as"].iloc[0])
        # In an order of their own: which rows are drawn must not hang on the shuffle.
        ordered = frame.sort_values(["part", "segment_id", "request_id"], ignore_index=True)
        seed = derive_seed(bench.seed, name)
        test = _sampled(ordered[ordered["part"] == TEST], seed)
        training = _sampled(ordered[ordered["part"] == TRAINING], seed)
        real = _Real(training, test, bench.target, derive_seed(seed, "judge"))
        made: list[pd.DataFrame] = []
        for candidate in bench.candidates[name]:
            judged = _judged_or_told(bench, candidate, real, seed)
            made.append(judged.assign(judged_as=name, n_test=len(test)))
            if judged["passed"].all() and candidate.name != SERVING:
                break
        return _with_ends(pd.concat(made, ignore_index=True), bench.gate)

    return work


def _sampled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    few = min(len(frame), JUDGED_ROWS)
    chosen = np.random.default_rng(seed).permutation(len(frame))[:few]
    return frame.iloc[np.sort(chosen)].reset_index(drop=True)


def _judged_or_told(bench: Bench, candidate: Candidate, real: _Real, seed: int) -> pd.DataFrame:
    try:
        rows = _judged(bench, candidate, real, seed)
    except Exception as error:  # noqa: BLE001  one candidate must not take the others down
        kind = "" if isinstance(error, ModelError) else f"{type(error).__name__}: "
        rows = _refused(f"Not judged: {kind}{error}"[:_LONGEST_NOTE])
    return rows.assign(candidate=candidate.name, synthesizer_version=candidate.version)


def _refused(why: str) -> pd.DataFrame:
    rows = [
        {
            "score": criterion.name,
            "direction": criterion.direction,
            "passed": False,
            "note": why,
        }
        for criterion in CRITERIA
    ]
    return pd.DataFrame(rows).assign(**dict.fromkeys(_NUMBERS, np.nan))


def _with_ends(rows: pd.DataFrame, gate: Gate) -> pd.DataFrame:
    """Return the rows with the scale, which is the real rows', at who was not judged too."""
    ends = list(_ENDS)
    rows[ends] = rows.groupby("score")[ends].transform("first")
    asked = {criterion.name: float(getattr(gate, criterion.setting)) for criterion in CRITERIA}
    rows["limit"] = rows["limit"].fillna(rows["score"].map(asked))
    names = [part.split()[0] for part in _SCHEMA.split(", ")]
    return rows[names]


def _judged(bench: Bench, candidate: Candidate, real: _Real, seed: int) -> pd.DataFrame:
    earlier, generator = candidate.load()
    now = Codec.from_json(bench.codec_json)
    _check_columns(earlier, now)
    codec = redated(earlier, now)
    parts = {TRAINING: real.training, TEST: real.test}
    codes = {part: codec.encode(with_instants(rows, codec)) for part, rows in parts.items()}
    vectors = {part: candidate.vectors(rows["segment_id"]) for part, rows in parts.items()}
    asked = _asked(real, seed)
    given, profiles = codec.encode_conditions(asked), candidate.vectors(asked["segment_id"])
    drawn = generator.sample(given, profiles, derive_seed(seed, "sample"))
    values = codec.decode(drawn, np.random.default_rng(derive_seed(seed, "values")))
    synthetic = with_seconds(values, codec).assign(
        **{c.name: asked[c.name] for c in codec.conditions}
    )
    held = [generator.log_likelihood(codes[part], vectors[part]) for part in parts]
    likelihoods = None if held[0] is None or held[1] is None else (held[0], held[1])
    found = judge(
        *real.compared, synthetic, real.target, likelihoods, bench.gate, real.seed, real.ends
    )
    rows = pd.DataFrame(found.as_rows()).rename(columns={"synthesizer": "value"})
    rows = rows.astype(dict.fromkeys(_NUMBERS, float))
    if not found.passed and rows["passed"].all():
        # Nothing could be computed, which is no proof of anything.
        rows = rows.assign(passed=False, note=" ".join(found.reasons))
    return rows


def _asked(real: _Real, seed: int) -> pd.DataFrame:
    """Return the rows whose conditions are asked for: held-out and training rows, half of each.

    Given those of held-out rows alone, synthetic ones would share their users' attributes, and lie
    nearer to them than to training rows whatever the generator has learnt by heart.
    """
    rng = np.random.default_rng(derive_seed(seed, "asked"))
    n = len(real.test)
    sizes = {"test": n - n // 2, "training": n // 2}
    halves = [
        rows.iloc[np.sort(rng.permutation(len(rows))[: sizes[name]])]
        for name, rows in (("test", real.test), ("training", real.training))
    ]
    return pd.concat(halves, ignore_index=True)


def _check_columns(codec: Codec, now: Codec) -> None:
    """Check that a codec is of the columns that requests have now, as an earlier one may not be.

    Raises:
        ModelError: it is of others, or of other kinds.
    """
    known, columns = ({c.name: c.kind for c in one.columns} for one in (codec, now))
    told = [
        f"column {name!r} is {columns.get(name, 'none')} now, "
        f"and {known.get(name, 'none')} to the generator"
        for name in sorted({*known, *columns})
        if known.get(name) != columns.get(name)
    ]
    if told:
        raise ModelError(f"it was fitted on other columns than requests have now: {_listed(told)}")


def _listed(told: Sequence[str]) -> str:
    return "; ".join(told[:_MOST_TOLD]) + ("; ..." if len(told) > _MOST_TOLD else "")


def target_of(codec: Codec, outcome: str | None) -> str:
    """Return the column whose prediction measures utility: the outcome, else the request type."""
    generated = {column.name for column in codec.generated}
    if outcome in generated:
        return str(outcome)
    first = next((c for c in codec.conditions if isinstance(c, Categorical)), None)
    return first.name if first is not None else codec.generated[0].name
