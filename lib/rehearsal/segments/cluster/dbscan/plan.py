"""Boxes that tile space: cut by planes where few points lie, none with far more work than others.

The plan decides how fast a run is and never what it finds.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, gamma, inf, pi

import numpy as np

from rehearsal.segments.cluster.dbscan.grid import collapse, group

# In space the copies at a box's faces are a larger share than in the plane, so boxes are larger.
_POINTS_PER_BOX, _POINTS_PER_BOX_IN_SPACE = 125_000, 250_000
_FEWEST_POINTS_PER_BOX = 50_000
_PLANE = 2
_MIN_WIDTH_IN_EPS = 4
# A pair of neighbours costs this much of what a point costs; measured.
_PAIR_COST = 1 / 32
# A cut must spare the larger side this share of the work, or the copies at the edge outweigh it.
_WORTHWHILE = 0.9
_CANDIDATES = 48
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Plan:
    """Boxes as the leaves of a tree of cuts.

    `lower` and `upper`, shape (boxes, d), bound box b: lower <= x < upper. Cut s parts space at
    x[axis[s]] < cut[s]; `children[s]` are its two sides, each a later cut, or box b as ~b.
    """

    eps: float
    lower: np.ndarray
    upper: np.ndarray
    axis: np.ndarray
    cut: np.ndarray
    children: np.ndarray

    @property
    def n_boxes(self) -> int:
        """How many boxes there are."""
        return len(self.lower)


def reach(eps: float, times: int, face: np.ndarray) -> np.ndarray:
    """Return how far from a face lies what `times` steps of eps can cross, rounding included."""
    size = np.where(np.isfinite(face), np.abs(face), 0.0) + times * eps
    distance: np.ndarray = times * eps * (1 + times * _ROUNDING) + 8 * np.spacing(size)
    return distance


def in_grown_box(points: np.ndarray, plan: Plan, box: int, times: int) -> np.ndarray:
    """Return which points lie in a box grown by `times` eps on every side, shape (n,)."""
    lower, upper = plan.lower[box], plan.upper[box]
    above = points >= lower - reach(plan.eps, times, lower)
    below = points <= upper + reach(plan.eps, times, upper)
    return np.asarray((above & below).all(axis=1))


def near_face(points: np.ndarray, plan: Plan, box: int) -> np.ndarray:
    """Return which points of a box lie within eps of one of its faces, shape (n,)."""
    lower, upper = plan.lower[box], plan.upper[box]
    low = points <= lower + reach(plan.eps, 1, lower)
    high = points >= upper - reach(plan.eps, 1, upper)
    return np.asarray((low | high).any(axis=1))


@dataclass
class Cuts:
    """A tree of cuts as it grows from one box; a cut box keeps its number for its lower half."""

    dimensions: int
    lower: list[np.ndarray] = field(default_factory=list)
    upper: list[np.ndarray] = field(default_factory=list)
    splits: list[tuple[int, float, list[int]]] = field(default_factory=list)
    _parents: list[tuple[int, int] | None] = field(default_factory=lambda: [None])

    def __post_init__(self) -> None:
        self.lower.append(np.full(self.dimensions, -inf))
        self.upper.append(np.full(self.dimensions, inf))

    def split(self, box: int, axis: int, cut: float) -> int:
        """Cut a box in two and return the number of its upper half."""
        above, number = len(self.lower), len(self.splits)
        parent = self._parents[box]
        if parent is not None:
            self.splits[parent[0]][2][parent[1]] = number
        self.splits.append((axis, cut, [~box, ~above]))
        self._parents[box] = (number, 0)
        self._parents.append((number, 1))
        self.lower.append(self.lower[box].copy())
        self.upper.append(self.upper[box].copy())
        self.upper[box][axis] = self.lower[above][axis] = cut
        return above

    def plan(self, eps: float) -> Plan:
        """Return the boxes as they are now."""
        return Plan(
            eps,
            np.array(self.lower),
            np.array(self.upper),
            np.array([axis for axis, _, _ in self.splits], int),
            np.array([cut for _, cut, _ in self.splits], float),
            np.array([sides for _, _, sides in self.splits], int).reshape(-1, 2),
        )


def number_of_boxes(n_points: int, dimensions: int, parallelism: int) -> int:
    """Return how many boxes suit: small enough for a worker's memory, enough for every core."""
    busy = min(parallelism, n_points // _FEWEST_POINTS_PER_BOX)
    per_box = _POINTS_PER_BOX if dimensions <= _PLANE else _POINTS_PER_BOX_IN_SPACE
    return max(ceil(n_points / per_box), busy, 1)


def make_plan(
    sample: np.ndarray, eps: float, min_points: int, points_per_row: float, n_boxes: int
) -> Plan:
    """Return at most `n_boxes` boxes of about equal work, their faces at least 4 eps apart.

    Args:
        sample: some of the points, shape (m, d).
        eps: radius of a neighbourhood.
        min_points: how many points make a neighbourhood dense.
        points_per_row: how many points a row of the sample stands for.
        n_boxes: how many boxes to make if the points allow.
    """
    cost = _costs(sample, eps, min_points, points_per_row)
    cuts = Cuts(sample.shape[1])
    members = {0: np.arange(len(sample))}
    heap = [(-float(cost.sum()), 0)]
    while heap and len(cuts.lower) < n_boxes:
        _, box = heappop(heap)
        rows = members[box]
        best = _best_cut(sample[rows], cost[rows], eps)
        if best is None:
            continue
        axis, cut = best
        above = cuts.split(box, axis, cut)
        high = sample[rows, axis] >= cut
        members[box], members[above] = rows[~high], rows[high]
        for side in (box, above):
            heappush(heap, (-float(cost[members[side]].sum()), side))
    return cuts.plan(eps)


def _costs(sample: np.ndarray, eps: float, min_points: int, points_per_row: float) -> np.ndarray:
    """Work per sampled row: to carry it, and its pairs of neighbours unless its cell is dense."""
    dimensions = sample.shape[1]
    distinct, _, place = collapse(sample)
    if len(distinct) == 0:
        return np.ones(0)
    cell, n_cells = group(np.floor(distinct / eps).astype(np.int64))
    others = (np.bincount(cell, minlength=n_cells)[cell] - 1) * points_per_row
    ball = pi ** (dimensions / 2) / gamma(dimensions / 2 + 1)
    # In a cell of min_points or more every point is core, and no pair is looked at.
    dense = others >= min_points * dimensions ** (dimensions / 2)
    pairs = np.where(dense, 0.0, others * ball)[place]
    return np.asarray(1 + pairs * _PAIR_COST)


def _best_cut(points: np.ndarray, cost: np.ndarray, eps: float) -> tuple[int, float] | None:
    """Return (axis, cut) that leaves the least work to the larger side, copies at the cut counted.

    None where no cut leaves both sides 4 eps wide and is worth its copies.
    """
    best, least = None, inf
    for axis in range(points.shape[1]):
        order = np.argsort(points[:, axis], kind="stable")
        values, work = points[order, axis], np.append(0.0, np.cumsum(cost[order]))
        candidates = _candidates(values, work[1:], eps)
        if len(candidates) == 0:
            continue
        below = work[np.searchsorted(values, candidates)]
        copied = (
            work[np.searchsorted(values, candidates + 2 * eps)]
            - work[np.searchsorted(values, candidates - 2 * eps)]
        )
        larger = np.maximum(below, work[-1] - below) + copied / 2
        score = np.where(larger <= _WORTHWHILE * work[-1], larger + copied / 2, inf)
        chosen = int(score.argmin())
        if score[chosen] < least:
            best, least = (axis, float(candidates[chosen])), score[chosen]
    return best


def _candidates(values: np.ndarray, work: np.ndarray, eps: float) -> np.ndarray:
    """Return cuts at even shares of the work and amid the widest gaps, 4 eps from either end."""
    if len(values) == 0:
        return np.zeros(0)
    shares = np.linspace(0, work[-1], _CANDIDATES + 2)[1:-1]
    even = values[np.minimum(np.searchsorted(work, shares), len(values) - 1)]
    gaps = np.argsort(-np.diff(values), kind="stable")[:_CANDIDATES]
    cuts = np.unique(np.append(even, (values[gaps] + values[gaps + 1]) / 2))
    width = _MIN_WIDTH_IN_EPS * eps
    kept: np.ndarray = cuts[(cuts >= values[0] + width) & (cuts <= values[-1] - width)]
    return kept
