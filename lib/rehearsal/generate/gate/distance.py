"""Nearest rows by Gower's distance, in blocks of bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rehearsal.generate.gate.table import Floats, Table

_BLOCK_CELLS = 1 << 18
# Twice the range away: more than any two numbers, and cut to 1 like a category that differs.
_FAR = 3.0
_WINSOR = (0.01, 0.99)


@dataclass(frozen=True, eq=False)
class Scaled:
    """Rows whose numbers run from 0 to 1.

    Args:
        whole: numbers of columns without a missing value, shape (n, columns).
        holed: numbers of the others, shape (n, columns), a missing one far away from the rest.
        codes: shape (n, categorical columns).
    """

    whole: Floats
    holed: Floats
    codes: Floats

    def first(self, n: int) -> "Scaled":
        """Return the first n rows."""
        return Scaled(self.whole[:n], self.holed[:n], self.codes[:n])


@dataclass(frozen=True, eq=False)
class Nearest:
    """Where the queries' nearest references lie.

    Args:
        weights: share of the queries each reference is nearest to, shape (references,); ties are
            split.
        first: distance of each query to its nearest of the first `n_first` references.
        second: to its second nearest of them; infinite if there is one only.
        to_reference: distance of each reference to its nearest query.
    """

    weights: Floats
    first: Floats
    second: Floats
    to_reference: Floats


def scale(basis: Table, *tables: Table) -> list[Scaled]:
    """Return the tables with numbers divided by the basis's range and cut at its ends.

    The range runs from the 1st to the 99th percentile (winsorised), so that one outlier does not
    make all others alike; from the lowest to the highest value where these two are equal.
    """
    holed = np.zeros(basis.numbers.shape[1], dtype=bool)
    for table in (basis, *tables):
        holed |= np.isnan(table.numbers).any(axis=0)
    low, high = _ranges(basis.numbers)
    scaled = []
    for table in tables:
        width = np.where(high > low, high - low, 1.0)
        numbers = np.clip((table.numbers - low) / width, 0, 1)
        numbers = np.where(np.isnan(table.numbers), _FAR, numbers)
        codes = table.codes.astype(np.float64)
        scaled.append(Scaled(numbers[:, ~holed], numbers[:, holed], codes))
    return scaled


def _ranges(numbers: Floats) -> tuple[Floats, Floats]:
    low, high = np.zeros(numbers.shape[1]), np.zeros(numbers.shape[1])
    for position, values in enumerate(numbers.T):
        seen = values[~np.isnan(values)]
        if len(seen):
            low[position], high[position] = np.quantile(seen, _WINSOR)
            if low[position] == high[position]:
                low[position], high[position] = seen.min(), seen.max()
    return low, high


def nearest(queries: Scaled, references: Scaled, n_first: int) -> Nearest:
    """Return who is nearest to whom; both have at least one row.

    Args:
        queries: rows to find references for.
        references: of which the first `n_first` also give the two nearest distances.
        n_first: 1 or more.
    """
    n, n_references = len(queries.codes), len(references.codes)
    weights = np.zeros(n_references)
    first, second = np.full(n, np.inf), np.full(n, np.inf)
    to_reference = np.full(n_references, np.inf)
    for rows, distances in _blocks(queries, references):
        tied = distances == distances.min(axis=1, keepdims=True)
        weights += (1 / tied.sum(axis=1)) @ tied
        np.minimum(to_reference, distances.min(axis=0), out=to_reference)
        two = np.partition(distances[:, :n_first], min(1, n_first - 1), axis=1)
        first[rows] = two[:, 0]
        if n_first > 1:
            second[rows] = two[:, 1]
    return Nearest(weights / n, first, second, to_reference)


def _blocks(queries: Scaled, references: Scaled) -> Iterator[tuple[slice, Floats]]:
    """Yield which queries, and their distances to all references, shape (queries, references).

    Mean over the columns of: |difference| of numbers; 1 for categories that differ and for a value
    beside a missing one; 0 for two missing ones. Source: Gower 1971, "A general coefficient of
    similarity and some of its properties", equation 3, with missing as a value.
    """
    from scipy.spatial.distance import cdist

    n_columns = queries.whole.shape[1] + queries.holed.shape[1] + queries.codes.shape[1]
    step = max(1, _BLOCK_CELLS // len(references.codes))
    for start in range(0, len(queries.codes), step):
        rows = slice(start, start + step)
        block = queries.codes[rows]
        total = np.zeros((len(block), len(references.codes)))
        if references.whole.shape[1]:
            total += cdist(queries.whole[rows], references.whole, "cityblock")
        if references.codes.shape[1]:
            # Whole counts of columns, so that equal rows are equally far from all others.
            differ = cdist(block, references.codes, "hamming") * references.codes.shape[1]
            total += np.rint(differ)
        for own, other in zip(queries.holed[rows].T, references.holed.T, strict=True):
            total += np.minimum(np.abs(own[:, None] - other), 1)
        yield rows, total / n_columns
