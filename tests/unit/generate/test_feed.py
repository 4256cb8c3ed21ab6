"""The feed delivers what was staged, whole and shuffled, or fails; never part of it."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from petastorm.arrow_reader_worker import ArrowReaderWorker
from petastorm.workers_pool.dummy_pool import DummyPool

from rehearsal.generate.training import feed as feed_module
from rehearsal.generate.training.feed import (
    FeedError,
    Files,
    PetastormFeed,
    count_rows,
    read_rows,
)

NAMES = ("segment", "token_000", "token_001")
PROFILES = np.arange(12.0).reshape(4, 3)


def numbered(n: int) -> np.ndarray:
    """Row i is (i mod 4, i, 2 i), so that every row is told from the others."""
    i = np.arange(n)
    return np.stack([i % 4, i, 2 * i], axis=1)


def write(path: Path, rows: np.ndarray, row_group: int = 100, kind: str = "int32") -> str:
    # The columns lie in another order than they are asked for.
    table = pa.table({name: rows[:, j].astype(kind) for j, name in reversed([*enumerate(NAMES)])})
    pq.write_table(table, path, row_group_size=row_group)
    return path.as_uri()


def staged(folder: Path, n: int, parts: int = 2, row_group: int = 100) -> Files:
    chunks = enumerate(np.array_split(numbered(n), parts))
    return Files(
        tuple(write(folder / f"{i}.parquet", rows, row_group) for i, rows in chunks), NAMES
    )


def delivered(feed: PetastormFeed, seed: int) -> np.ndarray:
    return np.concatenate(list(feed.epoch(seed)))


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(rows[:, 1])]


@pytest.fixture(params=["resident", "streamed"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "streamed":
        monkeypatch.setattr(feed_module, "RESIDENT_BYTES", 0)
        monkeypatch.setattr(feed_module, "MIXED_ROWS", 250)
    return str(request.param)


def test_an_epoch_delivers_every_row_once_in_an_order_of_its_seed(
    tmp_path: Path, mode: str
) -> None:
    feed = PetastormFeed(staged(tmp_path, 1003), 1003, PROFILES, 64)
    first, again, other = (delivered(feed, seed) for seed in (1, 1, 2))
    assert first.dtype == np.int64
    assert np.array_equal(in_order(first), numbered(1003))
    assert np.array_equal(in_order(other), numbered(1003))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_batches_are_whole_but_for_the_last(tmp_path: Path, mode: str) -> None:
    feed = PetastormFeed(staged(tmp_path, 1003), 1003, PROFILES, 64)
    assert [len(batch) for batch in feed.epoch(5)] == [64] * 15 + [43]


def test_a_streamed_epoch_mixes_rows_of_several_row_groups(tmp_path: Path, mode: str) -> None:
    feed = PetastormFeed(staged(tmp_path, 1000), 1000, PROFILES, 50)
    for batch in feed.epoch(3):
        assert len(set(batch[:, 1] // 100)) >= 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(of=st.integers(1, 7), parts=st.integers(1, 4), row_group=st.integers(60, 500))
def test_shards_share_out_every_row_evenly_whatever_the_row_groups(
    tmp_path: Path, of: int, parts: int, row_group: int
) -> None:
    files = staged(tmp_path, 900, parts, row_group)
    shards = [PetastormFeed(files, 900, PROFILES, 64, (rank, of)) for rank in range(of)]
    rows = [delivered(shard, 3) for shard in shards]
    assert [shard.n_rows for shard in shards] == [len(part) for part in rows]
    assert np.array_equal(in_order(np.concatenate(rows)), numbered(900))
    assert max(len(part) for part in rows) * of <= 1.15 * 900


def test_shards_stream_as_they_are_held(tmp_path: Path, mode: str) -> None:
    files = staged(tmp_path, 1000, parts=1, row_group=1000)
    rows = [delivered(PetastormFeed(files, 1000, PROFILES, 64, (r, 3)), 3) for r in range(3)]
    assert [len(part) for part in rows] == [334, 333, 333]
    assert np.array_equal(in_order(np.concatenate(rows)), numbered(1000))


def test_validation_rows_come_whole_in_the_order_they_were_staged(tmp_path: Path) -> None:
    rows = read_rows(staged(tmp_path, 300), 300, PROFILES)
    assert np.array_equal(rows.codes, numbered(300)[:, 1:])
    assert np.array_equal(rows.segment, numbered(300)[:, 0])
    assert rows.profiles is PROFILES


def test_no_rows_at_all_are_no_batches(tmp_path: Path, mode: str) -> None:
    empty = Files((write(tmp_path / "empty.parquet", numbered(0)),), NAMES)
    for files in (empty, Files((), NAMES)):
        assert list(PetastormFeed(files, 0, PROFILES, 64).epoch(1)) == []


@pytest.mark.parametrize("held", [999, 1001])
def test_footers_are_held_against_the_rows_staged(tmp_path: Path, held: int) -> None:
    with pytest.raises(FeedError, match=f"the footers say 1000 rows, {held} were staged"):
        PetastormFeed(staged(tmp_path, 1000), held, PROFILES, 64)


def test_a_reader_that_loses_rows_fails_the_epoch(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ArrowReaderWorker.process

    def lossy(self: Any, piece_index: int, *rest: Any, **named: Any) -> None:
        if piece_index != 4:
            whole(self, piece_index, *rest, **named)

    monkeypatch.setattr(ArrowReaderWorker, "process", lossy)
    with pytest.raises(FeedError, match="read 900 rows of the 1000 due"):
        delivered(PetastormFeed(staged(tmp_path, 1000), 1000, PROFILES, 64), 1)


def test_a_reader_that_repeats_rows_fails_the_epoch(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = ArrowReaderWorker.process

    def twice(self: Any, *arguments: Any, **named: Any) -> None:
        once(self, *arguments, **named)
        once(self, *arguments, **named)

    monkeypatch.setattr(ArrowReaderWorker, "process", twice)
    # The pool that loses nothing still hands on all it was given.
    with pytest.raises(FeedError, match="of the 1000 due"):
        delivered(PetastormFeed(staged(tmp_path, 1000), 1000, PROFILES, 64), 1)


def test_rows_that_change_between_epochs_fail_a_streamed_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "RESIDENT_BYTES", 0)
    feed = PetastormFeed(staged(tmp_path, 400, parts=1), 400, PROFILES, 64)
    assert len(delivered(feed, 1)) == 400
    write(tmp_path / "0.parquet", numbered(350))
    with pytest.raises(FeedError, match="read 350 rows of the 400 due"):
        delivered(feed, 2)


def test_a_slow_queue_of_row_groups_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Petastorm's own use of this pool waits for ever here: the last row group is read before the
    # thread that queued it has noted that it was the last.
    queue = DummyPool.ventilate

    def slowly(self: Any, *arguments: Any, **named: Any) -> None:
        queue(self, *arguments, **named)
        time.sleep(0.2)

    monkeypatch.setattr(DummyPool, "ventilate", slowly)
    assert count_rows(staged(tmp_path, 90, parts=1)) == 90
    assert len(read_rows(staged(tmp_path, 90, parts=1), 90, PROFILES).codes) == 90


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("with space/a=1", "file:///{}"),
        ("100%/é#?;", "file:///{}"),
        ("single slash", "file:/{}"),
    ],
)
def test_names_come_percent_encoded_as_spark_gives_them(
    tmp_path: Path, name: str, url: str
) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    write(folder / "part.parquet", numbered(120))
    path = quote(str(folder / "part.parquet").lstrip("/"))
    feed = PetastormFeed(Files((url.format(path),), NAMES), 120, PROFILES, 64)
    assert np.array_equal(in_order(delivered(feed, 1)), numbered(120))


def test_files_of_another_store_are_read_alike(tmp_path: Path, mode: str) -> None:
    write(tmp_path / "part.parquet", numbered(200))
    memory = fsspec.filesystem("memory")
    memory.pipe("/staged here/part.parquet", (tmp_path / "part.parquet").read_bytes())
    files = Files(("memory://staged%20here/part.parquet",), NAMES)
    feed = PetastormFeed(files, 200, PROFILES, 64)
    assert np.array_equal(in_order(delivered(feed, 1)), numbered(200))


def test_a_folder_is_never_opened_for_what_petastorm_would_unpickle(tmp_path: Path) -> None:
    write(tmp_path / "part.parquet", numbered(10))
    with pytest.raises(OSError, match="directory"):
        PetastormFeed(Files((tmp_path.as_uri(),), NAMES), 10, PROFILES, 64)


def test_nulls_and_wide_integers_are_refused_by_column(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide.parquet", numbered(10), kind="int64")
    with pytest.raises(FeedError, match="column 'segment' came as int64; stage it as INT"):
        PetastormFeed(Files((wide,), NAMES), 10, PROFILES, 64)
    some = pa.table({"segment": pa.array([0], pa.int32()), "token": pa.array([None], pa.int32())})
    pq.write_table(some, tmp_path / "null.parquet")
    url = (tmp_path / "null.parquet").as_uri()
    with pytest.raises(FeedError, match="column 'token' came as (float64|object)"):
        PetastormFeed(Files((url,), ("segment", "token")), 1, PROFILES, 64)


def test_segments_without_a_profile_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="holds 0 to 3, there are profiles of 3 segments"):
        PetastormFeed(staged(tmp_path, 100), 100, PROFILES[:3], 64)
