"""Distances of two histograms that are sums or maxima of absolute differences.

They have no gradient where nothing differs, so bias and intervals come from draws of the
difference's own normal law instead of the delta method. Arrays are stacks of cells, as in
`divergence`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rehearsal.stats.divergence import Shares, Size

Measure = Callable[[np.ndarray], np.ndarray]

_DRAWS, _BLOCK = 400, 2_000
_SEED = 20_260_301  # fixed: the same counts give the same interval


def total_variation(difference: np.ndarray) -> np.ndarray:
    """Half the summed absolute differences of shares, 0..1."""
    return np.asarray(np.abs(difference).sum(axis=-1) / 2)


def l_infinity(difference: np.ndarray) -> np.ndarray:
    """Largest absolute difference of a bin's share, 0..1."""
    return np.asarray(np.abs(difference).max(axis=-1))


def kolmogorov_smirnov(difference: np.ndarray) -> np.ndarray:
    """Largest absolute difference of the cumulated shares, at bin edges, 0..1."""
    return np.asarray(np.abs(difference.cumsum(axis=-1)).max(axis=-1))


def wasserstein(edges: Sequence[float]) -> Measure:
    """Return the Wasserstein-1 distance of histograms over these inner edges, in their unit.

    The mass of a bin lies at its middle; the open end bins are as wide as their neighbours.
    """
    steps = wasserstein_steps(edges)
    return lambda difference: np.abs(difference.cumsum(axis=-1))[..., :-1] @ steps


def wasserstein_steps(edges: Sequence[float]) -> np.ndarray:
    """Return the distances between the middles of neighbouring bins; none without two edges."""
    inner = np.asarray(edges, float)
    if len(inner) < 2:  # noqa: PLR2004 - then no bin has a width
        return np.zeros(0)
    widths = np.diff(inner)
    outer = np.concatenate([[inner[0] - widths[0]], inner, [inner[-1] + widths[-1]]])
    return np.asarray(np.diff((outer[1:] + outer[:-1]) / 2))


def distance(measure: Measure, found: Shares, confidence: float = 0.95) -> Size:
    """Return a distance of every cell, less the bias that noise gives it, with an interval.

    The bias is what the mean of draws around the difference found exceeds it by, which is more
    than half of it (where nothing differs, no estimate of an absolute value is unbiased); the
    interval is the spread of the draws around their mean, moved to the corrected distance. Cut
    at 0.
    """
    difference = found.plain_q - found.plain_p
    raw = measure(difference)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    mean, (low, high) = _spread(measure, difference, found, tails)
    corrected = 2 * raw - mean
    moved = (corrected, corrected + low - mean, corrected + high - mean)
    return Size(raw, *(np.maximum(v, 0.0) for v in moved))


def distance_noise(measure: Measure, found: Shares, quantile: float) -> np.ndarray:
    """Return the quantile of the corrected distance when each user's outputs swap at random."""
    mean, (high,) = _spread(measure, np.zeros_like(found.plain_p), found, (quantile,))
    return np.asarray(np.maximum(high - mean, 0.0))


def _spread(
    measure: Measure, centre: np.ndarray, found: Shares, tails: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean, (C,), and quantiles, (tails, C), of a distance over draws around a centre."""
    mean, quantiles = np.full(len(centre), np.nan), np.full((len(tails), len(centre)), np.nan)
    covariance = found.difference_covariance
    for start in range(0, len(centre), _BLOCK):
        here = slice(start, start + _BLOCK)
        drawn = measure(_draws(centre[here], covariance[here]))
        mean[here] = drawn.mean(axis=0)
        quantiles[:, here] = np.quantile(drawn, tails, axis=0)
    return mean, quantiles


def _draws(centre: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return normal draws around each cell's centre, (draws, C, K), the same noise for each."""
    values, vectors = np.linalg.eigh(np.nan_to_num(covariance))
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    half = np.random.default_rng(_SEED).standard_normal((_DRAWS // 2, centre.shape[1]))
    noise = np.einsum("cij,dj->dci", root, np.concatenate([half, -half]))
    return np.asarray(centre[None] + noise)
