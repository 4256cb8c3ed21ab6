"""Segments keep their id from fit to fit: who was where decides which new one is which old one."""

from dataclasses import dataclass

import numpy as np

SURVIVED = 0.7  # share of a segment's users that makes the place they are in now its heir
PART = 0.3  # share of a segment's users that makes the place they are in now a part of it


@dataclass(frozen=True)
class Event:
    """What became of a segment, as in segmentations.events.

    - survived: `segment_id` goes on with `share` of its users.
    - split: `share` of the users of `segment_id` went in parts to `other_ids`, one of which may be
      the segment itself.
    - merged: the segments `other_ids` went into `segment_id`; they make up `share` of it.
    - born: `segment_id` is new; `share` of its users came from the old segments `other_ids`.
    - died: `segment_id` is no more; `share` of its users went to `other_ids`.

    `n_users` are the users the share counts; of a born or a died segment, all of its users.
    """

    event: str
    segment_id: str
    other_ids: tuple[str, ...]
    share: float
    n_users: int


@dataclass(frozen=True)
class Matched:
    """The id of each new cluster, what became of each old segment, and the next free number."""

    new_ids: tuple[str, ...]
    events: tuple[Event, ...]
    next_number: int


def jaccard(overlap: np.ndarray, lost: np.ndarray | None = None) -> np.ndarray:
    """Return users in both over users in either, per old segment and new cluster, 0..1.

    `lost` are users of each old segment that are in no new cluster; 0 / 0 is 0.
    """
    olds, news = _sizes(overlap, lost)
    either = olds[:, None] + news[None, :] - overlap
    return np.divide(overlap, either, out=np.zeros(overlap.shape), where=either > 0)


def match_segments(
    overlap: np.ndarray,
    old_ids: tuple[str, ...],
    distance: np.ndarray | None,
    next_number: int,
    width: int,
    *,
    lost: np.ndarray | None = None,
    joined: np.ndarray | None = None,
) -> Matched:
    """Return which new cluster keeps which old id, and the MONIC events of the transition.

    `overlap` counts users by old segment and new cluster, shape (n_old, n_new), without 'cold' and
    'noise'; `distance` between their centres breaks ties. `lost` (n_old,) are users of an old
    segment that are in 'noise' now, `joined` (n_new,) users of a new one that were in none before.

    The Hungarian method picks the pairs of the largest total Jaccard overlap among those that may
    share an id: the new cluster holds 0.7 of the old segment's users, or at least 0.3 of them at a
    Jaccard overlap of 0.3. So the larger part of a split and the larger of two merged segments pass
    on the id. All others get the next numbers, the largest first; a number is never used twice.

    Spiliopoulou et al. (2006), MONIC: modeling and monitoring cluster transitions.
    """
    overlap = np.asarray(overlap, dtype=float)
    lost = np.zeros(overlap.shape[0]) if lost is None else lost
    joined = np.zeros(overlap.shape[1]) if joined is None else joined
    order = _canonical(overlap, distance, joined)
    heir = _pairs(overlap, distance, lost, order)
    new_ids: list[str] = [""] * overlap.shape[1]
    for old, new in heir.items():
        new_ids[new] = old_ids[old]
    for new in order:
        if not new_ids[new]:
            new_ids[new] = f"s{next_number:0{width}d}"
            next_number += 1
    share = _share_of_old(overlap, lost)
    events = [
        *(_fate(overlap, share, old_ids, new_ids, old, lost) for old in range(len(old_ids))),
        *_arrivals(overlap, share, old_ids, new_ids, joined),
    ]
    return Matched(tuple(new_ids), tuple(events), next_number)


def _sizes(overlap: np.ndarray, lost: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    olds = overlap.sum(axis=1) + (0 if lost is None else lost)
    return olds, overlap.sum(axis=0)


def _share_of_old(overlap: np.ndarray, lost: np.ndarray) -> np.ndarray:
    olds = _sizes(overlap, lost)[0][:, None]
    return np.divide(overlap, olds, out=np.zeros(overlap.shape), where=olds > 0)


def _canonical(overlap: np.ndarray, distance: np.ndarray | None, joined: np.ndarray) -> np.ndarray:
    """Return the new clusters by size, so that their arbitrary order decides nothing."""
    size = overlap.sum(axis=0) + joined
    near = np.zeros((0, overlap.shape[1])) if distance is None else distance
    order: np.ndarray = np.lexsort([*near[::-1], *-overlap[::-1], -size])
    return order


def _pairs(
    overlap: np.ndarray, distance: np.ndarray | None, lost: np.ndarray, order: np.ndarray
) -> dict[int, int]:
    from scipy.optimize import linear_sum_assignment

    index, share = jaccard(overlap, lost), _share_of_old(overlap, lost)
    may = (share >= SURVIVED) | ((share >= PART) & (index >= PART))
    score = np.where(may, index, 0.0)
    if distance is not None and distance.size and distance.max() > 0:
        # Far below any difference of overlaps that matters, so that it decides ties alone.
        score = score + np.where(may, 1e-9 * (1 - distance / distance.max()), 0.0)
    olds, places = linear_sum_assignment(score[:, order], maximize=True)
    news = order[places]
    return {int(old): int(new) for old, new in zip(olds, news, strict=True) if may[old, new]}


def _fate(
    overlap: np.ndarray,
    share: np.ndarray,
    old_ids: tuple[str, ...],
    new_ids: list[str],
    old: int,
    lost: np.ndarray,
) -> Event:
    """Return what became of one old segment.

    One that keeps its id with fewer than 0.7 of its users, the rest scattered, has survived too.
    """
    own = old_ids[old]
    parts = [new for new in range(len(new_ids)) if share[old, new] >= PART]
    names = tuple(sorted(new_ids[new] for new in parts))
    size, n_held = float(overlap[old].sum() + lost[old]), float(overlap[old, parts].sum())
    held = n_held / size if size else 0.0
    if len(parts) > 1:
        return Event("split", own, names, held, int(n_held))
    if own in new_ids:
        new = new_ids.index(own)
        return Event("survived", own, (), float(share[old, new]), int(overlap[old, new]))
    return Event("died", own, names, held, int(size))


def _arrivals(
    overlap: np.ndarray,
    share: np.ndarray,
    old_ids: tuple[str, ...],
    new_ids: list[str],
    joined: np.ndarray,
) -> list[Event]:
    """Return the mergers and births by the clusters' ids; parts of a split are not born."""
    events = []
    split = (share >= PART).sum(axis=1) > 1
    for new in np.argsort(np.array(new_ids, dtype=object)):
        own, users = new_ids[new], overlap[:, new]
        size = float(users.sum() + joined[new])
        merged = [old for old in range(len(old_ids)) if share[old, new] >= SURVIVED]
        part = bool((split & (share[:, new] >= PART)).any())
        if len(merged) > 1:
            names = tuple(sorted(old_ids[old] for old in merged))
            total = float(users[merged].sum())
            events.append(Event("merged", own, names, total / size, int(total)))
        elif own not in old_ids and not part:
            sources = [old for old in range(len(old_ids)) if users[old] >= PART * size > 0]
            names = tuple(sorted(old_ids[old] for old in sources))
            total = float(users[sources].sum())
            events.append(Event("born", own, names, total / size if size else 0.0, int(size)))
    return events
