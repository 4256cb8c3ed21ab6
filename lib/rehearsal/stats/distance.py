"""Distances of two histograms that are sums or maxima of absolute differences.

They have no gradient where nothing differs, so bias and intervals come from draws of the
difference's own normal law instead of the delta method. Arrays are stacks of cells, as in
`divergence`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rehearsal.stats.divergence import Shares, Size

Measure = Callable[[np.ndarray], np.ndarray]

_DRAWS, _BLOCK = 400, 500
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
    # Not a matrix product: its last bits depend on how many cells are measured at once.
    return lambda difference: (np.abs(difference.cumsum(axis=-1))[..., :-1] * steps).sum(axis=-1)


def wasserstein_steps(edges: Sequence[float]) -> np.ndarray:
    """Return the distances between the middles of neighbouring bins; none without two edges."""
    inner = np.asarray(edges, float)
    if len(inner) < 2:  # noqa: PLR2004 - then no bin has a width
        return np.zeros(0)
    widths = np.diff(inner)
    outer = np.concatenate([[inner[0] - widths[0]], inner, [inner[-1] + widths[-1]]])
    return np.asarray(np.diff((outer[1:] + outer[:-1]) / 2))


def distances(
    measures: Mapping[str, Measure], found: Shares, confidence: float = 0.95
) -> dict[str, Size]:
    """Return distances of every cell, less the bias that noise gives them, with intervals.

    The bias is what the mean of draws around the difference found exceeds it by, which is more
    than half of it (where nothing differs, no estimate of an absolute value is unbiased); the
    interval is the spread of the draws around their mean, moved to the corrected distance. Cut
    at 0.
    """
    difference = found.plain_q - found.plain_p
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    sizes = {}
    for name, (mean, (low, high)) in _spread(measures, difference, found, tails).items():
        raw = measures[name](difference)
        corrected = 2 * raw - mean
        moved = (corrected, corrected + low - mean, corrected + high - mean)
        sizes[name] = Size(raw, *(np.maximum(v, 0.0) for v in moved))
    return sizes


def distance_noise(measure: Measure, found: Shares, quantile: float) -> np.ndarray:
    """Return the quantile of the corrected distance when each user's outputs swap at random."""
    nothing = np.zeros_like(found.plain_p)
    mean, (high,) = _spread({"": measure}, nothing, found, (quantile,))[""]
    return np.asarray(np.maximum(high - mean, 0.0))


def _spread(
    measures: Mapping[str, Measure], centre: np.ndarray, found: Shares, tails: tuple[float, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return mean, (C,), and quantiles, (tails, C), of distances over draws around a centre."""
    n = len(centre)
    spread = {name: (np.full(n, np.nan), np.full((len(tails), n), np.nan)) for name in measures}
    for start in range(0, n, _BLOCK):
        here = slice(start, start + _BLOCK)
        drawn = _draws(centre[here], found.difference_covariance[here])
        for name, measure in measures.items():
            values = measure(drawn)
            spread[name][0][here] = values.mean(axis=0)
            spread[name][1][:, here] = np.quantile(values, tails, axis=0)
    return spread


def _draws(centre: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return normal draws around each cell's centre, (draws, C, K), the same noise for each."""
    values, vectors = np.linalg.eigh(np.nan_to_num(covariance))
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    half = np.random.default_rng(_SEED).standard_normal((_DRAWS // 2, centre.shape[1]))
    noise = (root @ half.T).transpose(2, 0, 1)
    return np.concatenate([centre + noise, centre - noise])
