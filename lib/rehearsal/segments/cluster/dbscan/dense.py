"""Which dense cells are of one cluster: those with two points, one of each, within eps."""

from dataclasses import dataclass

import numpy as np

from rehearsal.segments.cluster.dbscan.joins import Joins
from rehearsal.segments.cluster.dbscan.neighbours import (
    are_neighbours,
    neighbours_between,
    neighbours_within,
)

# Wide of any rounding, so that what lies clear of it needs no closer look.
_MARGIN = 1e-9
_PAIRS_AT_ONCE = 2_000_000
# Two cells with more pairs of points than this are compared by a tree.
_PAIRS_FOR_TREE = 50_000


@dataclass(frozen=True)
class _Cells:
    """Cells as runs of `rows`, positions of their points, with the bounds of those points."""

    points: np.ndarray
    eps: float
    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def members(self, cell: int) -> np.ndarray:
        return self.rows[self.starts[cell] : self.starts[cell] + self.sizes[cell]]


def join_dense_cells(
    points: np.ndarray, rows: np.ndarray, cell: np.ndarray, eps: float, joins: Joins
) -> None:
    """Join the points of every cell, and those of cells with a pair of neighbours.

    Args:
        points: all distinct points, shape (m, d).
        rows: positions of the points that lie in dense cells.
        cell: the cell of each of these rows.
        eps: radius of a neighbourhood.
        joins: of the m points.
    """
    if len(rows) == 0:
        return
    order = np.argsort(cell, kind="stable")
    rows, cell = rows[order], cell[order]
    starts = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
    sizes = np.diff(np.append(starts, len(rows)))
    first = rows[starts]
    joins.join(np.repeat(first, sizes), rows)
    # One point of each finds most neighbouring cells, which leaves few to compare in full.
    for left, right in neighbours_within(points, first, eps):
        joins.join(left, right)
    low = np.minimum.reduceat(points[rows], starts)
    high = np.maximum.reduceat(points[rows], starts)
    cells = _Cells(points, eps, rows, starts, sizes, low, high)
    # Neighbours are at most eps apart, and each at most eps / 2 from the middle of its cell.
    middle = (low + high) / 2
    for left, right in neighbours_within(middle, np.arange(len(starts)), 2 * eps):
        apart = joins.labels[first[left]] != joins.labels[first[right]]
        touching = _touching(cells, left[apart], right[apart])
        joins.join(first[left[apart][touching]], first[right[apart][touching]])


def _touching(cells: _Cells, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return which pairs of cells hold a pair of neighbours, shape (pairs,)."""
    gap = np.maximum(cells.low[left] - cells.high[right], cells.low[right] - cells.high[left])
    squares = (np.maximum(gap, 0.0) ** 2).sum(axis=1)
    close = np.flatnonzero(squares <= cells.eps**2 * (1 + _MARGIN))
    n_pairs = cells.sizes[left[close]] * cells.sizes[right[close]]
    small, large = close[n_pairs <= _PAIRS_FOR_TREE], close[n_pairs > _PAIRS_FOR_TREE]
    result = np.zeros(len(left), bool)
    batch = np.cumsum(cells.sizes[left[small]] * cells.sizes[right[small]]) // _PAIRS_AT_ONCE
    for part in np.split(small, np.flatnonzero(np.diff(batch)) + 1):
        result[part] = _any_pair(cells, left[part], right[part])
    for pair in large:
        result[pair] = _any_pair_by_tree(cells, int(left[pair]), int(right[pair]))
    return result


def _any_pair(cells: _Cells, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Compare all points of one cell with all of the other, for many small pairs of cells."""
    if len(left) == 0:
        return np.zeros(0, bool)
    n_pairs = cells.sizes[left] * cells.sizes[right]
    starts = np.cumsum(n_pairs) - n_pairs
    pair = np.repeat(np.arange(len(left)), n_pairs)
    number, width = np.arange(len(pair)) - starts[pair], cells.sizes[right][pair]
    first = cells.rows[cells.starts[left][pair] + number // width]
    second = cells.rows[cells.starts[right][pair] + number % width]
    return np.logical_or.reduceat(are_neighbours(cells.points, first, second, cells.eps), starts)


def _any_pair_by_tree(cells: _Cells, left: int, right: int) -> bool:
    from scipy.spatial import cKDTree

    points, eps = cells.points, cells.eps
    first, second = cells.members(left), cells.members(right)
    bound = eps * (1 + _MARGIN)
    nearest, _ = cKDTree(points[second]).query(points[first], distance_upper_bound=bound)
    if nearest.min() <= eps * (1 - _MARGIN):
        return True
    near = first[np.isfinite(nearest)]
    return any(len(found) for found, _ in neighbours_between(points, near, second, eps))
