"""One metric of one output over a stack of cells, before it is held against a threshold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rehearsal.settings import NoiseFloor, Thresholds
from rehearsal.stats.divergence import Size

EXPECTED_ACCURACY = "expected_accuracy"
"""Mean probability of the most probable class: what accuracy would be if it were calibrated."""

DISTRIBUTION, MEAN, SIZE = "distribution", "mean", "size"
"""What is tested: equal distributions, equal means, or a size above its threshold."""

_OF_MEANS = ("mean_change", "kpi_relative_change")
_OF_SIZES = ("flip_rate", "mean_kl_nats", "mse", "relative_mse", "mae")


def tested_by(metric: str) -> str:
    """Return what names the test of a metric, which metrics of an output may share."""
    if metric in _OF_SIZES:
        return metric
    return MEAN if metric in _OF_MEANS else DISTRIBUTION


@dataclass(frozen=True)
class Measured:
    """Arrays over cells, (C,) each; NaN where it cannot be told.

    `test` is what it is judged by; metrics of an output with the same test share a p-value, but
    sizes, whose null is their own threshold and whose p-value `verdict` gives from `error`.
    `noise` is the quantile of the corrected score when outputs are swapped at random by user.
    `production` and `experimental` are the levels of the two models that a change of means is
    between; NaN for metrics that are no change of a level. `reason` is why there is no score where
    that is not plain, else empty.
    """

    output: str
    metric: str
    test: str
    raw: np.ndarray
    corrected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    detectable: np.ndarray
    noise: np.ndarray
    statistic: np.ndarray
    df: np.ndarray
    p_value: np.ndarray
    production: np.ndarray
    experimental: np.ndarray
    reason: np.ndarray


def measured(
    output: str, metric: str, test: str, size: Size, parts: Mapping[str, np.ndarray]
) -> Measured:
    """Return a metric from its size and whatever else is known; the rest is NaN."""
    unknown = np.full(len(size.raw), np.nan)
    names = (
        "error", "detectable", "noise", "statistic", "df", "p_value", "production", "experimental",
    )  # fmt: skip
    rest = {name: parts.get(name, unknown) for name in names}
    rest["reason"] = parts.get("reason", np.full(len(size.raw), ""))
    return Measured(output, metric, test, size.raw, size.corrected, size.low, size.high, **rest)


def renamed(found: Measured, output: str) -> Measured:
    """Return the same under another output's name."""
    return replace(found, output=output)


def mean_of(output: str) -> str:
    """Return the output under whose name the change of another's mean is told."""
    return EXPECTED_ACCURACY if output == "class" else output


def source_of(output: str) -> str:
    """Return the output whose counts another is told from."""
    return "class" if output == EXPECTED_ACCURACY else output


def noise_quantile(thresholds: Thresholds, metric: str) -> float | None:
    """Return the quantile of swapped noise that the metric's threshold asks for, if it does."""
    held = getattr(thresholds, metric)
    return held.noise if isinstance(held, NoiseFloor) and held.run is None else None
