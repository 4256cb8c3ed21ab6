"""A user moves when another segment is clearly nearer, or is so again and again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.segments.adapt.settle import Settled, settle


def one(
    nearest: str,
    nearest_squared: float,
    current: str | None,
    current_squared: float,
    pending: str | None = None,
    runs: int = 0,
    patience: int = 3,
) -> tuple[str, str | None, int]:
    def ids(value: str | None) -> np.ndarray:
        return np.array([value], dtype=object)

    found = settle(
        ids(nearest), np.array([nearest_squared]), ids(current), np.array([current_squared]),
        ids(pending), np.array([runs]), hysteresis=0.2, patience=patience,
    )  # fmt: skip
    return found.segment_id[0], found.pending_id[0], int(found.pending_runs[0])


def test_a_user_moves_at_once_only_if_the_other_segment_is_a_fifth_nearer() -> None:
    assert one("s2", 7.9, "s1", 10.0) == ("s2", None, 0)
    assert one("s2", 8.0, "s1", 10.0) == ("s1", "s2", 1)


def test_the_same_other_segment_for_three_runs_in_a_row_moves_the_user() -> None:
    assert one("s2", 9.0, "s1", 10.0, "s2", 1) == ("s1", "s2", 2)
    assert one("s2", 9.0, "s1", 10.0, "s2", 2) == ("s2", None, 0)


def test_another_pending_segment_starts_the_count_again_and_coming_home_ends_it() -> None:
    assert one("s3", 9.0, "s1", 10.0, "s2", 2) == ("s1", "s3", 1)
    assert one("s1", 9.0, "s1", 9.0, "s2", 2) == ("s1", None, 0)


def test_a_patience_of_one_run_is_no_hysteresis() -> None:
    assert one("s2", 9.9, "s1", 10.0, patience=1) == ("s2", None, 0)


@pytest.mark.parametrize("before", [None, "cold", "noise", "s9"])
def test_who_has_no_segment_that_still_exists_takes_the_nearest_at_once(before: str | None) -> None:
    assert one("s2", 9.9, before, np.nan) == ("s2", None, 0)


def test_who_has_no_history_any_more_is_cold_at_once() -> None:
    assert one("cold", np.nan, "s1", np.nan) == ("cold", None, 0)


IDS = st.sampled_from(["s1", "s2", "s3"])
USERS = st.lists(
    st.tuples(IDS, IDS, IDS, st.floats(0, 9), st.floats(0, 9), st.integers(0, 2)),
    min_size=1, max_size=30,
)  # fmt: skip


def run(users: list[tuple], before: Settled) -> Settled:
    nearest = np.array([user[0] for user in users], dtype=object)
    near = np.array([user[3] for user in users])
    squared = np.where(nearest == before.segment_id, near, near + [user[4] for user in users])
    return settle(
        nearest, near, before.segment_id, squared, before.pending_id, before.pending_runs, 0.2, 3
    )


def start(users: list[tuple]) -> Settled:
    runs = np.array([user[5] for user in users])
    pending = np.where(runs > 0, np.array([user[2] for user in users], dtype=object), None)
    return Settled(np.array([user[1] for user in users], dtype=object), pending, runs)


@given(USERS)
def test_who_is_nearest_to_the_own_segment_stays_and_nothing_is_pending(users: list[tuple]) -> None:
    there = Settled(
        np.array([user[0] for user in users], dtype=object),
        start(users).pending_id,
        start(users).pending_runs,
    )
    found = run(users, there)
    assert (found.segment_id == there.segment_id).all()
    assert not found.pending_runs.any()
    assert all(pending is None for pending in found.pending_id)


@given(USERS)
def test_where_nothing_changes_all_are_at_the_nearest_after_patience_runs(
    users: list[tuple],
) -> None:
    found = start(users)
    for _ in range(3):
        found = run(users, found)
    assert list(found.segment_id) == [user[0] for user in users]
    again = run(users, found)
    assert (again.segment_id == found.segment_id).all()


@given(USERS)
def test_a_user_is_in_its_old_segment_or_the_nearest_and_pends_only_for_the_latter(
    users: list[tuple],
) -> None:
    before = start(users)
    found = run(users, before)
    for user, old, new, pending, runs in zip(
        users, before.segment_id, found.segment_id, found.pending_id, found.pending_runs,
        strict=True,
    ):  # fmt: skip
        assert new in {old, user[0]}
        assert pending == (user[0] if new != user[0] else None)
        assert (runs > 0) == (pending is not None)
        assert runs < 3
