"""How right both models are, as far as it can be told: with outcomes, and without."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from rehearsal.drift.cells import Cells, Stack
from rehearsal.drift.layout import N_SUMS, SUMS
from rehearsal.drift.spread import CALIBRATION, SIDES
from rehearsal.stats.ratio import ratio

_NAN = float("nan")


@dataclass(frozen=True)
class Accuracy:
    """One model in one segment, before and while it drifts; NaN where it cannot be told.

    The gap is confidence - hits per request, 0 for a calibrated model, above 0 for an
    overconfident one. `estimated` is `expected`, the mean confidence (Garg et al. 2022 call it
    average confidence; NannyML's CBPE in its multiclass form), times the hits per confidence of
    the baseline, at most 1.
    """

    expected: float = _NAN
    estimated: float = _NAN
    gap_baseline: float = _NAN
    gap: float = _NAN
    p_value: float = _NAN
    """Of an unchanged gap, users as units."""


def accuracy(
    cells: Cells, segment_id: str, baseline: list[pd.Timestamp], breaching: list[pd.Timestamp]
) -> dict[str, Accuracy]:
    """Return what is known of each model by its name.

    Args:
        cells: counts of the segment.
        segment_id: the segment.
        baseline: starts of the windows before the drift; may be none.
        breaching: starts of the windows in breach.
    """
    if "class" not in cells.stacks:
        return {side: Accuracy() for side in SIDES}
    spans = [cells.grid.places(segment_id, windows) for windows in (baseline, breaching)]
    return {side: _accuracy(cells, side, spans) for side in SIDES}


def _accuracy(cells: Cells, side: str, spans: list[np.ndarray]) -> Accuracy:
    confident = [_mean(cells.stacks["class"], side, at)[0] for at in spans]
    if CALIBRATION not in cells.stacks:
        return Accuracy(expected=confident[1])
    gaps = [_mean(cells.stacks[CALIBRATION], side, at) for at in spans]
    (before, error_before), (after, error_after) = gaps
    # A user's requests in both spans are alike, so that this errs on the side of no change.
    error = np.hypot(error_before, error_after)
    p_value = float(2 * norm.sf(abs(after - before) / error)) if error > 0 else _NAN
    hits = (confident[0] - before) / confident[0]
    return Accuracy(confident[1], float(np.minimum(confident[1] * hits, 1)), before, after, p_value)


def _mean(stack: Stack, side: str, at: np.ndarray) -> tuple[float, float]:
    """Return the mean of a side over some cells and its error; NaN without requests."""
    totals, products = stack.sums[at].sum(axis=0), stack.products[at].sum(axis=0)
    users = stack.sizes["n_users"][at].sum()
    top, bottom = np.eye(N_SUMS)[SUMS.index("production")], np.eye(N_SUMS)[SUMS.index("n")]
    if side == SIDES[1]:
        top = top + np.eye(N_SUMS)[SUMS.index("difference")]
    sums = np.array([totals @ top]), np.array([totals @ bottom])
    found = ratio(*sums, (top, bottom), products[None], np.array([users]))
    return float(found.value[0]), float(found.error[0])
