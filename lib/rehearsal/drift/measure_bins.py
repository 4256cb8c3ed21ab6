"""Measures of two histograms: divergences and distances, and the test they share."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from scipy.stats import chi2

from rehearsal.drift.cells import Stack
from rehearsal.drift.measured import DISTRIBUTION, Measured, measured, noise_quantile
from rehearsal.settings import Thresholds
from rehearsal.stats.distance import (
    distance_noise,
    distances,
    kolmogorov_smirnov,
    l_infinity,
    total_variation,
    wasserstein,
    wasserstein_steps,
)
from rehearsal.stats.divergence import CURVATURE, Shares, divergence, js_distance, shares
from rehearsal.stats.paired import Wald, clustered_wald, steady_pools
from rehearsal.stats.power import (
    detectable_deviations,
    detectable_divergence,
    detectable_sum,
    noncentrality,
)

ORDERED = "value"
"""The output whose bins have an order."""


def histogram_measures(
    stack: Stack, edges: Sequence[float], thresholds: Thresholds, level: np.ndarray
) -> Iterator[Measured]:
    """Return every measure of an output's two histograms, over cells with enough data.

    Args:
        stack: counts of the output.
        edges: inner bin edges of the value.
        thresholds: those that ask for the noise of a metric.
        level: at which each cell is tested, for what it could have seen.
    """
    found = shares(stack.joint, stack.user_bins, stack.sizes["n_users"])
    tested = distribution_test(stack)
    needed = noncentrality(level, tested.df, tested.units)
    test = {name: getattr(tested, name) for name in ("statistic", "df", "p_value")}
    sizes = {name: divergence(name, found) for name in CURVATURE}
    unseen = detectable_divergence(found, needed, 1.0)
    for name, curvature in CURVATURE.items():
        parts = test | {"detectable": curvature * unseen}
        quantile = noise_quantile(thresholds, name)
        if quantile is not None:
            parts["noise"] = _swapped(found, curvature, quantile)
        yield measured(stack.output, name, DISTRIBUTION, sizes[name], parts)
        if name == "js_nats":
            seen = {"detectable": np.sqrt(parts["detectable"] / np.log(2))}
            size = js_distance(sizes[name])
            yield measured(stack.output, "js_distance", DISTRIBUTION, size, test | seen)
    named = list(_distances(stack.output, edges))
    sizes = distances({name: of for name, of, _ in named}, found)
    for name, of, seen_by in named:
        quantile = noise_quantile(thresholds, name)
        parts = test | {"detectable": seen_by(found, needed)}
        if quantile is not None:
            parts["noise"] = distance_noise(of, found, quantile)
        yield measured(stack.output, name, DISTRIBUTION, sizes[name], parts)


def distribution_test(stack: Stack) -> Wald:
    """Return the user-clustered test of equal distributions in each cell, rare bins pooled."""
    differences, spreads = distribution_parts(stack)
    pools = [
        bin_pools(stack, spread, fourths)
        for spread, fourths in zip(spreads, stack.fourth_bins, strict=True)
    ]
    placed = np.array(pools, int).reshape(differences.shape)
    sizes = stack.sizes
    return clustered_wald(differences, spreads, sizes["n_users"], sizes["n_moved"], placed)


def bin_pools(stack: Stack, spread: np.ndarray, fourths: np.ndarray) -> np.ndarray:
    """Return the pool of each bin, (K,), for a test of cells whose spread and fourths these are."""
    return steady_pools(np.diag(spread), fourths, ordered=stack.output == ORDERED)


def distribution_parts(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Return d, experimental - production counts, (C, K), and its squares over users, (C, K, K)."""
    k, joint, by_user = stack.n_bins, stack.joint, stack.user_bins
    mixed = by_user[:, :k, k:]
    spread = by_user[:, :k, :k] + by_user[:, k:, k:] - mixed - mixed.swapaxes(1, 2)
    return joint.sum(axis=1) - joint.sum(axis=2), spread


_Seen = Callable[[Shares, np.ndarray], np.ndarray]
_Named = tuple[str, Callable[[np.ndarray], np.ndarray], _Seen]


def _distances(output: str, edges: Sequence[float]) -> Iterator[_Named]:
    """Name each distance, its function, and the largest that stays unseen."""

    def largest(found: Shares, needed: np.ndarray, *, cumulated: bool) -> np.ndarray:
        off = detectable_deviations(found, needed, cumulated=cumulated)
        return np.asarray(off.max(axis=1))

    def total(found: Shares, needed: np.ndarray) -> np.ndarray:
        halves = np.full(found.p.shape[1], 0.5)
        return detectable_sum(found, needed, halves, cumulated=False)

    yield "tv_distance", total_variation, total
    yield "l_infinity_distance", l_infinity, partial(largest, cumulated=False)
    if output == ORDERED:
        yield "ks_distance", kolmogorov_smirnov, partial(largest, cumulated=True)
        steps = wasserstein_steps(edges)
        if len(steps):
            seen = partial(detectable_sum, weights=steps, cumulated=True)
            yield "wasserstein_distance", wasserstein(edges), seen


def _swapped(found: Shares, curvature: float, quantile: float) -> np.ndarray:
    """Return the quantile of a corrected divergence when each user's outputs swap at random.

    Then q - p has mean 0 and the covariance found, and the divergence is c/2 times a weighted sum
    of chi-squares; two moments of it give a scaled chi-square (Satterthwaite 1946).
    """
    middle = (found.p + found.q) / 2
    noise = np.nan_to_num(found.difference_covariance) * curvature / 2
    mean = (np.diagonal(noise, axis1=1, axis2=2) / middle).sum(axis=1)
    square = (noise**2 / (middle[:, :, None] * middle[:, None, :])).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        at = square / mean * chi2.ppf(quantile, mean**2 / square)
    return np.asarray(np.where(mean > 0, at - mean, 0.0))
