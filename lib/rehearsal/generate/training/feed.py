"""Training rows through Petastorm, with a guard on what it delivers."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rehearsal.generate.models.generator import Rows
from rehearsal.generate.models.layout import Codes, Floats
from rehearsal.generate.training.reader import (
    INTEGER_BYTES,
    Block,
    FeedError,
    Files,
    read_blocks,
    row_groups,
)
from rehearsal.seeds import derive_seed

__all__ = ["FeedError", "Files", "PetastormFeed", "count_rows", "read_rows"]

RESIDENT_BYTES = 1 << 28
MIXED_ROWS = 1 << 18
_UNEVEN = 1.1


class PetastormFeed:
    """Deliver staged rows, shuffled anew each epoch, and count them each time.

    Rows that fit in RESIDENT_BYTES as int32 are read once and shuffled whole. More are read every
    epoch: row groups in an order of the seed, their rows mixed among MIXED_ROWS at a time, which
    suffices because staging wrote them in random order.

    Args:
        files: what to read, the segment first.
        n_rows: rows staged in them.
        profiles: shape (segments, n_profile), what describes each segment.
        batch_rows: rows per batch; the last one may be smaller.
        shard: (rank, of): which of so many disjoint shares of the rows to deliver; `n_rows` is
            then the share's.

    Raises:
        FeedError: the files hold other rows than were staged, or not integers without nulls.
    """

    def __init__(
        self,
        files: Files,
        n_rows: int,
        profiles: Floats,
        batch_rows: int,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.profiles = profiles
        self._share = _Share(files, n_rows, len(profiles), shard)
        self.n_rows = self._share.n_rows
        self._batch_rows = batch_rows
        resident = self.n_rows * len(files.columns) * INTEGER_BYTES <= RESIDENT_BYTES
        self._rows = self._share.read() if resident else None

    def epoch(self, seed: int) -> Iterator[Codes]:
        """Yield every row once in an order of the seed: int64, shape (n, 1 + token columns).

        The first column is the row's segment, its place in `profiles`.

        Raises:
            FeedError: more or fewer rows came than the files hold; Petastorm has lost rows
                silently.
        """
        if self._rows is not None:
            order = np.random.default_rng(seed).permutation(self.n_rows)
            yield from self._batches(self._rows, order)
        else:
            yield from self._streamed(seed)

    def _streamed(self, seed: int) -> Iterator[Codes]:
        random = np.random.default_rng(derive_seed(seed, "rows"))
        held: list[Block] = []
        for block in self._share.blocks(derive_seed(seed, "row groups")):
            held.append(block)
            n = sum(map(len, held))
            if n >= max(MIXED_ROWS, 2 * self._batch_rows):
                rows, order = np.concatenate(held), random.permutation(n)
                # A quarter stays to be mixed with the rows to come, so that not even the last rows
                # are all of one row group.
                out = n * 3 // 4
                out -= out % self._batch_rows
                yield from self._batches(rows, order[:out])
                held = [rows.take(order[out:], axis=0)]
        if held:
            rows = np.concatenate(held)
            yield from self._batches(rows, random.permutation(len(rows)))

    def _batches(self, rows: Block, order: NDArray[np.int64]) -> Iterator[Codes]:
        for start in range(0, len(order), self._batch_rows):
            # Three times as fast as rows[...].
            yield rows.take(order[start : start + self._batch_rows], axis=0).astype(np.int64)


def read_rows(files: Files, n_rows: int, profiles: Floats) -> Rows:
    """Return all rows of the files, in the order they were staged.

    Args:
        files: what to read, the segment first.
        n_rows: rows staged in them.
        profiles: shape (segments, n_profile), what describes each segment.

    Raises:
        FeedError: other rows came than were staged, or not integers without nulls.
    """
    rows = _Share(files, n_rows, len(profiles), (0, 1)).read().astype(np.int64)
    return Rows(np.ascontiguousarray(rows[:, 1:]), rows[:, 0].copy(), profiles)


def count_rows(files: Files) -> int:
    """Return the rows the files hold, from their footers."""
    return sum(row_groups(files))


class _Share:
    """One process's rows of the files: whole row groups, or rows of each where those are uneven.

    Args:
        files: what to read.
        n_rows: rows staged in them.
        n_segments: segments that have a profile.
        shard: (rank, of).

    Raises:
        FeedError: the footers say another number of rows than were staged.
    """

    def __init__(self, files: Files, n_rows: int, n_segments: int, shard: tuple[int, int]) -> None:
        self._files, self._n_segments = files, n_segments
        groups = row_groups(files)
        self._n_groups = len(groups)
        if sum(groups) != n_rows:
            raise FeedError(
                f"the footers say {sum(groups)} rows, {n_rows} were staged ({files.named}); "
                "stage them again"
            )
        rank, of = shard
        largest = max(sum(groups[start::of]) for start in range(of))
        if largest * of <= _UNEVEN * n_rows:
            self._groups, self._step = shard, slice(None)
            self.n_rows = sum(groups[rank::of])
        else:
            # Too few row groups to deal out, so every process reads all of them.
            self._groups, self._step = (0, 1), slice(rank, None, of)
            self.n_rows = sum(len(range(rank, n, of)) for n in groups)

    def read(self) -> Block:
        """Return the share, shape (n, columns), in the files' order."""
        rows = np.empty((self.n_rows, len(self._files.columns)), dtype=np.int32)
        at = 0
        for block in self.blocks(None):
            rows[at : at + len(block)] = block
            at += len(block)
        return rows

    def blocks(self, seed: int | None) -> Iterator[Block]:
        """Yield the share by row group, in an order of the seed; None: the files' order."""
        n_read = 0
        for block in read_blocks(self._files, self._n_groups, self._groups, seed):
            own = block[self._step]
            n_read += len(own)
            self._check(own)
            if n_read > self.n_rows:
                break
            yield own
        if n_read != self.n_rows:
            raise FeedError(
                f"read {n_read} rows of the {self.n_rows} due ({self._files.named}); nothing is "
                "trained on other rows than were staged, run the step again"
            )

    def _check(self, block: Block) -> None:
        segment = block[:, 0]
        if len(segment) and not 0 <= segment.min() <= segment.max() < self._n_segments:
            raise FeedError(
                f"column {self._files.columns[0]!r} holds {segment.min()} to {segment.max()}, "
                f"there are profiles of {self._n_segments} segments ({self._files.named}); stage "
                "rows and profiles together"
            )
