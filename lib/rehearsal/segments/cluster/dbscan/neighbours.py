"""Pairs of points within eps, listed in parts of bounded size.

scipy's trees only propose pairs; whether two points are neighbours is decided here, in one way for
every box: the sum of squared differences, axis after axis, against eps * eps. It is how
scikit-learn's trees decide point by point.
"""

from collections.abc import Iterator

import numpy as np

# Bounds a worker's memory: a pair takes about 100 bytes while it is looked at.
_PAIRS_AT_ONCE = 500_000
_PROBES = 256
# Proposals reach a little beyond eps, so that the trees' own rounding leaves no pair out.
_MARGIN = 1 + 1e-9

Pairs = tuple[np.ndarray, np.ndarray]


def are_neighbours(
    points: np.ndarray, first: np.ndarray, second: np.ndarray, eps: float
) -> np.ndarray:
    """Return which of the pairs of positions (first, second) are within eps, shape (pairs,)."""
    squares = np.zeros(len(first))
    for axis in range(points.shape[1]):
        column = np.ascontiguousarray(points[:, axis])
        difference = column[first]
        difference -= column[second]
        difference *= difference
        squares += difference
    return squares <= eps * eps


def neighbours_within(
    points: np.ndarray, rows: np.ndarray, eps: float, at_once: int = _PAIRS_AT_ONCE
) -> Iterator[Pairs]:
    """Yield every unordered pair of neighbours among `rows`, positions in distinct points."""
    from scipy.spatial import cKDTree

    pending: list[tuple[np.ndarray, np.ndarray | None]] = [(rows, None)]
    while pending:
        left, right = pending.pop()
        if len(left) == 0 or (right is not None and len(right) == 0):
            continue
        if right is not None:
            yield from neighbours_between(points, left, right, eps, at_once)
            continue
        tree = cKDTree(points[left], balanced_tree=False)
        if _expected_pairs(tree, points[left], eps) / 2 > at_once and len(left) > 1:
            low, high = _halves(points, left)
            pending += [(low, high), (low, None), (high, None)]
            continue
        pairs = tree.query_pairs(eps * _MARGIN, output_type="ndarray")
        yield _confirmed(points, left[pairs[:, 0]], left[pairs[:, 1]], eps)


def neighbours_between(
    points: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    eps: float,
    at_once: int = _PAIRS_AT_ONCE,
) -> Iterator[Pairs]:
    """Yield every pair of neighbours (one of `left`, one of `right`), disjoint positions."""
    from scipy.spatial import cKDTree

    if len(left) == 0 or len(right) == 0:
        return
    pending = [left]
    tree = cKDTree(points[right], balanced_tree=False)
    while pending:
        part = pending.pop()
        if _expected_pairs(tree, points[part], eps) > at_once and len(part) > 1:
            pending += _halves(points, part)
            continue
        queries = cKDTree(points[part], balanced_tree=False)
        found = queries.sparse_distance_matrix(tree, eps * _MARGIN, output_type="ndarray")
        yield _confirmed(points, part[found["i"]], right[found["j"]], eps)


def _confirmed(points: np.ndarray, first: np.ndarray, second: np.ndarray, eps: float) -> Pairs:
    true = are_neighbours(points, first, second, eps)
    return (first, second) if true.all() else (first[true], second[true])


def _expected_pairs(tree: object, queries: np.ndarray, eps: float) -> float:
    """Neighbours of all queries in a tree, from an even choice of them."""
    step = max(1, len(queries) // _PROBES)
    probes = queries[::step]
    counts = tree.query_ball_point(probes, eps, return_length=True)  # type: ignore[attr-defined]
    return float(counts.mean() * len(queries))


def _halves(points: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Part rows in two equal numbers along the axis on which they spread the most."""
    axis = int(np.ptp(points[rows], axis=0).argmax())
    order = np.argpartition(points[rows, axis], len(rows) // 2)
    return [rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]]
