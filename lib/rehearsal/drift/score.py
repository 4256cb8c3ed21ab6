"""Counts to scores: every metric of every segment and window, its interval, test and status.

Everything here works on counts, bounded by segments x windows x (bins^2 + request types x bins),
on the driver.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from rehearsal.drift.bins import Bins
from rehearsal.settings import Drift
from rehearsal.stats.divergence import divergence
from rehearsal.stats.multiple import q_values
from rehearsal.stats.paired import TestResult, mean_z, stuart_maxwell

DRIFT_TYPE = "EXPERIMENTAL_VS_PRODUCTION"
_CONFIDENCE = 0.95
_NAN = float("nan")


@dataclass(frozen=True)
class Score:
    """One metric of one cell; NaN where it cannot be told."""

    raw: float = _NAN
    corrected: float = _NAN
    low: float = _NAN
    high: float = _NAN
    test: TestResult | None = None
    reason: str = ""


@dataclass(frozen=True)
class Cell:
    """The counts of one segment (None = all users) in one window."""

    segment_id: str | None
    window_start: datetime
    window_end: datetime
    n_requests: int
    n_users: int
    joints: dict[str, np.ndarray]
    moments: dict[str, "Moments"]


@dataclass(frozen=True)
class Moments:
    """Sums over requests of one number under both models, d = experimental - production."""

    n: int
    production: float
    experimental: float
    production_sq: float
    difference_sq: float
    difference_4: float


def score_cells(cells: list[Cell], settings: Drift, bins: Bins) -> pd.DataFrame:
    """Return the rows of `drift_scores`, less run and versions, for every cell and metric.

    Cells with fewer than min_requests or min_users get null scores with status
    'insufficient_data'. q-values are Benjamini-Hochberg over all segments and windows of a metric
    and output; all users are a family of their own.
    """
    rows = [row for cell in cells for row in _score_cell(cell, settings, bins)]
    table = pd.DataFrame(rows)
    everyone = table["segment_id"].isna()
    family = [table["output"], table["metric"], everyone]
    table["q_value"] = table.groupby(family)["p_value"].transform(
        lambda p: q_values(p.to_numpy(float))
    )
    verdicts = [_verdict(row, settings.alpha) for row in table.to_dict("records")]
    table["status"], table["reason"] = zip(*verdicts, strict=True)
    return table


def _score_cell(cell: Cell, settings: Drift, bins: Bins) -> Iterator[dict[str, object]]:
    enough = cell.n_requests >= settings.min_requests and cell.n_users >= settings.min_users
    too_few = Score(
        reason=f"{cell.n_requests} requests of {cell.n_users} users; needs "
        f"{settings.min_requests} of {settings.min_users}"
    )
    for output, metric in _wanted(cell, bins):
        score = _measure(cell, output, metric, settings) if enough else too_few
        yield {
            "segment_id": cell.segment_id,
            "window_start": cell.window_start,
            "window_end": cell.window_end,
            "granularity": settings.window,
            "output": output,
            "metric": metric,
            "drift_type": DRIFT_TYPE,
            "score": score.raw,
            "score_bias_corrected": score.corrected,
            "ci_low": score.low,
            "ci_high": score.high,
            "test_statistic": score.test.statistic if score.test else _NAN,
            "df": score.test.df if score.test else None,
            "p_value": score.test.p_value if score.test else _NAN,
            "threshold": _threshold(settings, metric),
            "n_requests": cell.n_requests,
            "n_users": cell.n_users,
            "reason": score.reason,
        }


def _wanted(cell: Cell, bins: Bins) -> Iterator[tuple[str, str]]:
    for output in bins.outputs:
        yield from ((output, metric) for metric in ("kl_nats", "js_nats", "psi"))
    for output in cell.moments:
        metrics = ("mse", "relative_mse") if output == "value" else ("kpi_relative_change",)
        yield from ((output, metric) for metric in metrics)


def _measure(cell: Cell, output: str, metric: str, settings: Drift) -> Score:
    if metric in ("mse", "relative_mse"):
        return _squared_error(cell.moments[output], metric, _threshold(settings, metric))
    if metric == "kpi_relative_change":
        return _kpi_change(cell.moments[output])
    joint = cell.joints[output]
    if joint.sum() == 0:
        return Score(reason=f"no request has {output} under both models")
    size = divergence(metric, joint, _CONFIDENCE)
    return Score(size.raw, size.corrected, size.low, size.high, stuart_maxwell(joint))


def _squared_error(moments: Moments, metric: str, threshold: float | None) -> Score:
    """Mean squared difference of the models, or that over production's variance.

    The test asks whether it is above the threshold: it is above zero as soon as the models differ.
    """
    n = moments.n
    if n < 2:  # noqa: PLR2004 - a variance needs two
        return Score(reason="no request has a value under both models")
    mse = moments.difference_sq / n
    unit = 1.0
    if metric == "relative_mse":
        unit = moments.production_sq / n - (moments.production / n) ** 2
        if unit <= 0:
            return Score(reason="production's value does not vary")
    spread = max(moments.difference_4 / n - mse**2, 0.0) / n
    reach = float(norm.ppf((1 + _CONFIDENCE) / 2)) * np.sqrt(spread) / unit
    score = mse / unit
    test = None
    if threshold is not None:
        test = mean_z(moments.difference_sq, moments.difference_4, n, threshold * unit, sided=1)
    return Score(score, score, max(score - reach, 0.0), score + reach, test)


def _kpi_change(moments: Moments) -> Score:
    """(experimental - production) / |production| of a mean KPI, with a paired interval."""
    n, base = moments.n, moments.production
    if n < 2:  # noqa: PLR2004
        return Score(reason="no request has this KPI under both models")
    if base == 0:
        return Score(reason="production's KPI is 0, so no change is relative to it")
    total = moments.experimental - moments.production
    change = total / abs(base)
    test = mean_z(total, moments.difference_sq, n)
    # The base is taken as known: its own noise is second order beside the paired difference.
    spread = max(moments.difference_sq / n - (total / n) ** 2, 0.0) / max(n - 1, 1)
    reach = float(norm.ppf((1 + _CONFIDENCE) / 2)) * np.sqrt(spread) / abs(base / n)
    return Score(change, change, change - reach, change + reach, test)


def _threshold(settings: Drift, metric: str) -> float | None:
    threshold: float | None = getattr(settings.thresholds, metric)
    return threshold


def _verdict(row: Mapping[Hashable, Any], alpha: float) -> tuple[str, str]:
    score, threshold, q = (
        _number(row[key]) for key in ("score_bias_corrected", "threshold", "q_value")
    )
    if np.isnan(score):
        return "insufficient_data", str(row["reason"])
    if np.isnan(threshold):
        return "green", "no threshold is set for this metric"
    if abs(score) < threshold:
        return "green", "below the threshold"
    if not q <= alpha:
        return "yellow", f"over the threshold, but not significant (q {q:.2g} > {alpha:g})"
    return "red", f"over the threshold and significant (q {q:.2g})"


def _number(value: Any) -> float:
    return _NAN if value is None else float(value)
