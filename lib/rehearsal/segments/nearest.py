"""The nearest centre of each point, the same whatever other points are asked about with it.

A matrix product is the fast way to k distances per point, but its rounding depends on the shape
of the batch and on the machine. So it only proposes; the distances given are summed column by
column, and where rounding could decide between two centres all k are computed that way.
"""

import numpy as np

_BLOCK_CELLS = 1 << 18  # distances held at once: they stay in the cache
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
    n = columns.shape[1]
    labels, seconds = np.zeros(n, np.int64), np.zeros(n, np.int64)
    if len(centres) == 1:
        return labels, seconds
    block = max(_BLOCK_CELLS // len(centres), 64)
    factors = _factors(centres)
    for start in range(0, n, block):
        part = columns[:, start : start + block]
        best, second, unsure = _nearest_in_block(part, factors, rivals)
        if unsure.any():
            exact = squared_to_all(part[:, unsure], centres)
            best[unsure], second[unsure] = _two_lowest(exact)
        labels[start : start + block], seconds[start : start + block] = best, second
    return labels, seconds


def _factors(centres: np.ndarray) -> np.ndarray:
    """Return (k, p + 2) so that its product with (point, 1, |point|^2) is a squared distance."""
    squares = (centres * centres).sum(axis=1)[:, None]
    return np.hstack([-2.0 * centres, squares, np.ones_like(squares)])


def _nearest_in_block(
    part: np.ndarray, factors: np.ndarray, rivals: bool
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
