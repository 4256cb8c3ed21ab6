"""One numbering of the clusters of all boxes, from what their edges share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rehearsal.segments.cluster.dbscan.joins import Joins


@dataclass(frozen=True)
class Summary:
    """What the merge knows of a box: its local clusters, not its points.

    `first` holds the smallest core user's id of every local cluster, None where other boxes own
    all of its core points; `keys`, `key_clusters` and `touched` are those of `box.Solved`.
    """

    box: int
    first: Sequence[int | str | None]
    keys: np.ndarray
    key_clusters: np.ndarray
    touched: Sequence[np.ndarray]
    n_core: int
    n_noise: int


@dataclass(frozen=True)
class Merged:
    """The clusters of all boxes, and the one that each code of each box stands for."""

    n_clusters: int
    n_core: int
    n_noise: int
    clusters: dict[int, np.ndarray]


def merge(summaries: Sequence[Summary]) -> Merged:
    """Return clusters numbered from 0 in the order of their smallest core users.

    Two boxes that hold a core point of the same cell speak of the same cluster. A border point
    is of the smallest of the clusters it touches, which is the one that scikit-learn, walking
    the users in order, reaches first.
    """
    offsets = np.cumsum([0, *(len(summary.first) for summary in summaries)])
    group = _connect(summaries, offsets)
    first = [user for summary in summaries for user in summary.first]
    by_user = sorted(
        (node for node, user in enumerate(first) if user is not None),
        key=lambda node: first[node],  # type: ignore[arg-type,return-value]
    )
    numbers: dict[int, int] = {}
    for node in by_user:
        numbers.setdefault(int(group[node]), len(numbers))
    final = np.array([numbers.get(int(one), -1) for one in group], dtype=np.int32)
    clusters = {}
    for summary, start in zip(summaries, offsets, strict=False):
        own = final[start : start + len(summary.first)]
        several = [own[numbers_of].min() for numbers_of in summary.touched]
        clusters[summary.box] = np.append(own, np.array(several, np.int32))
    return Merged(
        len(numbers),
        sum(summary.n_core for summary in summaries),
        sum(summary.n_noise for summary in summaries),
        clusters,
    )


def _connect(summaries: Sequence[Summary], offsets: np.ndarray) -> np.ndarray:
    joins = Joins(int(offsets[-1]))
    if len(joins.labels) == 0:
        return joins.labels
    keys = np.concatenate([summary.keys for summary in summaries])
    pairs = zip(summaries, offsets, strict=False)
    nodes = np.concatenate([summary.key_clusters + start for summary, start in pairs])
    order = np.lexsort(keys.T)
    keys, nodes = keys[order], nodes[order]
    same = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1))
    joins.join(nodes[same], nodes[same + 1])
    return joins.labels
