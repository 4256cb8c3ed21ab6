"""Staged Parquet files through Petastorm, row group by row group, and nothing but those files."""

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from rehearsal.errors import RehearsalError

Block = NDArray[np.int32]
INTEGER_BYTES = 4
# Rows transposed at a time, few enough to stay in the processor's cache.
_STRIPE = 4096


class FeedError(RehearsalError):
    """The reader delivered other rows than were staged."""


@dataclass(frozen=True)
class Files:
    """Parquet files by explicit URL, and the integer columns to read from them, in order.

    The first column is the row's segment. URLs are percent-encoded, as Spark names its files.
    Never a folder: Petastorm unpickles a file it finds in one.
    """

    urls: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def named(self) -> str:
        """The files as a message shows them."""
        return f"{len(self.urls)} files, the first {self.urls[0]}" if self.urls else "no files"


def row_groups(files: Files) -> list[int]:
    """Return the rows of each row group, from the footers, in the order Petastorm numbers them."""
    from pyarrow.parquet import ParquetFile

    filesystem, paths = _opened(files)
    rows: list[int] = []
    for path in paths:
        with filesystem.open(path, "rb") as handle:
            footer = ParquetFile(handle).metadata
            rows += [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    return rows


def read_blocks(
    files: Files, n_groups: int, share: tuple[int, int], seed: int | None
) -> Iterator[Block]:
    """Yield row groups, each of shape (rows, columns).

    Args:
        files: what to read.
        n_groups: row groups in them.
        share: (rank, of): every of-th row group from number `rank` on.
        seed: decides the order of row groups, not 0, which Petastorm takes for no seed; None:
            the order of the files.

    Raises:
        FeedError: a column is not of integers of at most 32 bits, or has nulls.
    """
    if not files.urls:
        return
    with _quiet():
        reader = _reader(files, n_groups, share, seed)
    try:
        while True:
            with _quiet():
                batch = next(reader, None)
            if batch is None:
                return
            yield _transposed([_checked(name, batch, files) for name in files.columns])
    finally:
        reader.stop()
        reader.join()


def _reader(files: Files, n_groups: int, share: tuple[int, int], seed: int | None) -> Any:
    from petastorm.reader import Reader
    from petastorm.workers_pool.dummy_pool import DummyPool

    # This pool reads in the calling thread: the thread pool loses rows now and then. But another
    # thread queues the row groups, and the pool waits for ever if it finds the queue empty before
    # that thread has noted its end. So all are queued before the first one is read.
    pool = DummyPool()
    pool.workers_count = max(1, n_groups)
    filesystem, paths = _opened(files)
    rank, of = share
    reader = Reader(
        _only_files(filesystem),
        list(paths),
        schema_fields=[f"^{re.escape(name)}$" for name in files.columns],
        worker_class=_whole_groups(),
        reader_pool=pool,
        is_batched_reader=True,
        seed=seed,
        shuffle_row_groups=seed is not None,
        shuffle_rows=False,
        num_epochs=1,
        cur_shard=rank,
        shard_count=of,
    )
    while not reader.ventilator.completed():
        time.sleep(0.001)
    return reader


def _whole_groups() -> Any:
    """Return Petastorm's way of loading a row group, without what costs a third of its time.

    It opens each file twice and gathers every column by row numbers even if they are 0, 1, 2, ...
    """
    from petastorm.arrow_reader_worker import ArrowReaderWorker

    class WholeGroups(ArrowReaderWorker):  # type: ignore[misc]
        def _load_rows(self, pq_file: Any, piece: Any, shuffle_row_drop_range: Any) -> Any:
            del shuffle_row_drop_range
            names = [field.name for field in self._schema.fields.values()]
            return pq_file.read_row_group(piece.row_group, columns=names, use_threads=False)

    return WholeGroups


def _opened(files: Files) -> tuple[Any, tuple[str, ...]]:
    """Return the file system of the files, and their paths in it, sorted as Petastorm does."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    opened = [url_to_fs(unquote(url)) for url in files.urls]
    if any(filesystem != opened[0][0] for filesystem, _ in opened):
        raise FeedError(f"a snapshot's files lie in one file system, not in several: {files.named}")
    return (opened[0][0] if opened else None), tuple(sorted(path for _, path in opened))


def _only_files(filesystem: Any) -> Any:
    """Return a file system as the pyarrow that Petastorm needs knows them, which has no folders.

    Petastorm hands it a lone path as if that might be a folder, and would unpickle in it.
    """
    from pyarrow.filesystem import DaskFileSystem

    class OnlyFiles(DaskFileSystem):  # type: ignore[misc]
        def isdir(self, path: str) -> bool:
            del path
            return False

        def isfile(self, path: str) -> bool:
            return bool(self.fs.isfile(path))

    return OnlyFiles(filesystem)


def _checked(name: str, batch: Any, files: Files) -> NDArray[Any]:
    values: NDArray[Any] = getattr(batch, name)
    # Nulls make of integers floats.
    if values.dtype.kind != "i" or values.dtype.itemsize > INTEGER_BYTES:
        raise FeedError(
            f"column {name!r} came as {values.dtype}; stage it as INT without nulls ({files.named})"
        )
    return values


def _transposed(columns: Sequence[NDArray[Any]]) -> Block:
    n = len(columns[0])
    out = np.empty((n, len(columns)), dtype=np.int32)
    for start in range(0, n, _STRIPE):
        rows = slice(start, start + _STRIPE)
        for j, column in enumerate(columns):
            out[rows, j] = column[rows]
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Petastorm's warnings about pyarrow's older interface, and nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
