"""Cells whose points are all neighbours of one another, and rows that are equal."""

import numpy as np

# A cell stays this much below eps / sqrt(d), so that rounding never parts two of its points.
_SHRINK = 1 - 1e-3
# Up to this many eps from the origin a cell's number is right to within that margin.
LARGEST_COORDINATE_IN_EPS = 2.0**40
_KEY_LIMIT = 2**62


def cell_side(eps: float, dimensions: int) -> float:
    """Return the side of the cells: any two points of one cell are within eps."""
    return float(eps / np.sqrt(dimensions) * _SHRINK)


def cells(points: np.ndarray, eps: float) -> np.ndarray:
    """Return each point's cell, shape (n, d) of integers; the same in every box and process."""
    side = cell_side(eps, points.shape[1])
    numbers: np.ndarray = np.floor(points / side).astype(np.int64)
    return numbers


def group(rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a number per distinct row of integers, shape (n,), and how many there are."""
    if len(rows) == 0:
        return np.zeros(0, np.int64), 0
    offsets = rows - rows.min(axis=0)
    widths = [int(width) + 1 for width in offsets.max(axis=0)]
    key, span = offsets[:, 0], widths[0]
    for axis in range(1, rows.shape[1]):
        column, width = offsets[:, axis], widths[axis]
        if span * width >= _KEY_LIMIT:
            key, span = _ranks(key)
            column, width = _ranks(column)
        key, span = key * width + column, span * width
    return _ranks(key)


def _ranks(values: np.ndarray) -> tuple[np.ndarray, int]:
    distinct, ranks = np.unique(values, return_inverse=True)
    return ranks, len(distinct)


def collapse(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distinct points (m, d), how many rows each stands for (m,), each row's point (n,)."""
    # Adding zero turns -0.0 into 0.0, which is the same place.
    columns = (points + 0.0).T
    order = np.lexsort(columns[::-1])
    ordered = columns[:, order]
    first = np.ones(len(order), bool)
    first[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(first) - 1
    weights = np.diff(np.append(np.flatnonzero(first), len(order)))
    return np.ascontiguousarray(ordered[:, first].T), weights, place
