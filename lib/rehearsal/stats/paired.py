"""Paired tests on counts and moments: both models answered the same requests."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm


@dataclass(frozen=True)
class TestResult:
    """A statistic with its p-value; `df` is None for a normal statistic."""

    __test__ = False  # not a test class, whatever its name looks like to a collector

    statistic: float
    df: int | None
    p_value: float


def stuart_maxwell(joint: np.ndarray) -> TestResult:
    """Test that both models give the same distribution over bins (Stuart 1955, Maxwell 1970).

    Uses d'V^-1 d with V = (row + column sums on the diagonal) - (joint + joint'). Bins that
    neither model ever moves a request into or out of are left out. Requests are taken as
    independent: where few users make most requests, the p-value is too small.

    Args:
        joint: counts, shape (K, K), production by experimental.
    """
    difference, inverse, df = marginal_difference(joint)
    if df == 0:
        return TestResult(0.0, 0, 1.0)
    statistic = max(float(difference @ inverse @ difference), 0.0)
    return TestResult(statistic, df, float(chi2.sf(statistic, df)))


def marginal_difference(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (d, pseudo-inverse of V, degrees of freedom); d is experimental - production."""
    joint = np.asarray(joint, dtype=float)
    difference = joint.sum(axis=0) - joint.sum(axis=1)
    variance = np.diag(joint.sum(axis=0) + joint.sum(axis=1)) - joint - joint.T
    df = int(np.linalg.matrix_rank(variance, hermitian=True)) if variance.any() else 0
    inverse = np.linalg.pinv(variance, hermitian=True) if df else np.zeros_like(variance)
    return difference, inverse, df


def mean_z(
    total: float, total_sq: float, n: int, null: float = 0.0, *, sided: int = 2
) -> TestResult:
    """Test that n numbers with these sums have mean `null`; `sided` 1 asks whether it is above."""
    mean = total / n
    variance = max(total_sq / n - mean**2, 0.0) / max(n - 1, 1)
    if variance == 0:
        clear = mean > null if sided == 1 else mean != null
        return TestResult(float("inf") if clear else 0.0, None, 0.0 if clear else 1.0)
    z = (mean - null) / np.sqrt(variance)
    p = norm.sf(z) if sided == 1 else 2 * norm.sf(abs(z))
    return TestResult(float(z), None, float(p))
