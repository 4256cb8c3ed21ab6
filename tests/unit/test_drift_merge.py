"""Partial rows of many bins: they travel in small pieces and come together again."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from rehearsal.drift.layout import Layout, Output, pack, pieces_of
from rehearsal.drift.merge import Merge
from rehearsal.drift.tally import PARTIAL, Tally

K, N, DAYS, PARTS = 30, 6000, 3, 4
LAYOUT = Layout((Output("value", K), Output("revenue")))
EDGES = tuple(np.linspace(0, 1, K + 1)[1:-1])


def requests(rng: np.random.Generator, part: int) -> pa.RecordBatch:
    """Requests of users who are in this part alone, each of one of two segments."""
    x = rng.random(N)
    y = np.clip(x + rng.normal(0, 0.1, N), 0, 1)
    user = rng.integers(0, 500, N)
    return pa.RecordBatch.from_pydict(
        {
            "segment_id": pa.array(np.where(user % 2, "s1", "s2")),
            "request_type": pa.array(rng.choice(["pay", "search"], N)),
            "window": pa.array(rng.integers(0, DAYS, N).astype(np.int32)),
            "user": pa.array(user + part * 1000),
            "x0": x, "y0": y, "x1": 10 * x, "y1": 10 * y,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def placed() -> list[pa.Table]:
    rng = np.random.default_rng(41)
    return [pa.Table.from_batches([requests(rng, part)]) for part in range(PARTS)]


@pytest.fixture(scope="module")
def partial(placed: list[pa.Table]) -> pa.Table:
    """What all parts give, in the order that `drift_counts` sorts it into."""
    tally = Tally(LAYOUT, EDGES)
    found = [batch for part, one in enumerate(placed) for batch in tally.sums(one, part)]
    keys = ("segment_id", "window", "request_type", "piece", "part")
    return pa.Table.from_batches(found).sort_by([(name, "ascending") for name in keys])


def merged(batches: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> pa.Table:
    found = pa.Table.from_batches(list(Merge(LAYOUT)(batches)))
    keys = ("segment_id", "window", "request_type", "output")
    return found.sort_by([(name, "ascending") for name in keys])


def test_no_row_on_its_way_is_larger_than_a_piece(partial: pa.Table) -> None:
    assert partial.column_names == [field.split(" ")[0] for field in PARTIAL.split(", ")]
    largest = max(len(row.as_py()) for row in partial["sums"])
    n, each = pieces_of(LAYOUT.cell_width)
    assert n > 5
    assert largest == 8 * each <= 4000
    assert pieces_of(499) == (1, 499)
    assert pieces_of(501) == (2, 251)


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_rows_come_together_the_same_however_they_arrive(partial: pa.Table, rows: int) -> None:
    whole, cut = (partial.combine_chunks().to_batches(size) for size in (len(partial), rows))
    assert len(whole) == 1
    assert merged(cut).equals(merged(whole))


@pytest.mark.parametrize("cells", [1, 4])
def test_sums_are_the_same_however_many_cells_are_summed_at_once(
    placed: list[pa.Table], cells: int
) -> None:
    keys = [(name, "ascending") for name in ("segment_id", "window", "request_type", "piece")]
    whole, cut = (
        pa.Table.from_batches(Tally(LAYOUT, EDGES, numbers).sums(placed[0], 0)).sort_by(keys)
        for numbers in (10**9, cells * LAYOUT.cell_width)
    )
    assert len(whole) > 2 * DAYS
    assert cut.equals(whole)


def test_counts_of_many_bins_are_those_of_the_requests(
    placed: list[pa.Table], partial: pa.Table
) -> None:
    table = pa.concat_tables(placed).to_pandas()
    own = table[(table["segment_id"] == "s1") & (table["window"] == 1)]
    p, e = (np.searchsorted(EDGES, own[name], "right") for name in ("x0", "y0"))
    users, at = np.unique(own["user"], return_inverse=True)
    by_user = np.zeros((len(users), 2 * K))
    np.add.at(by_user, (at, p), 1)
    np.add.at(by_user, (at, K + e), 1)
    joint = np.bincount(p * K + e, minlength=K * K)

    rows = merged(partial.to_batches()).to_pandas()
    here = rows[(rows["segment_id"] == "s1") & (rows["window"] == 1) & rows["request_type"].isna()]
    value, revenue = (here[here["output"] == name].iloc[0] for name in ("value", "revenue"))
    assert value["joint_bins"].tolist() == joint.tolist()
    assert value["user_bins"].tolist() == pack(by_user.T @ by_user).tolist()
    assert value["n_users"] == len(users)
    assert revenue["sum_difference"] == pytest.approx((own["y1"] - own["x1"]).sum())
    types = rows[(rows["segment_id"] == "s1") & (rows["window"] == 1) & rows["request_type"].notna()
                 & (rows["output"] == "value")]  # fmt: skip
    assert (
        np.sum(types["production_bins"].tolist(), axis=0).tolist()
        == np.bincount(p, minlength=K).tolist()
    )
