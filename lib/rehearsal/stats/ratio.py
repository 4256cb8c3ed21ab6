"""Means and ratios of sums over users, with errors clustered by user.

`sums` are totals over requests in the order of names given by the caller, (C, m); `products` the
sums over users of the products of each user's own totals, (C, m, m).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t


@dataclass(frozen=True)
class Estimate:
    """A number per cell with its standard error and an interval, (C,) each."""

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def delta(
    value: np.ndarray,
    gradient: np.ndarray,
    products: np.ndarray,
    n_users: np.ndarray,
    confidence: float = 0.95,
) -> Estimate:
    """Return `value` with the error that the delta method gives a function of sums over users.

    The function must not change when all sums are scaled (a mean, a ratio of means, ...), so that
    its gradient is orthogonal to the sums and no centring is needed: Var = G/(G-1) g' P g
    (Cochran 1977, ch. 6; Deng, Knoblich & Lu 2018). Intervals are Student's with G - 1 degrees of
    freedom; fewer than two users give none.

    Args:
        value: the function, (C,).
        gradient: its derivative by each of the sums, (C, m).
        products: (C, m, m).
        n_users: G, (C,).
        confidence: of the two-sided interval.
    """
    several = n_users > 1
    spare = np.maximum(n_users - 1, 1)
    variance = np.einsum("ci,cij,cj->c", gradient, products, gradient) * n_users / spare
    error = np.where(several, np.sqrt(np.maximum(variance, 0.0)), np.nan)
    reach = t.ppf((1 + confidence) / 2, spare) * error
    return Estimate(value, error, value - reach, value + reach)


def ratio(
    top: np.ndarray,
    bottom: np.ndarray,
    weights: tuple[np.ndarray, np.ndarray],
    products: np.ndarray,
    n_users: np.ndarray,
) -> Estimate:
    """Return top / bottom, each the sums times its weights, (m,); NaN where bottom is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(bottom != 0, top / bottom, np.nan)
        gradient = (weights[0] - value[:, None] * weights[1]) / bottom[:, None]
    return delta(value, gradient, products, n_users)
