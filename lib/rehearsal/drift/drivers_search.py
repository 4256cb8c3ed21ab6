"""Which sub-populations a breach is looked for in: the search half of the users alone decides.

A sub-population's excess is its share of the score beyond its share of the requests, the weighted
relative accuracy of subgroup discovery (Lavrac, Flach & Zupan 1999): n (mean - mean of all) / sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rehearsal.drift.lattice import Lattice

MOST = 10
"""Sub-populations that are put to the test, per breach."""
CONSIDERED = 14
"""Sub-populations that are held against each other for what they have in common."""
LEAST_REQUESTS = 30
"""Requests of the search half that a sub-population must have, and leave."""
MARGIN = 0.02
"""What a sub-population must add to be worth naming, as a share of the statistic."""

Literal = tuple[int, int]
"""A dimension and one of its values, both by position."""


@dataclass(frozen=True)
class Candidate:
    """A sub-population, with its sums over all users and those of the whole segment."""

    literals: tuple[Literal, ...]
    excess: float
    """In the search half."""
    n: int
    s: int
    n_all: int
    s_all: int


@dataclass(frozen=True)
class Found:
    """The candidates of a breach, best first, and how many sub-populations were looked at."""

    candidates: list[Candidate]
    n_searched: int


@dataclass(frozen=True)
class _Sums:
    """Requests and scores of some nodes by half, (2, nodes)."""

    n: np.ndarray
    s: np.ndarray


def search(lattice: Lattice, n: np.ndarray, s: np.ndarray) -> Found:
    """Return the sub-populations with the most excess in the search half.

    A conjunction must beat both of its conditions by MARGIN, and a condition that a conjunction
    of it beats is left out: what it has beyond that conjunction drifts less than the segment.

    Args:
        lattice: of the segment.
        n: requests of every cell, (width,).
        s: their scores in units, (width,).
    """
    singles = [_by_half(lattice, n, s, d) for d in range(len(lattice.sizes))]
    total = _Sums(*(side.sum(axis=1) for side in (singles[0].n, singles[0].s)))
    if total.s[0] <= 0 or total.s.sum() <= 0:
        return Found([], 0)
    searched, kept = 0, []
    excess = [_excess(one, total) for one in singles]
    beaten = [np.zeros(size, bool) for size in lattice.sizes]
    for place, (i, j, _) in enumerate(lattice.pairs):
        own = _Sums(*(lattice.pair(side, place) for side in (n, s)))
        above = _excess(own, total)
        looked = _enough(own, total)
        searched += int(looked.sum())
        better = looked & (above > np.maximum(excess[i][:, None], excess[j]) + MARGIN)
        kept += [
            _candidate(((i, int(a)), (j, int(b))), above[a, b], own, total)
            for a, b in np.argwhere(better)
        ]
        beaten[i] |= better.any(axis=1)
        beaten[j] |= better.any(axis=0)
    for d, own in enumerate(singles):
        looked = _enough(own, total)
        searched += int(looked.sum())
        kept += [
            _candidate(((d, int(a)),), excess[d][a], own, total)
            for a in np.flatnonzero(looked & (excess[d] > MARGIN) & ~beaten[d])
        ]
    kept.sort(key=lambda one: (-one.excess, len(one.literals), one.literals))
    return Found(kept[:CONSIDERED], searched)


def _by_half(lattice: Lattice, n: np.ndarray, s: np.ndarray, dimension: int) -> _Sums:
    """Return a dimension's sums over the breaching windows, (2 halves, K)."""
    tables = [lattice.single(side, dimension)[1] for side in (n, s)]
    halves = [table.reshape(2, -1, table.shape[-1]).sum(axis=1) for table in tables]
    return _Sums(*halves)


def _excess(own: _Sums, total: _Sums) -> np.ndarray:
    return np.asarray(own.s[0] / total.s[0] - own.n[0] / total.n[0])


def _enough(own: _Sums, total: _Sums) -> np.ndarray:
    least = np.minimum(own.n[0], total.n[0] - own.n[0])
    return np.asarray(least >= LEAST_REQUESTS)


def _candidate(literals: tuple[Literal, ...], excess: float, own: _Sums, total: _Sums) -> Candidate:
    at = tuple(value for _, value in literals)
    n, s = (int(sum(half[at] for half in side)) for side in (own.n, own.s))
    return Candidate(literals, float(excess), n, s, int(total.n.sum()), int(total.s.sum()))


def distinct(
    candidates: Sequence[Candidate], patterns: np.ndarray, n: np.ndarray, s: np.ndarray
) -> list[int]:
    """Return which candidates say something that those before them do not.

    A candidate must have half of its excess, and at least MARGIN, outside of all those kept
    before it.

    Args:
        candidates: best first.
        patterns: bit k of a pattern says whether its requests are in candidate k, (P,).
        n: requests of the search half with exactly that pattern, (P,).
        s: their scores, (P,).
    """
    kept: list[int] = []
    covered = np.zeros(len(patterns), bool)
    for k, one in enumerate(candidates):
        inside = (patterns >> k) & 1 == 1
        fresh = inside & ~covered
        left = s[fresh].sum() / s.sum() - n[fresh].sum() / n.sum()
        if left >= max(MARGIN, one.excess / 2):
            kept.append(k)
            covered |= inside
        if len(kept) == MOST:
            break
    return kept
