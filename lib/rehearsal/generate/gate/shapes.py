"""Likeness of single columns and of pairs of columns; 1 = alike, 0 = nothing in common.

Definitions: SDMetrics documentation, "KSComplement", "TVComplement", "CorrelationSimilarity",
"ContingencySimilarity". Columns where a score is undefined (no value, a constant in a correlation)
are left out of the means. Dependence beyond pairs goes unseen, and columns drawn independently
have perfect shapes: never a verdict by themselves.
"""

from itertools import combinations, product

import numpy as np
import pandas as pd

from rehearsal.generate.gate.table import MISSING, Codes, Floats, Table

BINS = 10
# Of a table of counts; beyond it only the pairs of codes that occur are counted.
_MAX_CELLS = 1 << 16


def column_shapes(real: Table, synthetic: Table) -> float | None:
    """Return the mean over the columns: 1 - KS statistic of numbers, 1 - TV of categories.

    Missing values are left out, as in the definitions; None: no column has values in both.
    """
    scores = [
        *map(_ks_complement, real.numbers.T, synthetic.numbers.T),
        *map(_tv_complement, real.codes.T, synthetic.codes.T),
    ]
    return _mean(np.asarray(scores))


def pair_trends(real: Table, synthetic: Table) -> float | None:
    """Return the mean over pairs of columns; None: no pair is defined.

    Two numbers: 1 - |difference of Pearson's r| / 2, over rows that have both. Otherwise
    1 - TV of the pairs of codes, where missing is a code and a number is cut into BINS equal
    steps of the real rows' range, open at both ends.
    """
    correlations = (_correlations(real.numbers), _correlations(synthetic.numbers))
    upper = np.triu_indices(real.numbers.shape[1], k=1)
    alike = 1 - np.abs(correlations[0] - correlations[1])[upper] / 2
    tables = [_pairs_of(table, _cut(real, table)) for table in (real, synthetic)]
    shared = [
        _tv_complement(*joint)
        for joint in (
            _joint(tables[0][a], tables[0][b], tables[1][a], tables[1][b])
            for a, b in _coded_pairs(real)
        )
    ]
    return _mean(np.append(alike, shared))


def _coded_pairs(table: Table) -> list[tuple[int, int]]:
    """Return which of the columns (numbers, then codes) are compared by codes."""
    n_numbers, n_codes = table.numbers.shape[1], table.codes.shape[1]
    codes = range(n_numbers, n_numbers + n_codes)
    return [*product(range(n_numbers), codes), *combinations(codes, 2)]


def _pairs_of(table: Table, cut: Codes) -> Codes:
    """Return codes from 0 of all columns, shape (columns, n)."""
    return np.concatenate([cut, table.codes.T - MISSING])


def _cut(real: Table, table: Table) -> Codes:
    """Return the step of every number, shape (numbers, n); missing is a step of its own."""
    steps = np.empty(table.numbers.T.shape, dtype=np.int64)
    for position, (seen, values) in enumerate(zip(real.numbers.T, table.numbers.T, strict=True)):
        present = seen[~np.isnan(seen)]
        inner = np.histogram_bin_edges(present, BINS)[1:-1] if len(present) else np.empty(0)
        steps[position] = np.where(np.isnan(values), BINS, np.digitize(values, inner))
    return steps


def _joint(first: Codes, second: Codes, first_s: Codes, second_s: Codes) -> tuple[Codes, Codes]:
    """Return one code per pair of codes, for real and synthetic rows."""
    width = 1 + max(int(second.max(initial=0)), int(second_s.max(initial=0)))
    return first * width + second, first_s * width + second_s


def _tv_complement(real: Codes, synthetic: Codes) -> float:
    real, synthetic = real[real != MISSING], synthetic[synthetic != MISSING]
    if not len(real) or not len(synthetic):
        return np.nan
    size = 1 + max(int(real.max()), int(synthetic.max()))
    if size > _MAX_CELLS:
        both = np.unique(np.concatenate([real, synthetic]), return_inverse=True)[1]
        real, synthetic = both[: len(real)], both[len(real) :]
        size = int(both.max()) + 1
    shares = [np.bincount(codes, minlength=size) / len(codes) for codes in (real, synthetic)]
    return float(1 - np.abs(shares[0] - shares[1]).sum() / 2)


def _ks_complement(real: Floats, synthetic: Floats) -> float:
    real, synthetic = np.sort(real[~np.isnan(real)]), np.sort(synthetic[~np.isnan(synthetic)])
    if not len(real) or not len(synthetic):
        return np.nan
    steps = np.concatenate([real, synthetic])
    below = [np.searchsorted(part, steps, side="right") / len(part) for part in (real, synthetic)]
    return float(1 - np.abs(below[0] - below[1]).max())


def _correlations(numbers: Floats) -> Floats:
    """Return Pearson's r of all pairs over the rows that have both; NaN where one is constant."""
    correlations: Floats = pd.DataFrame(numbers).corr(min_periods=2).to_numpy()
    return correlations


def _mean(scores: Floats) -> float | None:
    defined = scores[~np.isnan(scores)]
    return float(defined.mean()) if len(defined) else None
