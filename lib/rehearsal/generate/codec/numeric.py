"""Numbers to codes and back: atoms for frequent values, quantile bins for the rest."""

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

MISSING = 0
_WHOLE = float(1 << 53)

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Numeric:
    """Codes of one number: 0 = missing, then one per atom, then one per bin.

    A bin is [low, high] of the values seen in it, so that nothing outside what was seen is ever
    decoded. `whole` says that every value seen was whole; then only whole values are decoded.
    """

    atoms: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    whole: bool

    @property
    def size(self) -> int:
        """Number of codes, the missing one included."""
        return 1 + len(self.atoms) + len(self.lows)

    def encode(self, values: Floats) -> Codes:
        """Return codes of `values`, shape (n,); NaN is missing.

        A value between bins belongs to the bin below it; outside the range, to the nearest end.
        """
        codes = self._floor(values)
        if self.atoms:
            atoms = np.asarray(self.atoms)
            at = np.minimum(np.searchsorted(atoms, values), len(atoms) - 1)
            codes = np.where(atoms[at] == values, at + 1, codes)
        return np.where(np.isnan(values), MISSING, codes).astype(np.int64)

    def _floor(self, values: Floats) -> Codes:
        starts, first = (self.lows, 1 + len(self.atoms)) if self.lows else (self.atoms, 1)
        if not starts:
            return np.zeros(len(values), dtype=np.int64)
        below = np.searchsorted(np.asarray(starts), values, side="right")
        return first + np.maximum(below - 1, 0)

    def expression(self, value: Column) -> Column:
        """Return the INT column that `encode` computes, of a DOUBLE column without NaN."""
        starts, first = (self.lows, 1 + len(self.atoms)) if self.lows else (self.atoms, 1)
        code = F.lit(MISSING)
        if starts:
            # The first start needs no comparison: what lies below it belongs to it.
            above = [(value >= F.lit(start)).cast("int") for start in starts[1:]]
            code = reduce(add, above, F.lit(first))
        if self.atoms:
            at = F.array_position(F.lit(list(self.atoms)), value).cast("int")
            code = F.when(at > 0, at).otherwise(code)
        return F.when(value.isNull(), F.lit(MISSING)).otherwise(code).cast("int")

    def decode(self, codes: Codes, uniform: Floats) -> Floats:
        """Return one value per code, shape (n,): the atom, or a draw inside the bin; NaN = missing.

        Args:
            codes: shape (n,), each below `size`.
            uniform: shape (n,), in [0, 1): where in its bin each value falls.
        """
        values = np.full(len(codes), np.nan)
        n_atoms = len(self.atoms)
        is_atom = (codes > MISSING) & (codes <= n_atoms)
        values[is_atom] = np.asarray(self.atoms)[codes[is_atom] - 1]
        is_bin = codes > n_atoms
        at = codes[is_bin] - n_atoms - 1
        low, high = np.asarray(self.lows)[at], np.asarray(self.highs)[at]
        draw = self._draw_whole if self.whole else self._draw_real
        values[is_bin] = draw(low, high, uniform[is_bin])
        return values

    def _draw_real(self, low: Floats, high: Floats, uniform: Floats) -> Floats:
        drawn = np.minimum(low + uniform * (high - low), high)
        # An atom inside a bin has a code of its own; the bin's end never is one.
        return np.where(np.isin(drawn, np.asarray(self.atoms)), low, drawn)

    def _draw_whole(self, low: Floats, high: Floats, uniform: Floats) -> Floats:
        atoms = np.asarray(self.atoms)
        # Whole numbers of the bin that are not atoms, counted and then skipped over.
        skipped = np.searchsorted(atoms, high) - np.searchsorted(atoms, low)
        drawn: Floats = low + np.floor(uniform * (high - low + 1 - skipped))
        for atom in self.atoms:
            drawn += (low < atom) & (drawn >= atom)
        return drawn

    def label(self, code: int) -> str:
        """Return the value or range a code stands for."""
        n_atoms = len(self.atoms)
        if code == MISSING:
            return "missing"
        if code <= n_atoms:
            return f"{self.atoms[code - 1]:.6g}"
        low, high = self.lows[code - n_atoms - 1], self.highs[code - n_atoms - 1]
        return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def fit_numeric(values: Floats, bins: int, min_count: int) -> Numeric:
    """Return the codes of a sample of values, shape (n,); NaN and infinities are left out.

    A value is an atom when it has at least `min_count` rows and either 1/bins of all rows or a
    column of at most `bins` distinct values around it. The rest fall into at most `bins` bins of
    at least `min_count` rows. Fewer rows than that are left uncoded when there are atoms (each
    takes the code of the atom below it), so that no bin gives a handful of rows away.
    """
    seen = values[np.isfinite(values)]
    distinct, counts = np.unique(seen, return_counts=True)
    enough = max(min_count, 1 if len(distinct) <= bins else -(-len(seen) // bins))
    is_atom = counts >= enough
    rest, rest_counts = distinct[~is_atom], counts[~is_atom]
    n_rest = int(rest_counts.sum())
    whole = bool(len(seen)) and bool(np.all(seen == np.floor(seen)))
    whole = whole and float(np.abs(seen).max()) < _WHOLE
    lows: list[float] = []
    highs: list[float] = []
    if n_rest and (n_rest >= min_count or not is_atom.any()):
        for start, end in _groups(rest_counts, bins, min_count):
            lows.append(float(rest[start]))
            highs.append(float(rest[end - 1]))
    return Numeric(tuple(map(float, distinct[is_atom])), tuple(lows), tuple(highs), whole)


def _groups(counts: NDArray[np.int64], bins: int, min_count: int) -> list[tuple[int, int]]:
    """Return at most `bins` runs [start, end) of about equal rows, `min_count` or more in each."""
    runs: list[tuple[int, int]] = []
    total, seen = int(counts.sum()), np.cumsum(counts)
    start, before = 0, 0
    for position in range(len(counts)):
        reached = int(seen[position])
        if reached - before >= min_count and reached * bins >= (len(runs) + 1) * total:
            runs.append((start, position + 1))
            start, before = position + 1, reached
    if start < len(counts):
        # What is left over joins the last run.
        start = runs.pop()[0] if runs else 0
        runs.append((start, len(counts)))
    return runs
