"""Round after round: the fresh generator of a segment against the one that serves, and why."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rehearsal.generate.gate.candidates import RESAMPLED, SERVING, Candidate

FRESH = "fresh"
_Z = 2.0
_AUC, _SHAPES, _PAIRS = "c2st", "shapes", "pairs"


@dataclass(frozen=True)
class Predecessor:
    """What an earlier run left serving a segment.

    Args:
        version: of the synthesizer.
        run_id: the run it was fitted in.
        effect: more disagreements per 1,000 requests when it last served, and the lower end of
            the interval; None: never measured.
        candidate: the generator; None: it cannot be judged.
        lost: why it cannot.
    """

    version: str
    run_id: str
    effect: tuple[float, float] | None
    candidate: Candidate | None
    lost: str = ""


@dataclass(frozen=True)
class Choice:
    """Who serves from now on: a candidate's name, `resampled` if none may, and why."""

    served_by: str
    why: str


def choose(scores: pd.DataFrame, predecessor: Predecessor | None) -> Choice:
    """Return who serves a segment.

    Who passes the gate goes before who does not. Of two that pass, the one that is harder to tell
    from real requests, if by more than two standard errors; else, and where C2ST of either is
    unknown, the one that serves stays if it is known to show more disagreements (its interval lies
    above 0), and gives way to newer data otherwise.

    Args:
        scores: rows of `generator_scores` of the segment, candidates in the order judged; `serving`
            among them if there is a predecessor that can be judged.
        predecessor: what served until now.
    """
    passed = [str(name) for name, shown in _by_candidate(scores).items() if shown["passed"].all()]
    fresh = next((name for name in passed if name != SERVING), None)
    if predecessor is None or SERVING not in passed:
        if fresh is None:
            return Choice(RESAMPLED, _none_passed(scores, predecessor))
        return Choice(fresh, _none_before(scores, predecessor))
    if fresh is None:
        return Choice(SERVING, _no_fresh(scores))
    return _better(scores, fresh, predecessor)


def _none_passed(scores: pd.DataFrame, predecessor: Predecessor | None) -> str:
    told = "no generator was fitted, or too few rows are held out to judge one"
    if len(scores):
        last = list(_by_candidate(scores))[-1]
        told = f"no generator passed its gate: {_refusal(scores, last)}"
    if predecessor is not None and predecessor.candidate is None:
        told = f"{told.rstrip('.')}; {_not_judged(predecessor)}"
    return told


def _not_judged(predecessor: Predecessor) -> str:
    return f"the one that served cannot be judged: {predecessor.lost}"


def _no_fresh(scores: pd.DataFrame) -> str:
    last = list(_by_candidate(scores))[-1]
    if last == SERVING:
        return "no fresh one was fitted"
    return f"the fresh one did not pass its gate: {_refusal(scores, last)}"


def _none_before(scores: pd.DataFrame, predecessor: Predecessor | None) -> str:
    if predecessor is None:
        return "the first that passed its gate"
    if predecessor.candidate is None:
        return _not_judged(predecessor)
    return f"the one that served no longer passes its gate: {_refusal(scores, SERVING)}"


def _refusal(scores: pd.DataFrame, candidate: Any) -> str:
    refused = scores[(scores["candidate"] == candidate) & ~scores["passed"].astype(bool)]
    # One that could not be judged says so at every score.
    return " ".join(dict.fromkeys(note for note in refused["note"] if note))


def _better(scores: pd.DataFrame, fresh: str, predecessor: Predecessor) -> Choice:
    gain, told = _gain(scores, fresh)
    if gain > 0:
        return Choice(fresh, f"harder to tell from real requests: {told}")
    if gain < 0:
        return Choice(SERVING, f"the fresh one is easier to tell from real requests: {told}")
    if predecessor.effect is not None and predecessor.effect[1] > 0:
        effect = predecessor.effect[0]
        return Choice(
            SERVING, f"as good ({told}), and known to show {effect:+.1f} disagreements per 1,000"
        )
    return Choice(fresh, f"as good ({told}), and of newer requests")


def _gain(scores: pd.DataFrame, fresh: str) -> tuple[float, str]:
    """Return by how much C2ST is lower for the fresh one, 0 where chance gives as much; in words.

    The two are judged by the same real rows, which makes their difference vary less than that of
    independent ones, whose error this is: the one that serves is not given up lightly.
    """
    auc = {name: score_of(scores, name, _AUC) for name in (fresh, SERVING)}
    new, old = auc[fresh], auc[SERVING]
    if new is None or old is None:
        return 0.0, f"C2ST AUC {_told(new)} against {_told(old)}"
    errors = [score_of(scores, name, _AUC, "standard_error") or 0.0 for name in auc]
    chance = _Z * math.hypot(*errors)
    told = f"C2ST AUC {new:.3f} against {old:.3f}, {chance:.3f} by chance"
    return (old - new if abs(old - new) > chance else 0.0), told


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def round_row(
    segment_id: str,
    versions: Mapping[str, str],
    scores: pd.DataFrame,
    predecessor: Predecessor | None,
    choice: Choice,
) -> dict[str, Any]:
    """Return the segment's row of `generator_rounds`, less run, round and history."""
    judged = list(_by_candidate(scores))
    fresh = choice.served_by if choice.served_by not in (SERVING, RESAMPLED) else None
    fresh = fresh or next((str(name) for name in reversed(judged) if name != SERVING), None)
    kept = choice.served_by if choice.served_by in (SERVING, RESAMPLED) else FRESH
    effect = predecessor.effect if predecessor is not None else None
    return {
        "segment_id": segment_id,
        "fresh_candidate": fresh,
        "fresh_version": versions.get(fresh or ""),
        "serving_version": predecessor.version if predecessor else None,
        "serving_run_id": predecessor.run_id if predecessor else None,
        "kept": kept,
        "why": choice.why,
        "fresh_c2st_auc": score_of(scores, fresh, _AUC),
        "serving_c2st_auc": score_of(scores, SERVING, _AUC),
        "fresh_quality": _quality(scores, fresh),
        "serving_quality": _quality(scores, SERVING),
        "serving_effect_per_1000": effect[0] if effect else None,
        "serving_effect_ci_low": effect[1] if effect else None,
    }


def score_of(
    scores: pd.DataFrame, candidate: str | None, score: str, column: str = "value"
) -> float | None:
    """Return a candidate's score, None where it was not judged or it cannot be computed."""
    if scores.empty:
        return None
    own = scores[(scores["candidate"] == candidate) & (scores["score"] == score)][column]
    return float(own.iloc[0]) if len(own) and pd.notna(own.iloc[0]) else None


def _quality(scores: pd.DataFrame, candidate: str | None) -> float | None:
    parts = [score_of(scores, candidate, name) for name in (_SHAPES, _PAIRS)]
    known = [part for part in parts if part is not None]
    return sum(known) / len(known) if known else None


def _by_candidate(scores: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    return dict(list(scores.groupby("candidate", sort=False))) if len(scores) else {}
