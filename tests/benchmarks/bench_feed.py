"""The feed against a plain pyarrow -> tensor read of the same files, in rows per CPU-second.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_feed.py --rows 2000000 --columns 20

Two plain reads: columns as tensors just as they lie, which is the limit of any reader, and the
(rows, columns) int64 matrix that training needs. Petastorm's own ways in are the contrast:
BatchedDataLoader and, on a tenth of the rows, its default thread pool with DataLoader row by row.
CPU-seconds are the process's, all threads, the best of `--repeats`.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from petastorm import make_batch_reader
from petastorm.pytorch import BatchedDataLoader, DataLoader
from petastorm.reader import Reader

from rehearsal.generate.training import feed as feed_module
from rehearsal.generate.training.feed import Files, PetastormFeed

SEGMENTS, PARTS, ROW_GROUP = 1000, 4, 125_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--batch-rows", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), options.rows, options.columns)
        part = write(Path(folder, "tenth"), options.rows // 10, options.columns)
        bench(Bench(files, options.rows, options.batch_rows), part, options.repeats)


def write(folder: Path, n: int, width: int) -> Files:
    """Write n rows of codes, segment first, in parts of several row groups."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(7)
    names = ("segment", *(f"token_{j:03d}" for j in range(width - 1)))
    for part in range(PARTS):
        rows = {name: random.integers(0, 32, n // PARTS, dtype=np.int32) for name in names}
        rows["segment"] = random.integers(0, SEGMENTS, n // PARTS, dtype=np.int32)
        pq.write_table(pa.table(rows), folder / f"{part}.parquet", row_group_size=ROW_GROUP)
    return Files(tuple(path.as_uri() for path in sorted(folder.glob("*.parquet"))), names)


class Bench:
    """Ways to read the same files; each returns the rows it read."""

    def __init__(self, files: Files, n_rows: int, batch_rows: int) -> None:
        self.files, self.n_rows, self.batch_rows = files, n_rows, batch_rows

    def tables(self) -> Iterator[pa.Table]:
        for url in self.files.urls:
            file = pq.ParquetFile(url.removeprefix("file://"))
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=[*self.files.columns], use_threads=False)

    def plain_columns(self) -> int:
        return sum(
            len([torch.from_numpy(column.to_numpy()) for column in table.columns].pop())
            for table in self.tables()
        )

    def plain_matrix(self) -> int:
        n = 0
        for table in self.tables():
            rows = np.stack([column.to_numpy() for column in table.columns], axis=1)
            for start in range(0, len(rows), self.batch_rows):
                n += len(torch.from_numpy(rows[start : start + self.batch_rows]).long())
        return n

    def feed(self) -> PetastormFeed:
        return PetastormFeed(self.files, self.n_rows, np.zeros((SEGMENTS, 0)), self.batch_rows)

    def read_once(self) -> int:
        return self.feed().n_rows

    def epoch(self, feed: PetastormFeed) -> int:
        return sum(len(torch.from_numpy(rows)) for rows in feed.epoch(3))

    def reader(self, pool: str) -> Reader:
        columns = [f"^{name}$" for name in self.files.columns]
        return make_batch_reader(
            [*self.files.urls], schema_fields=columns, reader_pool_type=pool, num_epochs=1,
            seed=3, shuffle_rows=True,
        )  # fmt: skip

    def batched_loader(self) -> int:
        n = 0
        tensor = lambda values: torch.from_numpy(values.astype("int64"))  # noqa: E731
        with BatchedDataLoader(self.reader("dummy"), self.batch_rows, transform_fn=tensor) as made:
            for batch in made:
                n += len(torch.stack([batch[name] for name in self.files.columns], dim=1))
        return n

    def row_loader(self) -> int:
        n = 0
        with DataLoader(self.reader("thread"), self.batch_rows) as made:
            for batch in made:
                n += len(torch.stack([batch[name] for name in self.files.columns], dim=1))
        return n


def bench(whole: Bench, part: Files, repeats: int) -> None:
    resident = whole.feed()
    feed_module.RESIDENT_BYTES = 0
    streamed = whole.feed()
    feed_module.RESIDENT_BYTES = 1 << 40
    tenth = Bench(part, whole.n_rows // 10, whole.batch_rows)
    ways: dict[str, Callable[[], int]] = {
        "plain: columns as they lie": whole.plain_columns,
        "plain: int64 matrix": whole.plain_matrix,
        "feed: resident, read once": whole.read_once,
        "feed: resident, an epoch": lambda: whole.epoch(resident),
        "feed: streamed, an epoch": lambda: whole.epoch(streamed),
        "BatchedDataLoader, this thread": whole.batched_loader,
        "DataLoader, thread pool": tenth.row_loader,
    }
    rates = {name: rate(way, repeats) for name, way in ways.items()}
    columns, matrix = (rates[name] for name in list(ways)[:2])
    print(f"{'':32s} M rows/CPU-s   of columns   of matrix")
    for name, found in rates.items():
        print(f"{name:32s} {found / 1e6:12.2f} {found / columns:12.2f} {found / matrix:11.2f}")
    seconds = [1 / rates["feed: resident, read once"], 10 / rates["feed: resident, an epoch"]]
    mean = 10 / sum(seconds)
    print(f"ten epochs with their one read: {mean / columns:.2f} of columns, "
          f"{mean / matrix:.2f} of matrix, goal 0.65")  # fmt: skip


def rate(way: Callable[[], int], repeats: int) -> float:
    """Rows per CPU-second, the best of the repeats."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        n = way()
        found.append(n / (time.process_time() - began))
    return max(found)


if __name__ == "__main__":
    main()
