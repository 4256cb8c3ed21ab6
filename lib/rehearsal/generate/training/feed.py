"""Petastorm as the way from a training snapshot to torch, with a guard on what it delivers."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rehearsal.errors import RehearsalError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class FeedError(RehearsalError):
    """The reader delivered another number of rows than the files hold."""


@dataclass(frozen=True)
class Files:
    """Parquet files by explicit URL, and the integer columns to read from them, in order.

    Never a folder: Petastorm unpickles a file it finds in one.
    """

    urls: tuple[str, ...]
    columns: tuple[str, ...]


def count_rows(files: Files) -> int:
    """Return the rows the files hold, from their footers."""
    from pyarrow.parquet import ParquetFile

    with _quiet():
        from petastorm.fs_utils import get_filesystem_and_path_or_paths

        filesystem, paths = get_filesystem_and_path_or_paths(_plain(files.urls))
        total = 0
        for path in paths:
            with filesystem.open(path, "rb") as handle:
                total += ParquetFile(handle).metadata.num_rows
    return total


def epoch(files: Files, batch_rows: int, seed: int, n_rows: int) -> "Iterator[Tensor]":
    """Yield every row once, as int64 batches of shape (<= batch_rows, columns), shuffled by seed.

    Args:
        files: what to read.
        batch_rows: rows per batch; the last one may be smaller.
        seed: not 0, which Petastorm takes for no seed.
        n_rows: what `count_rows` gave.

    Raises:
        FeedError: more or fewer rows came than `n_rows`; Petastorm has lost rows silently.
    """
    n_read = 0
    batches = _batches(files, batch_rows, seed)
    while True:
        with _quiet():
            rows = next(batches, None)
        if rows is None:
            break
        n_read += len(rows)
        yield rows
    if n_read != n_rows:
        raise FeedError(
            f"read {n_read} rows of the {n_rows} that {len(files.urls)} files hold; "
            "nothing is trained on part of the data, run the step again"
        )


def _batches(files: Files, batch_rows: int, seed: int) -> "Iterator[Tensor]":
    import torch
    from petastorm import make_batch_reader
    from petastorm.pytorch import BatchedDataLoader

    # The dummy pool reads in this thread: the thread pool loses rows now and then.
    reader = make_batch_reader(
        _plain(files.urls),
        schema_fields=[f"^{name}$" for name in files.columns],
        reader_pool_type="dummy",
        num_epochs=1,
        seed=seed,
        shuffle_rows=True,
    )
    with BatchedDataLoader(reader, batch_size=batch_rows, transform_fn=_tensor) as loader:
        for batch in loader:
            yield torch.stack([batch[name] for name in files.columns], dim=1)


def _tensor(values: "NDArray[np.int32]") -> "Tensor":
    import torch

    # Copies: the reader's arrays are read-only, which torch warns of.
    return torch.from_numpy(values.astype("int64"))


def _plain(urls: Sequence[str]) -> list[str]:
    # Spark percent-encodes its file names, Petastorm takes them as they stand.
    return [unquote(url) for url in urls]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Petastorm's warnings about pyarrow's older interface, and nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
