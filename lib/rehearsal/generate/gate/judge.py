"""The verdict on a synthesizer: its scores, both ends of the scale, and what it is refused for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.membership import Attack
from rehearsal.generate.gate.scores import (
    Scores,
    Setting,
    compared_rows,
    likeness_of_halves,
    score_all,
)
from rehearsal.generate.gate.table import Table, encode
from rehearsal.generate.gate.utility import Utility
from rehearsal.seeds import derive_seed
from rehearsal.settings import Gate

# Of eight scores, at one side each: 1% that any exceeds them, were they normal and independent.
STANDARD_ERRORS = 3


@dataclass(frozen=True)
class Kind:
    """What a score is called, which setting limits it, and what a perfect generator has."""

    name: str
    title: str
    setting: str
    ideal: float

    @property
    def sign(self) -> int:
        """1 where lower is better, -1 where higher is."""
        return -1 if self.setting.startswith("min_") else 1


KINDS = (
    Kind("c2st", "C2ST AUC", "max_c2st", 0.5),
    Kind("shapes", "likeness of columns", "min_shapes", 1.0),
    Kind("pairs", "likeness of pairs of columns", "min_pairs", 1.0),
    Kind("utility", "TSTR as a share of TRTR", "min_utility", 1.0),
    Kind("dcr_share", "share of rows nearer to training rows", "max_dcr_share", 0.5),
    Kind("nndr_gap", "NNDR below that of real rows", "max_nndr_gap", 0.0),
    Kind("exact", "copies beyond those real rows have", "max_exact", 0.0),
    Kind("membership", "membership advantage", "max_membership", 0.0),
)


@dataclass(frozen=True)
class Score:
    """One score of a synthesizer beside its limit and both ends of the scale.

    Args:
        score: one of KINDS.
        direction: "at most" or "at least": what `limit` is.
        value: of the synthesizer; None: undefined.
        half_vs_half: of one half of the training rows in place of synthetic ones.
        independent: of columns drawn independently.
        limit: what `value` is held against.
        passed: whether it keeps the limit; what is undefined passes.
        note: why the limit is not the configured one, or why there is no value.
        reason: one sentence on a refusal; empty if passed.
    """

    score: str
    direction: str
    value: float | None
    half_vs_half: float | None
    independent: float | None
    limit: float
    passed: bool
    note: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Judgement:
    """All scores, one each of KINDS in that order."""

    scores: tuple[Score, ...]

    @property
    def passed(self) -> bool:
        """Whether every score keeps its limit, and at least one could be computed."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused, one sentence per score; empty if passed."""
        if all(score.value is None for score in self.scores):
            return ("no score can be computed of so few rows",)
        return tuple(score.reason for score in self.scores if not score.passed)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return one row per score, by column name."""
        return [
            {
                "score": score.score,
                "direction": score.direction,
                "synthesizer": score.value,
                "half_vs_half": score.half_vs_half,
                "independent": score.independent,
                "limit": score.limit,
                "passed": score.passed,
                "note": " ".join(filter(None, (score.reason, score.note))),
            }
            for score in self.scores
        ]


def judge(
    training: pd.DataFrame,
    test: pd.DataFrame,
    synthetic: pd.DataFrame,
    target: str | None,
    likelihoods: Attack | None,
    settings: Gate,
    seed: int,
) -> Judgement:
    """Return the scores of the synthesizer and whether it may be used.

    A limit asks for no more than real rows reach: it is loosened to STANDARD_ERRORS standard
    errors beyond the score that one half of the training rows has in place of synthetic ones (the
    other half standing for the training rows), or beyond a perfect generator's score where the half
    happens to do better. So a limit depends on the real rows and on the number of rows, never on
    the synthesizer, and with many rows it is the configured one.

    Args:
        training: rows the synthesizer was fitted on, columns as a codec decodes them.
        test: real rows it has not seen.
        synthetic: its rows, drawn for conditions distributed as those of the test rows.
        target: column that is predicted to measure utility; None: utility is not measured.
        likelihoods: log-likelihoods by the generator of training rows, and of test rows.
        settings: the limits.
        seed: of everything drawn.

    Raises:
        ModelError: the tables' columns differ, or the target is none of them.
    """
    if target is not None and target not in training.columns:
        raise ModelError(f"the target {target!r} is no column of the rows that are judged")
    members, others, made = encode(training, test, synthetic)
    rng = np.random.default_rng(derive_seed(seed, "judge"))
    order = rng.permutation(len(members))
    middle = len(order) // 2
    halves = members.take(order[:middle]), members.take(order[middle:])
    setting = Setting(compared_rows(members, others, made), target, seed)
    attacks = [likelihoods] if likelihoods is not None else []
    own, utility = score_all(members, others, made, setting, attacks)
    half, _ = score_all(halves[1], others, halves[0], setting)
    independent, _ = score_all(members, others, members.independent(rng), setting)
    expected = likeness_of_halves(members, setting.n, seed)
    notes = {"utility": _about_utility(utility, target)}
    return Judgement(
        tuple(
            _score(kind, (own, half, independent), expected, settings, notes.get(kind.name, ""))
            for kind in KINDS
        )
    )


def _score(
    kind: Kind,
    found: tuple[Scores, Scores, Scores],
    expected: Mapping[str, Measured],
    settings: Gate,
    about: str,
) -> Score:
    own, half, independent = (_value(scores[kind.name]) for scores in found)
    asked = float(getattr(settings, kind.setting))
    reached = _reached(kind, found[1][kind.name], expected.get(kind.name))
    limit = asked if reached is None else kind.sign * max(kind.sign * asked, kind.sign * reached)
    passed = own is None or kind.sign * own <= kind.sign * limit
    notes = [about]
    if limit != asked:
        notes.append(f"gate.{kind.setting} {asked:.2f} is loosened to what real halves reach.")
    if own is None and not about:
        notes.append("Undefined: too few rows, or no column it is defined for.")
    score = Score(
        score=kind.name,
        direction="at most" if kind.sign > 0 else "at least",
        value=own,
        half_vs_half=half,
        independent=independent,
        limit=limit,
        passed=passed,
        note=" ".join(filter(None, notes)),
    )
    return score if passed else replace(score, reason=_reason(kind, score, asked))


def _reached(kind: Kind, half: Measured | None, expected: Measured | None) -> float | None:
    """Return the worst score that real rows have, but for one in hundreds."""
    if half is None:
        return None
    perfect = expected.value if expected else kind.ideal
    error = expected.error if expected else half.error
    worse = max(kind.sign * half.value, kind.sign * perfect)
    return kind.sign * (worse + STANDARD_ERRORS * error)


def _reason(kind: Kind, score: Score, asked: float) -> str:
    side = "above" if kind.sign > 0 else "below"
    value = f"{kind.title} {score.value:.3f} is {side} gate.{kind.setting} {asked:.3f}"
    if score.limit != asked:
        value += f", loosened to {score.limit:.3f} for the number of rows"
    return (
        f"{value}; real halves reach {_text(score.half_vs_half)}, "
        f"independent columns {_text(score.independent)}."
    )


def _about_utility(utility: Utility | None, target: str | None) -> str:
    if target is None:
        return "Undefined: no target."
    if utility is None:
        return f"Undefined: too few rows with {target}, or a single class or value of it."
    parts = f"TSTR {utility.tstr.value:.3f}, TRTR {utility.trtr.value:.3f} for {target}."
    return (
        parts if utility.ratio else f"Undefined: real rows predict no better than chance. {parts}"
    )


def _value(measured: Measured | None) -> float | None:
    return None if measured is None else measured.value


def _text(value: float | None) -> str:
    return "an undefined one" if value is None else f"{value:.3f}"
