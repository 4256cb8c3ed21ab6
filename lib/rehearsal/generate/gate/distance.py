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


@dataclass(frozen=True, eq=False)
class Nearest:
    """Where the queries' nearest references lie.

    Args:
        weights: share of the queries each reference is nearest to, shape (references,); ties are
            split.
        lacking: 1 - NNDR (the nearest over the second-nearest distance) of those queries, summed
            and divided by the number of all queries, shape (references,).
        to_reference: distance of each reference to its nearest query.
    """

    weights: Floats
    lacking: Floats
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


def nearest(queries: Scaled, references: Scaled) -> Nearest:
    """Return who is nearest to whom; of at least one query and two references."""
    n, n_references = len(queries.codes), len(references.codes)
    weights, lacking = np.zeros(n_references), np.zeros(n_references)
    to_reference = np.full(n_references, np.inf)
    for distances in _blocks(queries, references):
        np.minimum(to_reference, distances.min(axis=0), out=to_reference)
        first, second = np.partition(distances, 1, axis=1)[:, :2].T
        tied = distances == first[:, None]
        weights += (1 / tied.sum(axis=1)) @ tied
        # Of tied ones the ratio is 1: they lack nothing that would have to be split.
        ratio = np.divide(first, second, out=np.ones(len(first)), where=second > 0)
        lacking += np.bincount(tied.argmax(axis=1), weights=1 - ratio, minlength=n_references)
    return Nearest(weights / n, lacking / n, to_reference)


def _blocks(queries: Scaled, references: Scaled) -> Iterator[Floats]:
    """Yield distances of some queries to all references, shape (queries, references).

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
        yield total / n_columns
