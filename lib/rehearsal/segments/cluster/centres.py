"""Centres fitted to points in memory: how many, how good, how stable. Plain numpy, no cluster.

Used on the bounded sample of a run and by simulations; the nearest centre of a user is the same
code at fit and at service.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rehearsal.segments.cluster.search import Centres, cost_of, fit_centres, generator, settle
from rehearsal.segments.mixture import Mixture, fit_mixture
from rehearsal.segments.nearest import nearest, nearest_labels, squared_to

__all__ = [
    "Centres",
    "Panel",
    "choose",
    "fit_centres",
    "judge",
    "merge_small",
    "nearest",
    "stability",
]

ROUNDS = 10  # bootstrap fits: their mean Jaccard then varies by a few hundredths
_BOOTSTRAP_POINTS, _BOOTSTRAP_ITERATIONS = 5_000, 5  # more of either changes the mean by < 0.01
_BOOTSTRAP_EM = 20


@dataclass(frozen=True)
class Panel:
    """What one k gives, by several indices, since none of them alone finds the right k.

    Attributes:
        k: centres.
        silhouette: simplified silhouette, the mean of (b - a) / b with a and b the distances to
            the nearest and the next centre (Hruschka et al. 2004); 0 for k = 1. High is good.
        davies_bouldin: Davies and Bouldin 1979, low is good; NaN with fewer than two segments.
        calinski_harabasz: Calinski and Harabasz 1974, high is good; NaN likewise, and where all
            points lie on their centres.
        cost: mean squared distance to the centre.
        smallest_share: share of the points in the smallest segment, 0..1.
    """

    k: int
    silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    cost: float
    smallest_share: float


def judge(points: np.ndarray, centres: np.ndarray) -> Panel:
    """Return the panel of indices of centres (k, p) on points (n, p)."""
    k = len(centres)
    labels, squared, rival_squared = nearest(points, centres)
    counts = np.bincount(labels, minlength=k)
    return Panel(
        k=k,
        silhouette=simplified_silhouette(squared, rival_squared),
        davies_bouldin=_davies_bouldin(points, labels, k),
        calinski_harabasz=_calinski_harabasz(points, labels, k),
        cost=float(squared.mean()),
        smallest_share=float(counts.min() / len(points)),
    )


def simplified_silhouette(squared: np.ndarray, rival_squared: np.ndarray) -> float:
    """Return the mean of (b - a) / b; a point as near to both counts 0, a lone centre gives 0."""
    return float(gaps(squared, rival_squared).mean()) if np.isfinite(rival_squared).all() else 0.0


def gaps(squared: np.ndarray, rival_squared: np.ndarray) -> np.ndarray:
    """Return (b - a) / b of each point, 0 where b is 0."""
    ratio = np.ones_like(squared)
    np.divide(squared, rival_squared, out=ratio, where=rival_squared > 0)
    return 1.0 - np.sqrt(ratio)


def choose(
    points: np.ndarray, ks: Sequence[int], seed: int, starts: int, max_iterations: int
) -> tuple[Centres, list[Panel]]:
    """Return the centres with the highest silhouette over the ks, and the panel of every k.

    On equal silhouettes the smaller k is the simpler account. Fewer distinct points than a k
    give as many centres as there are points, even if that is below all ks; each k is tried once.
    """
    fits: dict[int, Centres] = {}
    for k in sorted(ks):
        fitted = fit_centres(points, k, seed, starts, max_iterations)
        fits.setdefault(len(fitted.centres), fitted)
        if len(fitted.centres) < k:
            break
    panels = [judge(points, fitted.centres) for fitted in fits.values()]
    best = max(panels, key=lambda panel: (panel.silhouette, -panel.k))
    return fits[best.k], panels


def merge_small(
    points: np.ndarray, centres: np.ndarray, min_share: float, max_iterations: int
) -> Centres:
    """Return the centres without those whose segment has less than `min_share` of the points.

    The smallest goes first and the others settle again, until all are large enough or one is left.
    """
    columns = np.ascontiguousarray(points.T)
    while True:
        counts = np.bincount(nearest_labels(columns, centres), minlength=len(centres))
        if len(centres) == 1 or counts.min() >= min_share * len(points):
            return Centres(centres, cost_of(columns, centres))
        centres = np.delete(centres, int(counts.argmin()), axis=0)
        centres = settle(columns, centres, max_iterations)


def stability(
    points: np.ndarray,
    centres: np.ndarray,
    seed: int,
    rounds: int = ROUNDS,
    mixture: Mixture | None = None,
) -> np.ndarray:
    """Return how surely each segment comes back: mean Jaccard over bootstrap fits, shape (k,).

    Each round fits as many centres to a bootstrap sample, or as many components to it where the
    centres are those of a mixture, and takes, for every segment, the Jaccard index of its best
    match among the points drawn; below 0.6 a segment is not to be trusted, above 0.85 it is highly
    stable (Hennig 2007, doi:10.1016/j.csda.2006.11.025). At most 5,000 of the points are drawn,
    which errs on the side of less stable.
    """
    k, n = len(centres), min(len(points), _BOOTSTRAP_POINTS)
    total = np.zeros(k)
    for number in range(rounds):
        drawn = generator(seed, number).integers(len(points), size=n)
        sample, seen = points[drawn], points[np.unique(drawn)]
        again = fit_centres(sample, k, seed + number, 1, _BOOTSTRAP_ITERATIONS).centres
        mixed = None
        if mixture is not None:
            start = _labels(sample, again, None)
            again, mixed = fit_mixture(sample, start, len(again), _BOOTSTRAP_EM)
        total += _best_jaccard(
            _labels(seen, centres, mixture), _labels(seen, again, mixed), k, len(again)
        )
    return total / rounds


def _labels(points: np.ndarray, centres: np.ndarray, mixture: Mixture | None) -> np.ndarray:
    if mixture is None:
        return nearest_labels(np.ascontiguousarray(points.T), centres)
    labels: np.ndarray = mixture.membership(points, centres).argmax(axis=1)
    return labels


def _best_jaccard(ours: np.ndarray, theirs: np.ndarray, k: int, k_theirs: int) -> np.ndarray:
    both = np.bincount(ours * k_theirs + theirs, minlength=k * k_theirs).reshape(k, k_theirs)
    either = both.sum(axis=1)[:, None] + both.sum(axis=0)[None, :] - both
    best: np.ndarray = (both / np.maximum(either, 1)).max(axis=1)
    return best


def _moments(
    points: np.ndarray, labels: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts (m,), means (m, p) and new labels of the m segments that have points."""
    counts = np.bincount(labels, minlength=k)
    sums = [np.bincount(labels, weights=column, minlength=k) for column in points.T]
    taken = counts > 0
    means = np.stack(sums, axis=1)[taken] / counts[taken, None]
    return counts[taken], means, (np.cumsum(taken) - 1)[labels]


def _davies_bouldin(points: np.ndarray, labels: np.ndarray, k: int) -> float:
    counts, means, labels = _moments(points, labels, k)
    if len(counts) < 2:  # noqa: PLR2004 - an index of pairs
        return float("nan")
    distances = np.sqrt(squared_to(np.ascontiguousarray(points.T), means, labels))
    spread = np.bincount(labels, weights=distances) / counts
    apart = np.sqrt(((means[:, None, :] - means[None, :, :]) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    return float(((spread[:, None] + spread[None, :]) / apart).max(axis=1).mean())


def _calinski_harabasz(points: np.ndarray, labels: np.ndarray, k: int) -> float:
    counts, means, labels = _moments(points, labels, k)
    within = float(squared_to(np.ascontiguousarray(points.T), means, labels).sum())
    if len(counts) < 2 or within == 0:  # noqa: PLR2004 - an index of pairs
        return float("nan")
    between = float((counts * ((means - points.mean(axis=0)) ** 2).sum(axis=1)).sum())
    return between / within * (len(points) - len(counts)) / (len(counts) - 1)
