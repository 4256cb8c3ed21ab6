"""The token columns a generator works on: their sizes, and which codes may stand together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mask:
    """Which codes of the token column `later` may stand beside each code of `earlier`.

    `allowed` has shape (size of earlier, size of later), and at least one code in every row.
    """

    earlier: int
    later: int
    allowed: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Layout:
    """Codes per token column, condition columns first, and what a segment is described by.

    Args:
        sizes: number of codes per token column.
        n_conditions: how many of them, from the first on, are given and never generated.
        n_profile: numbers that describe a segment; 0 where segments are not told apart.
        masks: constraints between two columns, which a generator keeps by construction. Code 0,
            missing, is allowed beside every other: the way out where several leave nothing.
        never: (column, code) that no row can have, since no later code goes with it.
    """

    sizes: tuple[int, ...]
    n_conditions: int
    n_profile: int = 0
    masks: tuple[Mask, ...] = ()
    never: tuple[tuple[int, int], ...] = ()

    @property
    def generated(self) -> range:
        """The generated token columns' positions."""
        return range(self.n_conditions, len(self.sizes))

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each column's codes begin when all columns' codes are numbered through."""
        return tuple(sum(self.sizes[:j]) for j in range(len(self.sizes)))

    def masks_of(self, column: int) -> tuple[Mask, ...]:
        """The constraints that earlier columns put on this one."""
        return tuple(mask for mask in self.masks if mask.later == column)
