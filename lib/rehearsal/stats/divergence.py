"""Divergences of two models' outputs on the same requests, from their joint histogram.

`joint[i, j]` counts requests in bin i under production and bin j under experimental; p is
production's distribution and q the experimental one's. All are in nats where they have a unit.
Half a request is added to every bin, which keeps rare bins finite and unbiased to first order.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Divergence:
    """A size with its expectation under sampling noise taken off, and a delta-method interval."""

    raw: float
    corrected: float
    low: float
    high: float


# For f(p, q): its value, gradients by p and q, and curvature c such that near p = q
# f ~ c/2 * sum (p - q)^2 / p.
def _kl(p: np.ndarray, q: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """KL(production || experimental) = sum p ln(p/q) (Kullback & Leibler 1951)."""
    ratio = np.log(p / q)
    return float((p * ratio).sum()), ratio + 1, -p / q, 1.0


def _js(p: np.ndarray, q: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Jensen-Shannon divergence, half of KL to the mean from each side (Lin 1991); <= ln 2."""
    m = (p + q) / 2
    first, second = np.log(p / m), np.log(q / m)
    value = float((p * first + q * second).sum()) / 2
    return value, first / 2, second / 2, 0.25


def _psi(p: np.ndarray, q: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Population stability index, KL both ways added (Jeffreys divergence)."""
    ratio = np.log(p / q)
    value = float(((p - q) * ratio).sum())
    return value, ratio + 1 - q / p, -ratio + 1 - p / q, 2.0


_MEASURES = {"kl_nats": _kl, "js_nats": _js, "psi": _psi}


def divergence(metric: str, joint: np.ndarray, confidence: float = 0.95) -> Divergence:
    """Return `metric` (kl_nats, js_nats, psi) of production from experimental.

    Bias: f of two noisy histograms exceeds f of the true ones by about c/2 * sum Var(p_i - q_i) /
    p_i. The variance is that of *paired* counts, so it is 0 when the models agree on every
    request, and the Miller-Madow (K-1)/2 * (1/n + 1/m) when they are unrelated. The interval is
    the delta method on the joint counts, moved by the same correction; all are cut at 0.

    Args:
        metric: a key of the measures above.
        joint: counts, shape (K, K), n > 0.
        confidence: of the two-sided interval.

    Raises:
        ValueError: no such metric, or no requests.
    """
    if metric not in _MEASURES:
        raise ValueError(f"no divergence {metric!r}; there are {', '.join(sorted(_MEASURES))}")
    n = float(joint.sum())
    if n <= 0:
        raise ValueError("a divergence needs at least one request")
    p, q = smoothed_marginals(joint)
    value, by_p, by_q, curvature = _MEASURES[metric](p, q)
    gain = by_p[:, None] + by_q[None, :]
    mean = float((joint * gain).sum()) / n
    error = np.sqrt(max(float((joint * (gain - mean) ** 2).sum()), 0.0)) / n
    corrected = value - curvature / 2 * float((paired_variance(joint) / ((p + q) / 2)).sum())
    reach = float(norm.ppf((1 + confidence) / 2)) * error
    low, high = corrected - reach, corrected + reach
    return Divergence(value, max(corrected, 0.0), max(low, 0.0), max(high, 0.0))


def smoothed_marginals(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return p and q with half a request added to every bin; shape (K,) each, sums 1."""
    n, k = float(joint.sum()), len(joint)
    return (joint.sum(axis=1) + 0.5) / (n + k / 2), (joint.sum(axis=0) + 0.5) / (n + k / 2)


def paired_variance(joint: np.ndarray) -> np.ndarray:
    """Return Var(p_i - q_i) of the observed shares, shape (K,), for requests seen by both."""
    n = float(joint.sum())
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    moved = rows + columns - 2 * np.diag(joint)
    return np.asarray((moved - (rows - columns) ** 2 / n) / n**2)
