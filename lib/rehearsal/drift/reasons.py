"""Why a segment drifts: its inputs changed, the models do, or what users do with the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.drift.breach import Breach
from rehearsal.drift.cells import Cells
from rehearsal.drift.reasons_accuracy import Accuracy, accuracy
from rehearsal.drift.spread import SIDES
from rehearsal.settings import Drift
from rehearsal.stats.multiple import q_values

Known = Mapping[str, Accuracy]
"""How right each model is, by its name."""
INPUTS, MODELS, OUTCOMES, MIXED = "inputs", "models", "outcomes", "mixed"
NO_BASELINE = "no baseline"
MOSTLY, PARTLY = 0.5, 0.2
"""Share of the change from which the mix explains most of it, or some."""
LEAST_GAP = 0.02
"""Change of a calibration gap that counts, however significant."""
_PARTS = ("dimension", "mix_part", "rate_part", "js_distance", "psi", "p_value", "q_value")
_BEFORE = (
    "dimension", "mix_share", "n_baseline", "baseline_start", "score_baseline", "score_change",
    "dimensions",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Why, in a word and in a sentence.

    `mix_share` is the most that the changed mix of one dimension brings, as a share of the change;
    `dimension` is that one, if it is PARTLY of it at least.
    """

    word: str
    reason: str
    dimension: str | None
    mix_share: float


def verdict(
    change: float, parts: pd.DataFrame, production: Accuracy, gap_q: float, alpha: float
) -> Verdict:
    """Return why the mean score of a segment changed.

    Args:
        change: of the mean score per request since the baseline.
        parts: dimension, mix_part and q_value of each dimension.
        production: its calibration before and after.
        gap_q: q-value of a change of it.
        alpha: false discovery rate.
    """
    moved = parts[parts["q_value"] <= alpha].sort_values(
        ["mix_part", "dimension"], ascending=[False, True]
    )
    dimension, share = None, 0.0
    if len(moved) and change > 0:
        share = max(float(moved["mix_part"].iloc[0] / change), 0.0)
        dimension = str(moved["dimension"].iloc[0]) if share >= PARTLY else None
    slipped = abs(production.gap - production.gap_baseline)
    outcomes = gap_q <= alpha and slipped >= LEAST_GAP
    said = [f"the mix of {dimension} brings {share:.0%} of the change"] if share >= PARTLY else []
    if outcomes:
        said.append(
            f"production's confidence was off by {production.gap_baseline:+.3f} and is by "
            f"{production.gap:+.3f}"
        )
    if not change > 0:
        said.append("requests scored as high before the first breach")
    word = _word(share, outcomes=outcomes)
    if word == MODELS and change > 0:
        said.append("the same requests as before, answered apart")
    return Verdict(word, "; ".join(said), dimension, share)


def _word(share: float, *, outcomes: bool) -> str:
    if outcomes:
        return MIXED if share >= PARTLY else OUTCOMES
    if share >= MOSTLY:
        return INPUTS
    return MIXED if share >= PARTLY else MODELS


def accuracies(breaches: Sequence[Breach], cells: Cells) -> list[Known]:
    """Return what is known of both models in each breach.

    Args:
        breaches: of some segments.
        cells: every window of these segments.
    """
    return [
        accuracy(cells, one.segment_id, list(one.before), list(one.direction.windows))
        for one in breaches
    ]


def reasons(
    mix: pd.DataFrame, breaches: Sequence[Breach], known: Sequence[Known], settings: Drift
) -> list[dict[str, Any]]:
    """Return the rows of `drift_reasons`, less run and version.

    Args:
        mix: from `mix_rows`.
        breaches: of the run.
        known: of `accuracies`, one per breach.
        settings: minima and alpha.
    """
    held = mix[mix["n_baseline"] >= settings.min_requests].reset_index(drop=True)
    held = held.assign(q_value=q_values(held["p_value"].to_numpy(float)) if len(held) else [])
    gaps = np.array([[one[side].p_value for side in SIDES] for one in known])
    gap_q = q_values(gaps.ravel()).reshape(gaps.shape) if len(gaps) else gaps
    return [
        _row(breach, held[held["breach"] == i], known[i], gap_q[i], settings.alpha)
        for i, breach in enumerate(breaches)
    ]


def _row(
    breach: Breach,
    parts: pd.DataFrame,
    known: Known,
    gap_q: np.ndarray,
    alpha: float,
) -> dict[str, Any]:
    direction = breach.direction
    row: dict[str, Any] = {
        "segment_id": breach.segment_id,
        "output": direction.output,
        "test": direction.test,
        "size_metric": direction.metric,
        **dict.fromkeys(_BEFORE),
        **{side: _struct(known[side], gap_q[i]) for i, side in enumerate(SIDES)},
    }
    if parts.empty:
        return row | {
            "verdict": NO_BASELINE,
            "reason": "there is no window before the drift with enough requests",
        }
    first = parts.iloc[0]
    change = float(first["score_breaching"] - first["score_baseline"])
    why = verdict(change, parts, known["production"], float(gap_q[0]), alpha)
    ordered = parts.sort_values(["mix_part", "dimension"], ascending=[False, True])
    return row | {
        "verdict": why.word,
        "reason": why.reason,
        "dimension": why.dimension,
        "mix_share": why.mix_share,
        "n_baseline": int(first["n_baseline"]),
        "score_baseline": float(first["score_baseline"]),
        "score_change": change,
        "baseline_start": breach.before[0],
        "dimensions": [tuple(map(_plain, one)) for one in ordered[list(_PARTS)].to_numpy()],
    }


def _struct(known: Accuracy, gap_q: float) -> tuple[object, ...]:
    values = (known.expected, known.estimated, known.gap_baseline, known.gap, known.p_value, gap_q)
    return tuple(map(_plain, values))


def _plain(value: object) -> object:
    """Return what Spark takes inside a struct: unknown is null there too."""
    if not isinstance(value, float):
        return value
    return None if np.isnan(value) else float(value)
