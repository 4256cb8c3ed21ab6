"""What one box tells: a code per point it owns, and the little that the merge needs."""

from dataclasses import dataclass

import numpy as np

from rehearsal.segments.cluster.dbscan.grid import cells, collapse
from rehearsal.segments.cluster.dbscan.kernel import Clustered, cluster_points
from rehearsal.segments.cluster.dbscan.plan import Plan, in_grown_box, near_face

NOISE = -1


@dataclass(frozen=True)
class Solved:
    """A box's points in local clusters 0..n-1, before these are known across boxes.

    Attributes:
        codes: of every owned row, shape (n,): a local cluster, -1 for noise, or n + i for a border
            point that touches the several local clusters `touched[i]`.
        core: whether each owned row is core, shape (n,).
        first: rank of the smallest core user of each local cluster, -1 if this box owns none.
        keys: cells of core points that other boxes see too, shape (k, d).
        key_clusters: the local cluster of each key, shape (k,).
        touched: sets of local clusters.
    """

    codes: np.ndarray
    core: np.ndarray
    first: np.ndarray
    keys: np.ndarray
    key_clusters: np.ndarray
    touched: list[np.ndarray]


def solve(
    points: np.ndarray, ranks: np.ndarray, copies: np.ndarray, plan: Plan, box: int, min_points: int
) -> Solved:
    """Return the local clusters of a box.

    Args:
        points: those the box owns, shape (n, d).
        ranks: integers in the order of the users' ids, shape (n,).
        copies: points within 2 eps of the box, shape (c, d).
        plan: where the box is.
        box: its number.
        min_points: how many points make a neighbourhood dense.
    """
    distinct, weights, place = collapse(np.concatenate([points, copies]))
    # Nothing farther than eps from the box, core or not, matters to what the box owns.
    wanted = in_grown_box(distinct, plan, box, times=1)
    found = cluster_points(distinct, weights, wanted, plan.eps, min_points)
    place = place[: len(points)]
    seen = found.core & wanted
    local = np.full(len(distinct), NOISE)
    labels, local[seen] = np.unique(found.component[seen], return_inverse=True)
    core = found.core[place]
    first = _first_rows(local[place], ranks, core, len(labels))
    owned = np.zeros(len(distinct), bool)
    owned[place] = True
    keys, key_clusters = _keys(distinct, seen & owned, seen & ~owned, local, plan, box)
    codes, touched = _codes(local, owned, len(labels), found)
    return Solved(codes[place], core, first, keys, key_clusters, touched)


def _first_rows(
    clusters: np.ndarray, ranks: np.ndarray, core: np.ndarray, n_clusters: int
) -> np.ndarray:
    """Return the row of the smallest core rank in every cluster, -1 where there is none."""
    rows = np.flatnonzero(core)
    clusters, ranks = clusters[rows], ranks[rows]
    smallest = np.full(n_clusters, np.iinfo(np.int64).max)
    np.minimum.at(smallest, clusters, ranks)
    first = np.full(n_clusters, -1)
    is_first = ranks == smallest[clusters]
    first[clusters[is_first]] = rows[is_first]
    return first


def _keys(
    points: np.ndarray,
    owned: np.ndarray,
    copied: np.ndarray,
    local: np.ndarray,
    plan: Plan,
    box: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells, and their clusters, of core points that another box sees as core too."""
    inside = np.flatnonzero(owned)
    shared = np.append(inside[near_face(points[inside], plan, box)], np.flatnonzero(copied))
    # The core points of a cell are of one cluster, so one row tells of them all.
    keys, first = np.unique(cells(points[shared], plan.eps), axis=0, return_index=True)
    return keys, local[shared[first]]


def _codes(
    local: np.ndarray, owned: np.ndarray, n_clusters: int, found: Clustered
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the code of every distinct point the box owns, and the sets that codes stand for."""
    codes = local.copy()
    border, neighbour = found.border
    inside = owned[border]
    stride = max(n_clusters, 1)
    pairs = np.unique(border[inside] * stride + local[neighbour[inside]])
    clusters = pairs % stride
    points, starts = np.unique(pairs // stride, return_index=True)
    codes[points] = clusters[starts]
    numbers: dict[tuple[int, ...], int] = {}
    ends = np.append(starts[1:], len(pairs))
    for place in np.flatnonzero(ends - starts > 1):
        several = tuple(clusters[starts[place] : ends[place]].tolist())
        codes[points[place]] = n_clusters + numbers.setdefault(several, len(numbers))
    return codes, [np.array(several) for several in numbers]
