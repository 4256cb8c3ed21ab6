"""Requests in packets of their users' parts: the same sums however they are cut and sent."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rehearsal.drift import by_user
from rehearsal.drift.by_user import ByUser
from rehearsal.drift.layout import Layout, Output
from rehearsal.drift.merge import Merge
from rehearsal.drift.tally import Tally
from rehearsal.tables.schemas import COLD

N = 5_000
KEYS = (4, 7, 11)
LAYOUT = Layout((Output("value", 3), Output("missing"), Output("ratio", 0, is_ratio=True)))
_RNG = np.random.default_rng(0)
USERS = _RNG.integers(-(2**63), 2**63 - 1, 300)
SEGMENTS = pa.RecordBatch.from_pydict(
    {"user": USERS[:200], "segment_id": _RNG.choice(["s1", "s2", None], 200).tolist()}
)


def requests() -> dict[str, np.ndarray]:
    """Of users with and without a segment, before 1970 too, some without an answer."""
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=(N, 8))
    numbers[:50, 0], numbers[50:90, 5] = -np.inf, np.nan
    numbers[:, 2:4] = rng.integers(0, 2, (N, 2))
    names = ("x0", "y0", "x1", "y1", "x2", "y2", "u2", "v2")
    return {
        "user": USERS[rng.integers(0, 300, N)],
        "request_type": rng.choice(["a", "b", "c"], N),
        "window": rng.integers(-9, 4, N).astype(np.int32),
    } | {name: numbers[:, place] for place, name in enumerate(names)}


def sums(
    keys: tuple[int, ...] = KEYS, seed: int = 0, cut: int = 1_000, with_segments: bool = True
) -> list[dict[str, Any]]:
    """Rows of counts of the requests in some order, in batches of `cut` rows."""
    rng = np.random.default_rng(seed)
    order, columns = rng.permutation(N), requests()
    batches = [
        pa.RecordBatch.from_pydict(
            {name: pa.array(values[order[at : at + cut]]) for name, values in columns.items()}
        )
        for at in range(0, N, cut)
    ]
    packets = list(ByUser(keys)(batches))
    packets += list(ByUser(keys)([SEGMENTS])) if with_segments else []
    held = pa.Table.from_batches(packets)
    sent = held.take(pa.array(rng.permutation(len(held)))).sort_by("part")
    partial = pa.Table.from_batches(list(Tally(LAYOUT, (-0.5, 0.5))(sent.to_batches(7))))
    by = ("segment_id", "window", "request_type", "piece", "part")
    ordered = partial.sort_by([(name, "ascending") for name in by]).combine_chunks()
    merged = pa.Table.from_batches(list(Merge(LAYOUT)(ordered.to_batches(50))))
    rows: list[dict[str, Any]] = merged.sort_by(
        [(name, "ascending") for name in (*by[:3], "output")]
    ).to_pylist()
    return rows


@pytest.fixture
def small_packets(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda rows: monkeypatch.setattr(by_user, "_ROWS_AT_ONCE", rows)


def test_sums_are_the_same_to_the_last_bit_however_rows_are_sent(
    small_packets: Callable[[int], None],
) -> None:
    first = sums()
    assert repr(sums(seed=1, cut=333)) == repr(first)
    small_packets(700)
    assert repr(sums(seed=2, cut=5_000)) == repr(first)


def test_every_request_is_counted_where_its_user_is() -> None:
    columns = requests()
    segment = dict(zip(SEGMENTS["user"].to_pylist(), SEGMENTS["segment_id"].to_pylist(),
                       strict=True))  # fmt: skip
    placed = [segment.get(user) or COLD for user in columns["user"].tolist()]
    whole = [row for row in sums() if row["output"] == "value" and row["request_type"] is None]
    for name in {COLD, "s1", "s2"}:
        assert sum(r["n_requests"] for r in whole if r["segment_id"] == name) == placed.count(name)
    assert {row["segment_id"] for row in sums(with_segments=False)} == {COLD}


@pytest.mark.parametrize("keys", [(0,), (4, 7, 4), tuple(range(70_000))])
def test_parts_that_share_a_number_or_are_many_count_the_same(keys: tuple[int, ...]) -> None:
    names = ("n_requests", "n_users", "n_flips", "sum_difference", "user_sums", "fourth_bins")
    for one, other in zip(sums(keys), sums(), strict=True):
        for name in names:
            if one[name] is None:
                assert other[name] is None
            else:
                assert np.asarray(one[name]) == pytest.approx(np.asarray(other[name]), abs=1e-9)
