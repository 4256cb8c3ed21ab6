"""What a column's values are counted into, of which its codes are made: never a single row's value.

The same definition is computed here, of a table in memory, and in `aggregate`, on Spark.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rehearsal.generate.codec.numeric import Codes, Floats, Numeric

MAX_POOLED = 1_000
# A value with as many rows as an eighth of a bin is a spike in it, which drawn values would miss.
PARTS = 8
WHOLE = float(1 << 53)


@dataclass(frozen=True)
class NumberTally:
    """Counted finite numbers.

    Args:
        n: rows with a number.
        n_distinct: different numbers.
        nullable: some row had none.
        whole: all are whole and exact in a double.
        atoms: the numbers that get a code of their own, ascending.
        groups: (lowest, highest, rows) of the other numbers in quantile groups, ascending.
        low: the `min_count`-th lowest of the other numbers; NaN when there are fewer.
        high: the `min_count`-th highest of them.
        middle: the lower median of them.
    """

    n: int
    n_distinct: int
    nullable: bool
    whole: bool
    atoms: tuple[float, ...]
    groups: tuple[tuple[float, float, int], ...]
    low: float
    high: float
    middle: float


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
    group = quantile_groups(before * most // max(n_rest, 1), bins)
    groups = [
        (float(rest[at].min()), float(rest[at].max()), int(n_each[at].sum()))
        for at in (group == number for number in np.unique(group))
    ]
    return NumberTally(
        len(seen),
        len(distinct),
        bool(np.isnan(values).any()),
        bool(len(seen)) and bool(np.all(seen == np.floor(seen)) and np.abs(seen).max() < WHOLE),
        tuple(map(float, distinct[is_atom])),
        tuple(groups),
        float(np.min(rest[reached >= min_count], initial=np.inf)),
        float(np.max(rest[n_rest - before >= min_count], initial=-np.inf)),
        float(np.min(rest[2 * reached >= n_rest], initial=np.inf)),
    )


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

    Fewer other numbers than that are left without a code, so that none gives a handful of rows
    away. The outermost ends are the `min_count`-th value from either side, never the extreme one.
    """
    atoms = tuple(sorted({*tally.atoms, *(number + 0.0 for number in forced)}))
    merged: list[tuple[float, float, int]] = []
    for low, high, n in tally.groups:
        if merged and merged[-1][2] < min_count:
            start, _, before = merged.pop()
            merged.append((start, high, before + n))
        else:
            merged.append((low, high, n))
    if len(merged) > 1 and merged[-1][2] < min_count:
        _, high, n = merged.pop()
        start, _, before = merged.pop()
        merged.append((start, high, before + n))
    if not merged or merged[0][2] < min_count:
        return Numeric(atoms, (), (), tally.whole, tally.nullable)
    lows, highs = [low for low, _, _ in merged], [high for _, high, _ in merged]
    lows[0], highs[-1] = outer_ends(tally)
    return Numeric(atoms, tuple(lows), tuple(highs), tally.whole, tally.nullable)


def outer_ends(tally: NumberTally) -> tuple[float, float]:
    """Return the range of the numbers less the outermost of them on either side."""
    # Too few rows to leave out so many on both sides: only the middle is safe to tell.
    crossed = tally.low > tally.high
    return (tally.middle, tally.middle) if crossed else (tally.low, tally.high)
