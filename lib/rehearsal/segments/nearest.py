"""The nearest centre of each point, the same whatever other points are asked about with it.

A matrix product is the fast way to k distances per point, but its rounding depends on the shape
of the batch and on the machine. So it only proposes; the distances given are summed column by
column, and where rounding could decide between two centres all k are computed that way.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

_BLOCK_CELLS = 1 << 18  # distances held at once: they stay in the cache
# From so many centres and points on a tree of few dimensions is faster than all the products.
_TREE_CENTRES, _TREE_POINTS, _TREE_DIMENSIONS = 256, 64, 6
_EPSILON = float(np.finfo(np.float64).eps)


def nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest centre of each point, and squared distances to it and to the runner-up.

    A tie goes to the lower index. A row's numbers depend on that row and the centres alone.

    Args:
        points: finite, shape (n, p); fastest in column order.
        centres: finite, shape (k, p), k >= 1.

    Returns:
        Labels (n,), squared distances (n,), squared distances to the second nearest centre (n,):
        infinite where k is 1.
    """
    columns = np.ascontiguousarray(points.T)
    labels, rivals = nearest_two(columns, centres)
    squared = squared_to(columns, centres, labels)
    if len(centres) == 1:
        return labels, squared, np.full(len(points), np.inf)
    return labels, squared, squared_to(columns, centres, rivals)


def nearest_labels(columns: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the nearest centre (n,) of points given as columns (p, n), ties to the lower index."""
    return _propose(columns, centres, rivals=False)[0]


def nearest_two(columns: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest and second nearest centre, (n,) each, of points as columns (p, n)."""
    return _propose(columns, centres, rivals=True)


def squared_to(columns: np.ndarray, centres: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each point's squared distance (n,) to the centre of its label."""
    total = np.zeros(columns.shape[1])
    for column, positions in zip(columns, np.ascontiguousarray(centres.T), strict=True):
        difference = column - positions[labels]
        difference *= difference
        total += difference
    return total


def squared_to_all(columns: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return all squared distances, shape (k, n), summed in the same order as `squared_to`."""
    total = np.zeros((len(centres), columns.shape[1]))
    for column, positions in zip(columns, centres.T, strict=True):
        difference = column[None, :] - positions[:, None]
        difference *= difference
        total += difference
    return total


def _propose(
    columns: np.ndarray, centres: np.ndarray, rivals: bool
) -> tuple[np.ndarray, np.ndarray]:
    (p, n), k = columns.shape, len(centres)
    labels, seconds = np.zeros(n, np.int64), np.zeros(n, np.int64)
    if k == 1:
        return labels, seconds
    if k >= _TREE_CENTRES and n >= _TREE_POINTS and p <= _TREE_DIMENSIONS:
        propose = _tree(centres)
    else:
        propose = partial(_by_products, factors=_factors(centres))
    block = max(_BLOCK_CELLS // k, 64)
    for start in range(0, n, block):
        part = columns[:, start : start + block]
        best, second, unsure = propose(part, rivals=rivals)
        if unsure.any():
            exact = squared_to_all(part[:, unsure], centres)
            best[unsure], second[unsure] = _two_lowest(exact)
        labels[start : start + block], seconds[start : start + block] = best, second
    return labels, seconds


def _tree(centres: np.ndarray) -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    from scipy.spatial import KDTree

    tree = KDTree(centres)

    def propose(part: np.ndarray, rivals: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        p = len(part)
        distances, index = tree.query(part.T, k=3)
        gaps = np.diff(distances, axis=1)
        doubt = 4.0 * _EPSILON * (p + 4) * distances[:, 2]
        unsure = gaps[:, 0] <= doubt
        if rivals:
            unsure |= gaps[:, 1] <= doubt
        return index[:, 0], index[:, 1], unsure

    return propose


def _factors(centres: np.ndarray) -> np.ndarray:
    """Return (k, p + 2) so that its product with (point, 1, |point|^2) is a squared distance."""
    squares = (centres * centres).sum(axis=1)[:, None]
    return np.hstack([-2.0 * centres, squares, np.ones_like(squares)])


def _by_products(
    part: np.ndarray, rivals: bool, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nearest, second nearest, and where rounding leaves either in doubt."""
    p, n = part.shape
    norms = np.einsum("ij,ij->j", part, part)
    squared = factors @ np.vstack([part, np.ones(n), norms])
    np.maximum(squared, 0.0, out=squared)
    # The index rides in the lowest bits of each (never negative) distance, so that one minimum
    # finds both; what this rounds off is part of the doubt.
    mask = (1 << (len(factors) - 1).bit_length()) - 1
    bits = squared.view(np.int64)
    bits &= ~mask
    bits |= np.arange(len(factors))[:, None]
    best, label = _take_lowest(squared, mask)
    second, rival = _take_lowest(squared, mask)
    doubt = 4.0 * _EPSILON * (p + 4 + mask) * (norms + factors[:, p].max())
    unsure = second - best <= doubt
    if rivals:
        unsure |= squared.min(axis=0) - second <= doubt
    return label, rival, unsure


def _take_lowest(squared: np.ndarray, mask: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each column's lowest distance and its index, and take it out of the running."""
    lowest = squared.min(axis=0)
    index = lowest.view(np.int64) & mask
    squared[index, np.arange(squared.shape[1])] = np.inf
    return lowest, index


def _two_lowest(exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    best = exact.argmin(axis=0)
    exact[best, np.arange(exact.shape[1])] = np.inf
    return best, exact.argmin(axis=0)
