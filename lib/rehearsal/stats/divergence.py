"""Divergences of two models' outputs on the same requests, from counts per user.

Arrays are stacks: axis 0 is the cell (a segment in a window). p is production's distribution over
K bins and q the experimental one's. Sizes are in nats where they have a unit. Half a request is
added to every bin, which keeps rare bins finite and unbiased to first order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Size:
    """A measure, the same less its expectation under sampling noise, and an interval; (C,) each."""

    raw: np.ndarray
    corrected: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Shares:
    """Both distributions of every cell with their sampling covariance, users as units.

    p, q: (C, K), with half a request added to every bin; plain_p, plain_q as counted; covariance:
    (C, 2K, 2K) of (p, q). Cells without requests are NaN.
    """

    p: np.ndarray
    q: np.ndarray
    plain_p: np.ndarray
    plain_q: np.ndarray
    covariance: np.ndarray

    @cached_property
    def difference_covariance(self) -> np.ndarray:
        """Return the covariance of q - p, shape (C, K, K)."""
        k = self.p.shape[1]
        c = self.covariance
        return np.asarray(
            c[:, k:, k:] + c[:, :k, :k] - c[:, :k, k:] - c[:, k:, :k],
        )


def shares(joint: np.ndarray, user_bins: np.ndarray, n_users: np.ndarray) -> Shares:
    """Return both distributions with their covariance, linearised and clustered by user.

    A share is a ratio of sums over users, sum m_u / sum n_u; its residual for a user is
    m_u - share * n_u (Cochran 1977, ch. 6), with G / (G - 1) for G users.

    Args:
        joint: counts of production by experimental bin, (C, K, K).
        user_bins: sum over users of m_u m_u', m_u the user's counts over production's bins and
            then the experimental ones, (C, 2K, 2K).
        n_users: (C,).
    """
    n, k = joint.sum(axis=(1, 2)), joint.shape[1]
    rows, columns = joint.sum(axis=2), joint.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = ((side + 0.5) / (n + k / 2)[:, None] for side in (rows, columns))
        plain = np.concatenate([rows, columns], axis=1) / n[:, None]
        by_size = user_bins[:, :, :k].sum(axis=2)
        size_sq = by_size[:, :k].sum(axis=1)
        outer = plain[:, :, None] * by_size[:, None, :]
        residual = user_bins - outer - outer.transpose(0, 2, 1)
        residual += plain[:, :, None] * plain[:, None, :] * size_sq[:, None, None]
        scale = n_users / np.maximum(n_users - 1, 1) / n**2
    p[n == 0] = q[n == 0] = np.nan
    return Shares(p, q, plain[:, :k], plain[:, k:], residual * scale[:, None, None])


# For f(p, q): its value, and its gradients by p and q.
_Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _kl(p: np.ndarray, q: np.ndarray) -> _Parts:
    """KL(production || experimental) = sum p ln(p/q) (Kullback & Leibler 1951)."""
    ratio = np.log(p / q)
    return (p * ratio).sum(axis=-1), ratio + 1, -p / q


def _kl_reverse(p: np.ndarray, q: np.ndarray) -> _Parts:
    """KL(experimental || production)."""
    value, by_q, by_p = _kl(q, p)
    return value, by_p, by_q


def _js(p: np.ndarray, q: np.ndarray) -> _Parts:
    """Jensen-Shannon divergence, half of KL to the mean from each side (Lin 1991); <= ln 2."""
    m = (p + q) / 2
    first, second = np.log(p / m), np.log(q / m)
    return (p * first + q * second).sum(axis=-1) / 2, first / 2, second / 2


def _psi(p: np.ndarray, q: np.ndarray) -> _Parts:
    """Population stability index, KL both ways added (Jeffreys divergence)."""
    ratio = np.log(p / q)
    value = ((p - q) * ratio).sum(axis=-1)
    return value, ratio + 1 - q / p, -ratio + 1 - p / q


_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], _Parts]] = {
    "kl_nats": _kl,
    "kl_reverse_nats": _kl_reverse,
    "js_nats": _js,
    "psi": _psi,
}
CURVATURE = {"kl_nats": 1.0, "kl_reverse_nats": 1.0, "js_nats": 0.25, "psi": 2.0}
"""c of each divergence f such that f ~ c/2 * sum (p - q)^2 / p where p and q are near."""


def divergence(metric: str, found: Shares, confidence: float = 0.95) -> Size:
    """Return `metric` (a key of CURVATURE) of every cell, with a delta-method interval.

    Bias: f of two noisy histograms exceeds f of the true ones by about c/2 * sum Var(p_i - q_i) /
    p_i. The variance is that of *paired* counts of whole users, so it is 0 when the models agree
    on every request, and the Miller-Madow (K-1)/2 * (1/n + 1/m) when requests are independent and
    the models unrelated. The interval is moved by the same correction; all are cut at 0.

    Raises:
        ValueError: no such metric.
    """
    if metric not in _MEASURES:
        raise ValueError(f"no divergence {metric!r}; there are {', '.join(sorted(_MEASURES))}")
    value, by_p, by_q = _MEASURES[metric](found.p, found.q)
    gain = np.concatenate([by_p, by_q], axis=-1)
    variance = np.einsum("ci,cij,cj->c", gain, found.covariance, gain)
    noise = np.diagonal(found.difference_covariance, axis1=1, axis2=2)
    bias = CURVATURE[metric] / 2 * (noise / ((found.p + found.q) / 2)).sum(axis=1)
    corrected = value - bias
    reach = norm.ppf((1 + confidence) / 2) * np.sqrt(np.maximum(variance, 0.0))
    low, high = corrected - reach, corrected + reach
    return Size(value, *(np.maximum(v, 0.0) for v in (corrected, low, high)))


def js_distance(js_nats: Size) -> Size:
    """Return the Jensen-Shannon distance, sqrt(JS in bits), 0..1 (scipy's with base 2)."""
    bits = (js_nats.raw, js_nats.corrected, js_nats.low, js_nats.high)
    return Size(*(np.sqrt(np.maximum(v, 0.0) / np.log(2)) for v in bits))
