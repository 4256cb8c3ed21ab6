"""Measures that are ratios of sums: how far apart the two models are, and what it moves."""

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from rehearsal.drift.cells import Stack
from rehearsal.drift.layout import N_SUMS, SUMS
from rehearsal.drift.levels import Levels, levels, paired_change
from rehearsal.drift.measured import MEAN, SIZE, Measured, measured, noise_quantile
from rehearsal.settings import Thresholds
from rehearsal.stats.divergence import Size
from rehearsal.stats.paired import wald_p_value, wald_units
from rehearsal.stats.power import noncentrality
from rehearsal.stats.ratio import Estimate, delta, ratio


def _weights(**named: float) -> np.ndarray:
    weights = np.zeros(N_SUMS)
    for name, weight in named.items():
        weights[SUMS.index(name)] = weight
    return weights


_ROUNDING = 1e-9
_NO_DENOMINATOR = "the denominator of a model sums to 0"
_NO_LEVEL = "production's level is 0, to which no change is relative"
_N = _weights(n=1)


def size_measures(stack: Stack) -> Iterator[Measured]:
    """Return how far apart the models are on the same request: flips, mean KL, errors.

    They are 0 only where the models agree on every request, so that noise alone makes them
    positive; they are tested against their threshold.
    """
    wanted = {
        "value": {"flip_rate": "flips", "mse": "distance", "mae": "absolute"},
        "class": {"flip_rate": "flips", "mean_kl_nats": "distance"},
    }.get(stack.output, {})
    users, products = stack.sizes["n_users"], stack.products
    for metric, name in wanted.items():
        weights = (_weights(**{name: 1}), _N)
        found = ratio(stack.sum(name), stack.sum("n"), weights, products, users)
        yield _as_size(stack.output, metric, found)
    if "mse" in wanted:
        yield _as_size(stack.output, "relative_mse", _relative_mse(stack))


def _as_size(output: str, metric: str, found: Estimate) -> Measured:
    size = Size(found.value, found.value, np.maximum(found.low, 0.0), found.high)
    return measured(output, metric, SIZE, size, {"error": found.error})


def _relative_mse(stack: Stack) -> Estimate:
    """Mean squared difference over the variance of production's values."""
    n, total, squares = (stack.sum(name) for name in ("n", "production", "production_sq"))
    mean, mse = total / n, stack.sum("distance") / n
    variance = squares / n - mean**2
    with np.errstate(invalid="ignore", divide="ignore"):
        # Below that the variance is what rounding leaves of a constant.
        value = np.where(variance > squares / n * _ROUNDING, mse / variance, np.nan)
        # d(variance) = (squares' - 2 mean total' - (squares/n - 2 mean^2) n') / n.
        spread = (
            np.outer(np.ones(len(n)), _weights(production_sq=1))
            - 2 * mean[:, None] * _weights(production=1)
            - (squares / n - 2 * mean**2)[:, None] * _N
        )
        error = _weights(distance=1) - mse[:, None] * _N
        gradient = (error - value[:, None] * spread) / (n * variance)[:, None]
    return delta(value, np.nan_to_num(gradient), stack.products, stack.sizes["n_users"])


def change_measures(
    stack: Stack, thresholds: Thresholds, level: np.ndarray, *, relative: bool
) -> Iterator[Measured]:
    """Return the change of an output's level, experimental - production, and relative to it.

    The level is the mean, or the ratio of two sums. Both are tested by the user-clustered paired
    test in one dimension, and hold both levels.

    Args:
        stack: counts of the output.
        thresholds: those that ask for the noise of a metric.
        level: at which each cell is tested, for what it could have seen.
        relative: whether a relative change makes sense, as of a KPI.
    """
    users, found = stack.sizes["n_users"], levels(stack)
    tested = _tested(stack, ~np.isnan(found.change))
    needed = noncentrality(level, tested["df"], tested.pop("units"))
    tested |= {"production": found.production, "experimental": found.experimental}
    tested["reason"] = np.where(np.isnan(found.change), _NO_DENOMINATOR, "")
    plain = delta(found.change, found.change_gradient, stack.products, users)
    yield _as_change(stack.output, "mean_change", plain, tested, needed, thresholds)
    if relative:
        tested["reason"] = np.where(found.production == 0, _NO_LEVEL, tested["reason"])
        share = delta(*_relative(found), stack.products, users)
        yield _as_change(stack.output, "kpi_relative_change", share, tested, needed, thresholds)


def change_parts(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Return d, the paired difference of a level, (C, 1), and its squares over users, (C, 1, 1)."""
    change, spread = paired_change(stack)
    return change[:, None], spread[:, None, None]


def _relative(found: Levels) -> tuple[np.ndarray, np.ndarray]:
    """Return change / |production|, (C,), and its derivative by the sums, (C, m)."""
    base, sign = np.abs(found.production), np.sign(found.production)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(base != 0, found.change / base, np.nan)
        spread = (value * sign)[:, None] * found.production_gradient
        return value, (found.change_gradient - spread) / base[:, None]


def _tested(stack: Stack, usable: np.ndarray) -> dict[str, np.ndarray]:
    """Test equal levels of every cell: the clustered Wald test in one dimension."""
    change, spread = paired_change(stack)
    movers, moving = stack.sizes["n_shifted"], (spread > 0) & usable
    statistic = np.divide(change**2, spread, out=np.zeros(len(spread)), where=moving)
    df = moving * 1.0
    units = wald_units(df, stack.sizes["n_users"], movers)
    p_value = wald_p_value(statistic, df, units, movers)
    return {"statistic": statistic, "df": df, "units": units, "p_value": p_value}


def _as_change(
    output: str,
    metric: str,
    found: Estimate,
    tested: dict[str, np.ndarray],
    needed: np.ndarray,
    thresholds: Thresholds,
) -> Measured:
    parts = tested | {"detectable": np.sqrt(needed) * found.error}
    quantile = noise_quantile(thresholds, metric)
    if quantile is not None:
        parts["noise"] = float(norm.ppf((1 + quantile) / 2)) * found.error
    size = Size(found.value, found.value, found.low, found.high)
    return measured(output, metric, MEAN, size, parts)
