"""Candidates judged one after another, in one process, on the real rows of a judgement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.redate import redated
from rehearsal.generate.gate.candidates import SERVING, Candidate, with_instants, with_seconds
from rehearsal.generate.gate.judge import Ends, ends_of_scale, judge
from rehearsal.generate.gate.verdict import CRITERIA
from rehearsal.generate.training.child import reason_of
from rehearsal.generate.training.pack import pack
from rehearsal.generate.training.stage import TEST, TRAINING
from rehearsal.seeds import derive_seed
from rehearsal.settings import Gate

ASKED_ROWS = 5_000
"""Most synthetic rows of a judgement."""
_NUMBERS = ("value", "standard_error", "half_vs_half", "independent", "limit")
_LONGEST_NOTE, _MOST_TOLD = 2_000, 3
Row = dict[Any, Any]


@dataclass(frozen=True)
class Bench:
    """What a judgement needs beside the rows.

    Args:
        candidates: judged as -> the candidates, in the order they are tried.
        codec_json: of this run: the columns that requests have now.
        target: the column whose prediction measures utility.
        gate: the limits.
        seed: of everything drawn.
        timeout_seconds: the longest that the process of a judgement may take.
    """

    candidates: Mapping[str, Sequence[Candidate]]
    codec_json: str
    target: str
    gate: Gate
    seed: int
    timeout_seconds: float


@dataclass(frozen=True, eq=False)
class Real:
    """The real rows of a judgement; every candidate is held against the same ends of the scale.

    Args:
        training: with the columns of `judged_rows`.
        test: held out; the same columns.
        target: the column whose prediction measures utility.
        seed: of everything drawn.
    """

    training: pd.DataFrame
    test: pd.DataFrame
    target: str
    seed: int

    @cached_property
    def ends(self) -> Ends:
        """Both ends of the scale, computed once."""
        return ends_of_scale(*self.compared, ASKED_ROWS, self.target, self.judge_seed)

    @property
    def judge_seed(self) -> int:
        """The seed of what a judgement draws of the real rows."""
        return derive_seed(self.seed, "judge")

    @property
    def compared(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Training and held-out rows with the columns that generators make and are asked by."""
        keys = ["judged_as", "segment_id", "part", "request_id"]
        return self.training.drop(columns=keys), self.test.drop(columns=keys)


def judge_in_turn(bench: Bench, candidates: Sequence[Candidate], real: Real) -> bytes:
    """Return what the candidates show, in their order, up to the first that may serve.

    Args:
        bench: limits and seed.
        candidates: in the order they are tried.
        real: what they are judged by.

    Returns:
        Packed `rows`, one per candidate and score.
    """
    rows: list[Row] = []
    for candidate in candidates:
        own = rows_of(candidate, _judged_or_told(bench, candidate, real))
        rows += own
        if serves(own):
            break
    return pack({"rows": rows})


def serves(rows: Sequence[Row]) -> bool:
    """Return whether these are of a fresh candidate that passed, after which none is tried."""
    return all(row["passed"] and row["candidate"] != SERVING for row in rows)


def rows_of(candidate: Candidate, rows: pd.DataFrame) -> list[Row]:
    """Return a candidate's scores as plain rows that say whose they are."""
    told = rows.assign(candidate=candidate.name, synthesizer_version=candidate.version)
    return [dict(row) for row in told.to_dict("records")]


def _judged_or_told(bench: Bench, candidate: Candidate, real: Real) -> pd.DataFrame:
    try:
        return _judged(bench, candidate, real)
    except Exception as error:  # noqa: BLE001  one candidate must not take the others down
        return refused_rows(reason_of(error))


def refused_rows(why: str) -> pd.DataFrame:
    """Return a row per score of a candidate that could not be judged."""
    rows = [
        {
            "score": criterion.name,
            "direction": criterion.direction,
            "passed": False,
            "note": f"Not judged: {why}"[:_LONGEST_NOTE],
        }
        for criterion in CRITERIA
    ]
    return pd.DataFrame(rows).assign(**dict.fromkeys(_NUMBERS, np.nan))


def _judged(bench: Bench, candidate: Candidate, real: Real) -> pd.DataFrame:
    earlier, generator = candidate.load()
    now = Codec.from_json(bench.codec_json)
    _check_columns(earlier, now)
    codec = redated(earlier, now)
    parts = {TRAINING: real.training, TEST: real.test}
    codes = {part: codec.encode(with_instants(rows, codec)) for part, rows in parts.items()}
    vectors = {part: candidate.vectors(rows["segment_id"]) for part, rows in parts.items()}
    asked, seed = _asked(real), real.seed
    given, profiles = codec.encode_conditions(asked), candidate.vectors(asked["segment_id"])
    drawn = generator.sample(given, profiles, derive_seed(seed, "sample"))
    values = codec.decode(drawn, np.random.default_rng(derive_seed(seed, "values")))
    synthetic = with_seconds(values, codec).assign(
        **{c.name: asked[c.name] for c in codec.conditions}
    )
    held = [generator.log_likelihood(codes[part], vectors[part]) for part in parts]
    likelihoods = None if held[0] is None or held[1] is None else (held[0], held[1])
    found = judge(
        *real.compared, synthetic, real.target, likelihoods, bench.gate, real.judge_seed, real.ends
    )
    rows = pd.DataFrame(found.as_rows()).rename(columns={"synthesizer": "value"})
    rows = rows.astype(dict.fromkeys(_NUMBERS, float))
    if not found.passed and rows["passed"].all():
        # Nothing could be computed, which is no proof of anything.
        rows = rows.assign(passed=False, note=" ".join(found.reasons))
    return rows


def _asked(real: Real) -> pd.DataFrame:
    """Return the rows whose conditions are asked for: any training or held-out row as likely.

    A synthetic row shares its user's attributes with the row it is asked by, and so lies near to
    it, whatever the generator has learnt by heart. Only where both kinds are asked at the same rate
    does that make neither of them nearer (see `gate.privacy`).
    """
    both = pd.concat([real.training, real.test], ignore_index=True)
    rng = np.random.default_rng(derive_seed(real.seed, "asked"))
    chosen = rng.permutation(len(both))[:ASKED_ROWS]
    return both.iloc[np.sort(chosen)].reset_index(drop=True)


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
