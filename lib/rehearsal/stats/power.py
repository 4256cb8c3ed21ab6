"""The smallest drift that would have been seen: what stands beside 'no drift seen'."""

import numpy as np
from scipy.special import chndtrinc
from scipy.stats import t

from rehearsal.stats.divergence import Shares
from rehearsal.stats.paired import wald_threshold

POWER = 0.8
"""Chance with which a drift of the detectable size, whatever its shape, is significant."""


def noncentrality(level: np.ndarray, df: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the noncentrality with which the clustered Wald test rejects with chance POWER.

    Args:
        level: of the test, (C,).
        df: its degrees of freedom.
        units: as in `clustered_wald`.

    Returns:
        NaN where there is nothing to test.
    """
    critical = wald_threshold(level, df, units)
    usable = np.isfinite(critical) & (df > 0)
    found = np.full(len(critical), np.nan)
    found[usable] = chndtrinc(critical[usable], df[usable], 1 - POWER)
    return found


def detectable_divergence(found: Shares, needed: np.ndarray, curvature: float) -> np.ndarray:
    """Return the size of divergence that no drift of this noncentrality exceeds, (C,).

    c/2 * largest of d' M^-1 d over d' V^-1 d = needed, by the largest eigenvalue of
    M^-1/2 V M^-1/2: whatever its shape, a larger drift is seen at least as often.
    """
    scale = 1 / np.sqrt((found.p + found.q) / 2)
    whitened = scale[:, :, None] * found.difference_covariance * scale[:, None, :]
    largest = np.linalg.eigvalsh(np.nan_to_num(whitened))[:, -1]
    return np.asarray(curvature / 2 * needed * largest)


def detectable_deviations(found: Shares, needed: np.ndarray, *, cumulated: bool) -> np.ndarray:
    """Return how far each bin's share (or cumulated share) may lie off unseen, (C, K)."""
    variance = np.diagonal(_covariance(found, cumulated=cumulated), axis1=1, axis2=2)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) * needed[:, None]))


def detectable_sum(
    found: Shares, needed: np.ndarray, weights: np.ndarray, *, cumulated: bool
) -> np.ndarray:
    """Return what a weighted sum of absolute deviations may be unseen, (C,).

    The smaller of two bounds over the ellipsoid of unseen drifts: bin by bin, and by the length
    of its longest axis (Cauchy-Schwarz).
    """
    k = len(weights)
    bins = detectable_deviations(found, needed, cumulated=cumulated)[:, :k]
    by_bin = (bins * weights).sum(axis=1)
    covariance = _covariance(found, cumulated=cumulated)[:, :k, :k]
    longest = np.linalg.eigvalsh(np.nan_to_num(covariance))[:, -1]
    by_axis = np.sqrt(np.maximum(longest, 0.0) * needed * (weights @ weights))
    return np.asarray(np.minimum(by_bin, by_axis))


def _covariance(found: Shares, *, cumulated: bool) -> np.ndarray:
    covariance = found.difference_covariance
    return covariance.cumsum(axis=1).cumsum(axis=2) if cumulated else covariance


def detectable_above(
    bound: np.ndarray, error: np.ndarray, level: np.ndarray, df: np.ndarray
) -> np.ndarray:
    """Return the size that a one-sided test of size > bound sees with chance POWER.

    By the error at the size found: NaN where that is 0, which says nothing of a larger one's.
    """
    spare = np.maximum(df, 1)
    reach = (t.isf(level, spare) + t.ppf(POWER, spare)) * error
    return np.asarray(np.where(error > 0, bound + reach, np.nan))
