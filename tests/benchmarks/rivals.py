"""What others would say of the same joint histograms: request-level, unpaired, or no test at all.

Joint counts are production's bin by the experimental one, (C, K, K).
"""

import numpy as np
import pandas as pd
from scipy.stats import chi2

FIXED_KL_NATS = 0.1
"""Evidently's default threshold of its kl_div."""


def joints(counts: pd.DataFrame, output: str) -> np.ndarray:
    """Return the joint counts of an output in rows of `drift_counts`, (C, K, K)."""
    held = np.array(counts[counts["output"] == output]["joint_bins"].tolist(), float)
    k = round(held.shape[1] ** 0.5)
    return held.reshape(-1, k, k)


def stuart_maxwell(joint: np.ndarray) -> np.ndarray:
    """Return p-values of equal marginals, requests as units (Stuart 1955, Maxwell 1970)."""
    rows, columns = joint.sum(axis=2), joint.sum(axis=1)
    spread = -joint - joint.transpose(0, 2, 1)
    at = np.arange(joint.shape[1])
    spread[:, at, at] += rows + columns
    apart = columns - rows
    inverse = np.linalg.pinv(spread, rcond=1e-9, hermitian=True)
    statistic = np.einsum("ci,cij,cj->c", apart, inverse, apart)
    df = np.linalg.matrix_rank(spread, hermitian=True)
    return np.where(df > 0, chi2.sf(statistic, np.maximum(df, 1)), 1.0)


def unpaired_g(joint: np.ndarray) -> np.ndarray:
    """Return p-values of G of the two marginals, as if they came from different requests."""
    seen = np.stack([joint.sum(axis=2), joint.sum(axis=1)])
    total = seen.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = 2 * np.nan_to_num(seen * np.log(2 * seen / total)).sum(axis=(0, 2))
    df = (total > 0).sum(axis=1) - 1
    return np.where(df > 0, chi2.sf(statistic, np.maximum(df, 1)), 1.0)


def plain_kl(joint: np.ndarray) -> np.ndarray:
    """Return KL(production || experimental) in nats as Evidently fills empty bins.

    An empty bin's share is 1e-4, or a millionth of the smallest where that is not above 1e-4.
    """
    n = joint.sum(axis=(1, 2))[:, None]
    p, q = (_filled(joint.sum(axis=axis) / n) for axis in (2, 1))
    p, q = (side / side.sum(axis=1, keepdims=True) for side in (p, q))
    return np.asarray((p * np.log(p / q)).sum(axis=1))


def _filled(shares: np.ndarray) -> np.ndarray:
    least = np.where(shares > 0, shares, 1).min(axis=1, keepdims=True)
    return np.where(shares > 0, shares, np.where(least <= 1e-4, least / 1e6, 1e-4))
