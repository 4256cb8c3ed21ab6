"""k-means whose result hardly depends on its start: seeded, then improved by moving centres.

Lloyd's iterations cannot carry a centre from one dense place to another, so their result hangs on
the start. Breathing k-means (Fritzke 2020, arXiv 2006.15666) adds centres where the cost is
highest, settles, drops those that are missed least, settles, and goes on until that gains nothing.
"""

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from rehearsal.segments.nearest import nearest, nearest_labels, squared_to, squared_to_all

_SEARCH_POINTS = 10_000  # starts and moves are tried on so many; all points have the last word
_SEARCH_PER_CENTRE = 200
_START_ITERATIONS = 3
_BREATH = 5  # centres that move at once, Fritzke's default
_DART, _DARTS, _CANDIDATES = 0, 3, 10  # draws of a lone new centre that must fail, to stop
_GAIN = 1e-4  # a smaller relative gain does not pay for another breath
_STILL = 1e-5  # squared move of all centres, as a share of the mean variance, that ends Lloyd


@dataclass(frozen=True, eq=False)
class Centres:
    """Centres, shape (k, p), and the mean squared distance of the points fitted to them."""

    centres: np.ndarray
    cost: float


def generator(seed: int, *parts: int) -> np.random.Generator:
    """Return a generator that depends on the seed and the parts alone."""
    return np.random.default_rng([seed % 2**64, *parts])


# Products this small gain nothing from threads, and lose much where other work wants the cores.
@threadpool_limits.wrap(limits=1, user_api="blas")  # type: ignore[untyped-decorator]
def fit_centres(
    points: np.ndarray,
    k: int,
    seed: int,
    starts: int,
    max_iterations: int,
    init: np.ndarray | None = None,
) -> Centres:
    """Return k centres of low mean squared distance; fewer if fewer points are distinct.

    Args:
        points: finite, shape (n, p), n >= 1; their order counts, since sums follow it.
        k: centres wanted, k >= 1.
        seed: all randomness depends on it.
        starts: k-means++ starts (Arthur and Vassilvitskii 2007), the best of which is improved.
        max_iterations: of Lloyd's algorithm each time it settles the centres.
        init: centres to settle from, shape (k, p): a warm start, with neither starts nor moves.
    """
    columns = np.ascontiguousarray(points.T)
    if init is not None:
        found = settle(columns, top_up(columns, init, k), max_iterations)
        return Centres(found, cost_of(columns, found))
    k = min(k, count_distinct(points, k))
    few = _search_columns(columns, k, seed)
    found = _best_start(few, k, seed, starts)
    random = generator(seed, k, 2)
    if k > 1:
        breaths = list(range(min(_BREATH, k), 0, -1))
        found = _move(few, found, [*breaths, *[_DART] * _DARTS], random, max_iterations)
    found = settle(columns, top_up(columns, found, k), max_iterations)
    if k > 1 and few.shape[1] < columns.shape[1]:
        # Groups too small to count among the few.
        found = _move(columns, found, [1, _DART, _DART], random, _START_ITERATIONS)
        found = settle(columns, found, max_iterations)
    return Centres(found, cost_of(columns, found))


def settle(columns: np.ndarray, centres: np.ndarray, max_iterations: int) -> np.ndarray:
    """Return the centres after Lloyd's iterations over points given as columns (p, n).

    A centre that no point is nearest to starts again at the point farthest from all centres.
    """
    still = _STILL * float(columns.var(axis=1).mean())
    for _ in range(max_iterations):
        moved = _means(columns, nearest_labels(columns, centres), len(centres))
        shift = float(((moved - centres[: len(moved)]) ** 2).sum())
        full = len(moved) == len(centres)
        centres = moved if full else top_up(columns, moved, len(centres))
        if full and shift <= still:
            break
    return centres


def top_up(columns: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    """Return the centres and, up to k, the points farthest from them, one after the other."""
    while len(centres) < k:
        _, squared, _ = nearest(columns.T, centres)
        farthest = int(squared.argmax())
        if squared[farthest] == 0:
            break
        centres = np.vstack([centres, columns[:, farthest]])
    return centres


def cost_of(columns: np.ndarray, centres: np.ndarray) -> float:
    """Return the mean squared distance of points given as columns (p, n) to their centre."""
    return float(squared_to(columns, centres, nearest_labels(columns, centres)).mean())


def count_distinct(points: np.ndarray, limit: int) -> int:
    """Return how many points are distinct, or any number from `limit` up if that many are."""
    # Nearly always the first few settle it; sorting all of them takes far longer.
    few = len(np.unique(points[: 4 * limit], axis=0))
    return few if few >= limit else len(np.unique(points, axis=0))


def _means(columns: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return the mean of each label that has points, in the order of labels."""
    counts = np.bincount(labels, minlength=k)
    sums = [np.bincount(labels, weights=column, minlength=k) for column in columns]
    taken = counts > 0
    means: np.ndarray = np.stack(sums, axis=1)[taken] / counts[taken, None]
    return means


def _search_columns(columns: np.ndarray, k: int, seed: int) -> np.ndarray:
    n, most = columns.shape[1], max(_SEARCH_POINTS, _SEARCH_PER_CENTRE * k)
    if n <= most:
        return columns
    chosen = np.sort(generator(seed, k, 0).choice(n, most, replace=False))
    return np.ascontiguousarray(columns[:, chosen])


def _best_start(columns: np.ndarray, k: int, seed: int, starts: int) -> np.ndarray:
    best, lowest = np.empty(0), np.inf
    for number in range(starts):
        seeds = _plus_plus(columns, k, generator(seed, k, 1, number))
        settled = settle(columns, seeds, _START_ITERATIONS)
        cost = cost_of(columns, settled)
        if cost < lowest:
            best, lowest = settled, cost
    return best


def _move(
    columns: np.ndarray,
    centres: np.ndarray,
    moves: list[int],
    random: np.random.Generator,
    max_iterations: int,
) -> np.ndarray:
    """Return the centres after each move in turn has been made for as long as it pays."""
    k, lowest = len(centres), cost_of(columns, centres)
    while moves:
        if moves[0] == _DART:
            grown = _add_far(columns, centres, random)
        else:
            grown = _split_wide(columns, centres, moves[0])
        grown = settle(columns, grown, max_iterations)
        shrunk = settle(columns, _exhale(columns, grown, k), max_iterations)
        cost = cost_of(columns, shrunk)
        if cost < lowest * (1 - _GAIN):
            centres, lowest = shrunk, cost
        else:
            moves = moves[1:]
    return centres


def _plus_plus(columns: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """Seed by squared distance, the best of a few candidates each time (greedy k-means++)."""
    tries = 2 + int(np.log(k))
    chosen = [int(random.integers(columns.shape[1]))]
    squared = squared_to_all(columns, columns[:, chosen].T)[0]
    while len(chosen) < k and squared.any():
        candidates = _draw(squared, tries, random)
        closer = np.minimum(squared_to_all(columns, columns[:, candidates].T), squared)
        winner = int(closer.sum(axis=1).argmin())
        chosen.append(int(candidates[winner]))
        squared = closer[winner]
    return np.ascontiguousarray(columns[:, chosen].T)


def _draw(weights: np.ndarray, n: int, random: np.random.Generator) -> np.ndarray:
    """Return n positions drawn in proportion to their weights."""
    cumulated = np.cumsum(weights)
    drawn = np.searchsorted(cumulated, random.random(n) * cumulated[-1], side="right")
    within: np.ndarray = np.minimum(drawn, len(weights) - 1)
    return within


def _split_wide(columns: np.ndarray, centres: np.ndarray, breath: int) -> np.ndarray:
    """Cut the clusters in two where it saves most: two groups of a size under one centre."""
    labels = nearest_labels(columns, centres)
    halves = [_halves(columns[:, labels == label]) for label in range(len(centres))]
    savings = np.array([saving for saving, _ in halves])
    ranked = np.argsort(-savings, kind="stable")[:breath]
    cut = [int(label) for label in ranked if savings[label] > 0]
    kept = np.delete(centres, cut, axis=0)
    return np.vstack([kept, *(halves[label][1] for label in cut)])


def _add_far(columns: np.ndarray, centres: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Add the point that saves most of a few drawn by squared distance: a small group far off."""
    _, squared, _ = nearest(columns.T, centres)
    candidates = _draw(squared, _CANDIDATES, random)
    closer = np.minimum(squared_to_all(columns, columns[:, candidates].T), squared)
    return np.vstack([centres, columns[:, candidates[closer.sum(axis=1).argmin()]]])


def _halves(members: np.ndarray) -> tuple[float, np.ndarray]:
    """Return what cutting a cluster in two saves in summed squared distance, and both means."""
    n = members.shape[1]
    if n <= 1:
        return 0.0, members.T
    middle = members.mean(axis=1, keepdims=True)
    away = members - middle
    axis = np.linalg.eigh(away @ away.T)[1][:, -1]
    above = axis @ away > 0
    n_above = int(above.sum())
    if not 0 < n_above < n:
        return 0.0, members.T
    high = members[:, above].mean(axis=1)
    low = members[:, ~above].mean(axis=1)
    return n_above * (n - n_above) / n * float(((high - low) ** 2).sum()), np.stack([low, high])


def _exhale(columns: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    """Drop, one by one, the centre whose points would pay least for going to the runner-up."""
    while len(centres) > k:
        labels, squared, rival_squared = nearest(columns.T, centres)
        missed = np.bincount(labels, weights=rival_squared - squared, minlength=len(centres))
        centres = np.delete(centres, int(missed.argmin()), axis=0)
    return centres
