"""Numbers to codes and back: atoms for frequent values, quantile bins for the rest."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

MISSING = 0

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Numeric:
    """Codes of one number: 0 = missing, then one per atom, then one per bin.

    A bin is [low, high] within what was seen, so that nothing outside of that is ever decoded; its
    ends are rounded numbers, no row's value (`tally.make_numeric`). `decimals` says that no value
    seen had more of them, 0: all were whole; then bins give no more either. None: up to all that a
    double has. `nullable` says that some row had no value.
    """

    atoms: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    decimals: int | None
    nullable: bool = True

    @property
    def size(self) -> int:
        """Number of codes, the missing one included."""
        return 1 + len(self.atoms) + len(self.lows)

    @property
    def _starts(self) -> tuple[tuple[float, ...], int]:
        """Where codes for all values start, ascending, and the first of these codes."""
        return (self.lows, 1 + len(self.atoms)) if self.lows else (self.atoms, 1)

    def encode(self, values: Floats) -> Codes:
        """Return codes of `values`, shape (n,); NaN is missing.

        A value between bins belongs to the bin below it; outside the range, and infinity, to the
        nearest end; without bins atoms do the same. A column without any code encodes everything
        as missing.
        """
        starts, first = self._starts
        if not starts:
            return np.zeros(len(values), dtype=np.int64)
        below = np.searchsorted(np.asarray(starts), values, side="right")
        codes = first + np.maximum(below - 1, 0)
        if self.atoms:
            atoms = np.asarray(self.atoms)
            at = np.minimum(np.searchsorted(atoms, values), len(atoms) - 1)
            codes = np.where(atoms[at] == values, at + 1, codes)
        return np.where(np.isnan(values), MISSING, codes)

    def expression(self, value: Column) -> Column:
        """Return the INT column that `encode` computes, of a DOUBLE column without NaN."""
        starts, first = self._starts
        if not starts:
            return F.lit(MISSING)
        # The first start needs no comparison: what lies below it belongs to it.
        code = _total([F.lit(first), *((value >= F.lit(s)).cast("int") for s in starts[1:])])
        if self.atoms:
            at = F.array_position(F.lit(list(self.atoms)), value).cast("int")
            code = F.when(at > 0, at).otherwise(code)
        return F.when(value.isNull(), F.lit(MISSING)).otherwise(code).cast("int")

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        lows = np.array([np.nan, *self.atoms, *self.lows], dtype=np.float64)
        return lows, np.array([np.nan, *self.atoms, *self.highs], dtype=np.float64)

    def bounds(self, codes: Codes) -> tuple[Floats, Floats]:
        """Return the lowest and the highest value of each code, shape (n,); NaN = missing."""
        lows, highs = self._ends
        return lows[codes], highs[codes]

    def decode(self, codes: Codes, uniform: Floats) -> Floats:
        """Return one value per code, shape (n,): the atom, or a draw inside the bin; NaN = missing.

        Args:
            codes: shape (n,), each below `size`.
            uniform: shape (n,), in [0, 1): where in its bin each value falls.
        """
        return self.draw(*self.bounds(codes), uniform)

    def draw(self, low: Floats, high: Floats, uniform: Floats) -> Floats:
        """Return a value of each [low, high], shape (n,), NaN where there is none.

        Values with a code of their own are passed over where the interval has others.
        """
        with np.errstate(invalid="ignore"):
            if self.decimals is None:
                drawn = self._real(low, high, uniform)
            else:
                drawn = self._counted(low, high, uniform)
            made: Floats = np.where(low < high, drawn, np.where(low == high, low, np.nan))
        return made

    def _real(self, low: Floats, high: Floats, uniform: Floats) -> Floats:
        # Both ends weighted, since high - low of huge numbers overflows.
        drawn: Floats = np.clip(low * (1 - uniform) + high * uniform, low, high)
        if not self.atoms:
            return drawn
        atoms = np.asarray(self.atoms)
        at = np.minimum(np.searchsorted(atoms, drawn), len(atoms) - 1)
        kept: Floats = np.where(atoms[at] == drawn, low, drawn)
        return kept

    def _counted(self, low: Floats, high: Floats, uniform: Floats) -> Floats:
        """Draw the k-th number of [low, high] that is no atom; `low` when all are atoms.

        Numbers are counted in the last decimal. Below the atom with index i lie (atom - i) of them
        that are no atoms, counted from a common origin, so that one search finds how many atoms
        the k-th number has to skip.
        """
        low, high = self.at_or_below(low), self.at_or_below(high)
        all_atoms = np.asarray(self.atoms)
        counted = self.at_or_below(all_atoms)
        atoms = counted[self.of_count(counted) == all_atoms]
        before = np.searchsorted(atoms, low)
        n_free = high - low + 1 - (np.searchsorted(atoms, high, side="right") - before)
        # The minimum matters where 1 - 2**-53 times a huge count rounds up to the count.
        place = low + np.minimum(np.floor(uniform * n_free), n_free - 1) - before
        skipped = np.searchsorted(atoms - np.arange(len(atoms)), place, side="right")
        return self.of_count(np.where(n_free > 0, place + skipped, low))

    def at_or_below(self, values: Floats) -> Floats:
        """Return the last number at or below each, counted in the last decimal."""
        near = np.rint(values * self._scale)
        # 4.35 x 100 falls short of 435, which it is.
        return np.where(near / self._scale <= values, near, near - 1)

    def of_count(self, counts: Floats) -> Floats:
        """Return the numbers of counts in the last decimal."""
        made: Floats = counts / self._scale
        return made

    @property
    def _scale(self) -> float:
        return 10.0 ** (self.decimals or 0)

    def label(self, code: int) -> str:
        """Return the value or range a code stands for."""
        n_atoms = len(self.atoms)
        if code == MISSING:
            return "missing"
        if code <= n_atoms:
            return f"{self.atoms[code - 1]:.6g}"
        low, high = self.lows[code - n_atoms - 1], self.highs[code - n_atoms - 1]
        return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"


def _total(columns: list[Column]) -> Column:
    """Return the sum as a balanced tree: Spark walks a chain of hundreds recursively."""
    while len(columns) > 1:
        pairs = zip(columns[::2], columns[1::2], strict=False)
        last = columns[-1:] if len(columns) % 2 else []
        columns = [left + right for left, right in pairs] + last
    return columns[0]
