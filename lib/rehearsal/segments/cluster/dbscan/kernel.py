"""DBSCAN of the points of one box, in memory that grows with the points and not with the pairs.

A cell of side below eps / sqrt(d) that holds min_points or more is core throughout and of one
cluster, so no pair within it is looked at. Of the others, a pair is kept only while one of its
points has too few neighbours to be known as core.
"""

from dataclasses import dataclass

import numpy as np

from rehearsal.segments.cluster.dbscan.dense import join_dense_cells
from rehearsal.segments.cluster.dbscan.grid import cells, group
from rehearsal.segments.cluster.dbscan.joins import Joins
from rehearsal.segments.cluster.dbscan.neighbours import (
    Pairs,
    neighbours_between,
    neighbours_within,
)


@dataclass(frozen=True)
class Clustered:
    """What DBSCAN finds among m distinct points.

    `core` (m,) flags core points, `component` (m,) numbers what core points are connected to
    (meaningless elsewhere), `border` is pairs (point that is not core, core neighbour).
    """

    core: np.ndarray
    component: np.ndarray
    border: Pairs


def cluster_points(
    points: np.ndarray, weights: np.ndarray, wanted: np.ndarray, eps: float, min_points: int
) -> Clustered:
    """Return the clusters of distinct points, shape (m, d), each standing for `weights` rows.

    A point is core if the rows within eps, its own included, are min_points or more (Ester et al.
    1996, definitions 1 and 2). That is decided for `wanted` points, shape (m,); others are there to
    be counted, and of them only those known without a look at pairs are called core.
    """
    cell, n_cells = group(cells(points, eps))
    dense = np.bincount(cell, weights=weights, minlength=n_cells)[cell] >= min_points
    joins = Joins(len(points))
    dense_rows = np.flatnonzero(dense)
    join_dense_cells(points, dense_rows, cell[dense_rows], eps, joins)
    found = _Found(weights, dense, min_points, joins)
    looked_at = wanted & ~dense
    rows, others = np.flatnonzero(looked_at), np.flatnonzero(~looked_at)
    for first, second in neighbours_within(points, rows, eps):
        found.count(first, second)
        found.count(second, first)
        found.keep(first, second)
    for first, second in neighbours_between(points, rows, others, eps):
        found.count(first, second)
        known = dense[second]
        found.keep(*_one_per_cell(first[known], second[known], cell, n_cells))
    return found.finish()


def _one_per_cell(first: np.ndarray, second: np.ndarray, cell: np.ndarray, n_cells: int) -> Pairs:
    """Return one pair per point and dense cell, which is enough as a cell is of one cluster."""
    _, chosen = np.unique(first * n_cells + cell[second], return_index=True)
    return first[chosen], second[chosen]


class _Found:
    """Neighbour counts so far, and the pairs whose part in the clusters is still open."""

    def __init__(
        self, weights: np.ndarray, dense: np.ndarray, min_points: int, joins: Joins
    ) -> None:
        self._weights, self._joins, self._min_points = weights, joins, min_points
        self._counts = np.where(dense, min_points, weights)
        nothing = np.zeros(0, np.int64)
        self._open: list[Pairs] = [(nothing, nothing)]

    def count(self, counted: np.ndarray, neighbour: np.ndarray) -> None:
        n = len(self._counts)
        rows = np.bincount(counted, weights=self._weights[neighbour], minlength=n)
        self._counts += rows.astype(np.int64)

    def keep(self, first: np.ndarray, second: np.ndarray) -> None:
        """Join pairs that are core by now, and keep the others."""
        core = self._counts >= self._min_points
        settled = core[first] & core[second]
        self._joins.join(first[settled], second[settled])
        self._open.append((first[~settled], second[~settled]))

    def finish(self) -> Clustered:
        core = self._counts >= self._min_points
        first, second = (np.concatenate(part) for part in zip(*self._open, strict=True))
        both, one = core[first] & core[second], core[first] ^ core[second]
        self._joins.join(first[both], second[both])
        first, second = first[one], second[one]
        swapped = core[first]
        border = np.where(swapped, second, first), np.where(swapped, first, second)
        return Clustered(core, self._joins.labels, border)
