"""Training rows that are held in memory."""

from collections.abc import Iterator

import numpy as np

from rehearsal.generate.models.generator import Rows
from rehearsal.generate.models.layout import Codes, Floats


class MemoryFeed:
    """Deliver rows in memory, shuffled anew each epoch."""

    def __init__(self, rows: Rows, batch_rows: int) -> None:
        self.profiles: Floats = rows.profiles
        self.n_rows = len(rows.codes)
        self._rows = np.column_stack([rows.segment, rows.codes])
        self._batch_rows = batch_rows

    def epoch(self, seed: int) -> Iterator[Codes]:
        """Yield every row once in an order of the seed: int64, shape (n, 1 + token columns)."""
        order = np.random.default_rng(seed).permutation(self.n_rows)
        for start in range(0, self.n_rows, self._batch_rows):
            yield self._rows[order[start : start + self._batch_rows]]
