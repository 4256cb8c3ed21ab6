"""The cells of all users, added up while segments are read."""

import numpy as np
import pandas as pd

from rehearsal.drift.cells import Cells, Grid, Stack


class AllUsers:
    """One cell per window: the sum over segments. A user is in one, so that counts of users add.

    Segments are added one by one, in their order: sums of doubles are then the same however many
    are read at once.
    """

    def __init__(self, windows: pd.DataFrame) -> None:
        self._grid = Grid((None,), windows)
        self._stacks: dict[str, Stack] = {}

    @property
    def cells(self) -> Cells:
        """Those of the segments added so far."""
        return Cells(self._grid, self._stacks)

    def added(self, cells: Cells) -> Cells:
        """Add the segments of these cells, and return the cells as they are."""
        for name, stack in cells.stacks.items():
            for first in range(0, cells.grid.size, self._grid.size):
                own = stack.at(np.arange(first, first + self._grid.size))
                held = self._stacks.get(name)
                self._stacks[name] = held.plus(own) if held else own
        return cells
