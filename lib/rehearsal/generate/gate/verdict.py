"""What each score is held against, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.scores import Scores
from rehearsal.settings import Gate

# Of eight scores, at one side each: 1% that any exceeds them, were they normal and independent.
STANDARD_ERRORS = 3


@dataclass(frozen=True)
class Criterion:
    """What a score is called, which setting limits it, and what a perfect generator has."""

    name: str
    title: str
    setting: str
    ideal: float

    @property
    def sign(self) -> int:
        """1 where lower is better, -1 where higher is."""
        return -1 if self.setting.startswith("min_") else 1

    @property
    def direction(self) -> str:
        """What the limit is: "at most" or "at least"."""
        return "at most" if self.sign > 0 else "at least"


CRITERIA = (
    Criterion("c2st", "C2ST AUC", "max_c2st", 0.5),
    Criterion("shapes", "likeness of columns", "min_shapes", 1.0),
    Criterion("pairs", "likeness of pairs of columns", "min_pairs", 1.0),
    Criterion("utility", "TSTR as a share of TRTR", "min_utility", 1.0),
    Criterion("dcr_share", "share of rows nearer to training rows", "max_dcr_share", 0.5),
    Criterion("nndr_gap", "NNDR lower by training rows", "max_nndr_gap", 0.0),
    Criterion("exact", "copies beyond those of held-out rows", "max_exact", 0.0),
    Criterion("membership", "membership advantage", "max_membership", 0.0),
)


@dataclass(frozen=True)
class Score:
    """One score of a synthesizer beside its limit and both ends of the scale.

    Args:
        score: one of CRITERIA.
        direction: "at most" or "at least": what `limit` is.
        value: of the synthesizer; None: undefined.
        half_vs_half: of one half of the training rows in place of synthetic ones.
        independent: of columns drawn independently.
        limit: what `value` is held against.
        passed: whether it keeps the limit; what is undefined passes.
        note: why the limit is not the configured one, or why there is no value.
        reason: one sentence on a refusal; empty if passed.
        error: standard error of `value`; None: undefined.
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
    error: float | None = None


@dataclass(frozen=True)
class Judgement:
    """All scores, one each of CRITERIA in that order."""

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
                "standard_error": score.error,
                "half_vs_half": score.half_vs_half,
                "independent": score.independent,
                "limit": score.limit,
                "passed": score.passed,
                "note": " ".join(filter(None, (score.reason, score.note))),
            }
            for score in self.scores
        ]


def decide(
    criterion: Criterion,
    found: tuple[Scores, Scores, Scores],
    expected: Mapping[str, Measured],
    settings: Gate,
    about: str = "",
) -> Score:
    """Return a score beside its limit.

    Args:
        criterion: which score.
        found: of the synthesizer, of a half of the real rows, and of independent columns.
        expected: mean and standard deviation that real rows have, for scores that have them.
        settings: the limits.
        about: a note on the value, or on why there is none.
    """
    own, half, independent = (_value(scores[criterion.name]) for scores in found)
    asked = float(getattr(settings, criterion.setting))
    reached = _reached(criterion, found[1][criterion.name], expected.get(criterion.name))
    limit = (
        asked
        if reached is None
        else criterion.sign * max(criterion.sign * asked, criterion.sign * reached)
    )
    passed = own is None or criterion.sign * own <= criterion.sign * limit
    notes = [about]
    if limit != asked:
        notes.append(f"gate.{criterion.setting} {asked:.2f} is loosened to what real halves reach.")
    if own is None and not about:
        notes.append("Undefined: too few rows, or no column it is defined for.")
    score = Score(
        score=criterion.name,
        direction=criterion.direction,
        value=own,
        half_vs_half=half,
        independent=independent,
        limit=limit,
        passed=passed,
        note=" ".join(filter(None, notes)),
        error=_error(found[0][criterion.name]),
    )
    return score if passed else replace(score, reason=_reason(criterion, score, asked))


def _reached(
    criterion: Criterion, half: Measured | None, expected: Measured | None
) -> float | None:
    """Return the worst score that real rows have, but for one in hundreds; None: unknown."""
    known = expected or half
    if known is None:
        return None
    perfect = expected.value if expected else criterion.ideal
    values = [perfect] if half is None else [perfect, half.value]
    worse = max(criterion.sign * value for value in values)
    return criterion.sign * (worse + STANDARD_ERRORS * known.error)


def _reason(criterion: Criterion, score: Score, asked: float) -> str:
    side = "above" if criterion.sign > 0 else "below"
    value = f"{criterion.title} {score.value:.3f} is {side} gate.{criterion.setting} {asked:.3f}"
    if score.limit != asked:
        value += f", loosened to {score.limit:.3f} for the number of rows"
    return (
        f"{value}; real halves reach {_text(score.half_vs_half)}, "
        f"independent columns {_text(score.independent)}."
    )


def _value(measured: Measured | None) -> float | None:
    return None if measured is None else measured.value


def _error(measured: Measured | None) -> float | None:
    # Of a likeness it is not known: what it says is how sets of real rows differ.
    return None if measured is None or measured.error == 0 else measured.error


def _text(value: float | None) -> str:
    return "an undefined one" if value is None else f"{value:.3f}"
