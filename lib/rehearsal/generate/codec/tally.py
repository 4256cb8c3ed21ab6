"""What a column's values are counted into, of which its codes are made.

Of one row's values none gets into the codes: a value has a code of its own when `min_count` rows
have it, or a rule names it; and where a bin ends, a rounded number stands (`make_numeric`).

The same definition is computed here, of a table in memory, and in `aggregate`, on Spark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import inf, nextafter
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rehearsal.generate.codec.numeric import Codes, Floats, Numeric
from rehearsal.generate.codec.rounded import roundest

MAX_POOLED = 1_000
# A value with as many rows as an eighth of a bin is a spike in it, which drawn values would miss.
PARTS = 8
WHOLE = float(1 << 53)
MOST_DECIMALS = 6


class Group(NamedTuple):
    """Numbers side by side.

    Args:
        lower: the `margin`-th lowest of them; the highest where they are fewer.
        upper: the `margin`-th highest; the lowest where they are fewer.
        n: rows.
    """

    lower: float
    upper: float
    n: int


@dataclass(frozen=True)
class NumberTally:
    """Counted finite numbers.

    Args:
        n_distinct: different numbers.
        nullable: some row had none.
        decimals: the most that a number has, if they are few (see `decimals_of`).
        atoms: the numbers that get a code of their own, ascending.
        groups: the other numbers in quantile groups, ascending.
        low: the `min_count`-th and the 2 x `min_count`-th lowest of the other numbers; infinite
            when there are fewer.
        high: the 2 x `min_count`-th and the `min_count`-th highest of them.
    """

    n_distinct: int
    nullable: bool
    decimals: int | None
    atoms: tuple[float, ...]
    groups: tuple[Group, ...]
    low: tuple[float, float]
    high: tuple[float, float]


@dataclass(frozen=True)
class TextTally:
    """Categories of `min_count` rows or more, most frequent first; whether some row had none."""

    counts: tuple[tuple[str, int], ...]
    nullable: bool


def tally_texts(values: pd.Series, limit: int, min_count: int) -> TextTally:
    """Return the counts of at most `limit` categories."""
    found = values.dropna().value_counts()
    ranked = sorted(found[found >= min_count].items(), key=lambda pair: (-pair[1], str(pair[0])))
    counts = tuple((str(name), int(n)) for name, n in ranked[:limit])
    return TextTally(counts, bool(values.isna().any()))


def tally_numbers(
    values: Floats, bins: int, min_count: int, forced: Sequence[float] = ()
) -> NumberTally:
    """Return the tally of values, shape (n,); NaN is missing, infinities are left out.

    A number is an atom when it has at least `min_count` rows and either 1 / (PARTS x bins) of all
    rows or a column of at most PARTS x bins distinct numbers around it, or when it is `forced`.
    The others are in `bins` groups of as many rows each, of which the outermost are halved thrice
    towards the end: there values are far apart, and dense on one side only.
    """
    # Adding 0 turns -0.0, which equals 0.0 but is written otherwise, into 0.0.
    seen = values[np.isfinite(values)] + 0.0
    distinct, counts = np.unique(seen, return_counts=True)
    most = PARTS * bins
    enough = max(min_count, 1 if len(distinct) <= most else -(-len(seen) // most))
    is_atom = (counts >= enough) | np.isin(distinct, np.asarray(forced, dtype=np.float64))
    rest, n_each = distinct[~is_atom], counts[~is_atom]
    reached = np.cumsum(n_each)
    n_rest = int(n_each.sum())
    before = reached - n_each
    number = quantile_groups(before * most // max(n_rest, 1), bins)
    once, twice = (
        (
            float(np.min(rest[reached >= count], initial=np.inf)),
            float(np.max(rest[n_rest - before >= count], initial=-np.inf)),
        )
        for count in (min_count, 2 * min_count)
    )
    return NumberTally(
        len(distinct),
        bool(np.isnan(values).any()),
        decimals_of(seen),
        tuple(map(float, distinct[is_atom])),
        tuple(_group(rest[at], n_each[at], min_count) for at in _equal(number)),
        (once[0], twice[0]),
        (twice[1], once[1]),
    )


def decimals_of(values: Floats) -> int | None:
    """Return how many decimals no value exceeds; None: more than MOST_DECIMALS, or no value.

    A value has so many if it is the double nearest to such a number, and counted in the last of
    them it is exact in a double.
    """
    for decimals in range(MOST_DECIMALS + 1) if len(values) else ():
        scale = 10.0**decimals
        with np.errstate(over="ignore"):
            counted = values * scale
        if np.all(np.abs(counted) < WHOLE) and np.all(np.rint(counted) / scale == values):
            return decimals
    return None


def margin(min_count: int) -> int:
    """Return on how many rows of either side the edge between two bins may be moved."""
    return -(-min_count // 2)


def _equal(numbers: Codes) -> list[NDArray[np.bool_]]:
    return [numbers == number for number in np.unique(numbers)]


def _group(values: Floats, n_each: Codes, min_count: int) -> Group:
    reached, n = np.cumsum(n_each), int(n_each.sum())
    few = min(margin(min_count), n)
    lower = values[reached >= few].min()
    return Group(float(lower), float(values[n - reached + n_each >= few].max()), n)


def quantile_groups(parts: Codes, bins: int) -> Codes:
    """Return the group of each part: PARTS parts each, but for the outermost 1, 1, 2 and 4.

    Args:
        parts: in [0, PARTS x bins), shape (n,).
        bins: how many groups there are but for those halved.
    """
    edges = np.arange(1, bins) * PARTS
    tail = 2 ** np.arange(PARTS.bit_length() - 1)
    edges = np.unique(np.concatenate([tail, edges, PARTS * bins - tail]))
    return np.searchsorted(edges, parts, side="right")


def make_numeric(tally: NumberTally, min_count: int, forced: Sequence[float] = ()) -> Numeric:
    """Return codes of which each has `min_count` rows or more, but for `forced` atoms.

    Where a bin ends is told by no row alone: it is the roundest number of an interval that at
    least `min_count` rows have values in, so it is a row's value only where values are as round.
    What lies between two bins is so shared out between them. The outermost ends lie between the
    `min_count`-th and the 2 x `min_count`-th value from either side, not at the extreme one.
    Other numbers of fewer than 4 x `min_count` rows are left without a code, so that none gives
    a handful of rows away.
    """
    atoms = tuple(sorted({*tally.atoms, *(number + 0.0 for number in forced)}))
    parts = _merged(tally.groups, 3 * min_count)
    if sum(group.n for part in parts for group in part) < 4 * min_count:
        return Numeric(atoms, (), (), tally.decimals, tally.nullable)
    few, scale = margin(min_count), 10.0 ** (tally.decimals or 0)

    def counted(number: float) -> float:
        # In the last decimal all numbers are whole, where 4.35 is a little less in a double.
        return number if tally.decimals is None else float(round(number * scale))

    edges = [
        roundest(
            nextafter(counted(_reaching(below[::-1], few).upper), inf),
            counted(_reaching(above, few).lower),
        )
        for below, above in pairwise(parts)
    ]
    ends = [nextafter(edge, -inf) if tally.decimals is None else edge - 1 for edge in edges]
    lowest, highest = (roundest(*map(counted, pair)) for pair in (tally.low, tally.high))
    lows, highs = (
        tuple(number / scale for number in numbers)
        for numbers in ((lowest, *edges), (*ends, highest))
    )
    return Numeric(atoms, lows, highs, tally.decimals, tally.nullable)


def _merged(groups: Sequence[Group], least: int) -> list[list[Group]]:
    """Return neighbours together, of `least` rows or more each but for a lone one."""
    parts: list[list[Group]] = []
    for group in groups:
        if parts and sum(member.n for member in parts[-1]) < least:
            parts[-1].append(group)
        else:
            parts.append([group])
    if len(parts) > 1 and sum(member.n for member in parts[-1]) < least:
        last = parts.pop()
        parts[-1] += last
    return parts


def _reaching(groups: Sequence[Group], few: int) -> Group:
    """Return the first group with which `few` rows are reached.

    Those before it and its own up to there are less than 2 x `few`, so that of 3 x `min_count`
    rows `min_count` are left where both edges of a bin take the most.
    """
    reached = accumulate(group.n for group in groups)
    return next(group for group, n in zip(groups, reached, strict=True) if n >= few)
