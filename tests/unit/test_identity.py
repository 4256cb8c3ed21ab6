"""Ids follow the users: who was where decides which new segment is which old one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rehearsal.segments.adapt.identity import Event, Matched, jaccard, match_segments

OLD = ("s1", "s2", "s3")


def matched(overlap: list[list[float]], **more: np.ndarray) -> Matched:
    table = np.array(overlap, dtype=float)
    distance = more.pop("distance", None)
    return match_segments(table, OLD[: len(table)], distance, 4, 1, **more)


def test_jaccard_is_users_in_both_over_users_in_either() -> None:
    assert jaccard(np.array([[6.0, 2], [0, 4]])) == pytest.approx(
        np.array([[6 / 8, 2 / 12], [0, 4 / 6]])
    )


def test_a_segment_survives_under_its_id_wherever_its_number_is_now() -> None:
    found = matched([[5, 95], [80, 20]])
    assert found.new_ids == ("s2", "s1")
    assert found.events == (
        Event("survived", "s1", (), 0.95, 95),
        Event("survived", "s2", (), 0.8, 80),
    )
    assert found.next_number == 4


def test_the_larger_part_of_a_split_keeps_the_id_and_the_other_gets_a_new_one() -> None:
    found = matched([[35, 5, 60], [0, 100, 0]])
    assert found.new_ids == ("s4", "s2", "s1")
    assert found.events[0] == Event("split", "s1", ("s1", "s4"), 0.95, 95)
    assert [event.event for event in found.events] == ["split", "survived"]
    assert found.next_number == 5


def test_the_larger_of_two_merged_segments_passes_on_its_id() -> None:
    found = matched([[50], [70]])
    assert found.new_ids == ("s2",)
    assert found.events == (
        Event("died", "s1", ("s2",), 1.0, 50),
        Event("survived", "s2", (), 1.0, 70),
        Event("merged", "s2", ("s1", "s2"), 1.0, 120),
    )


def test_a_segment_of_users_from_nowhere_or_from_everywhere_is_born() -> None:
    found = matched([[90, 0, 10], [0, 90, 10]], joined=np.array([5.0, 5, 80]))
    assert found.new_ids == ("s1", "s2", "s4")
    assert found.events[-1] == Event("born", "s4", (), 0.0, 100)


def test_a_segment_whose_users_scatter_dies_and_its_id_is_gone() -> None:
    found = matched([[25, 25, 25, 25], [100, 0, 0, 0], [0, 100, 0, 0]])
    assert found.new_ids == ("s2", "s3", "s4", "s5")
    assert Event("died", "s1", (), 0.0, 100) in found.events


def test_a_segment_that_dissolved_into_noise_does_not_survive_in_its_last_users() -> None:
    found = matched([[10.0]], lost=np.array([990.0]))
    assert found.new_ids == ("s4",)
    assert found.events[0] == Event("died", "s1", (), 0.0, 1000)


def test_a_segment_that_triples_by_users_of_others_keeps_its_id() -> None:
    found = matched([[100, 0, 0], [200, 800, 0], [50, 0, 950]])
    assert found.new_ids == ("s1", "s2", "s3")


def test_a_tie_of_overlaps_goes_to_the_nearer_centre() -> None:
    assert matched([[50, 50]], distance=np.array([[2.0, 1.0]])).new_ids == ("s4", "s1")
    assert matched([[50, 50]], distance=np.array([[1.0, 2.0]])).new_ids == ("s1", "s4")


def test_new_ids_go_by_size_and_are_padded_to_the_width() -> None:
    found = match_segments(np.zeros((0, 3)), (), None, 7, 3, joined=np.array([5.0, 90, 20]))
    assert found.new_ids == ("s009", "s007", "s008")
    assert found.next_number == 10


COUNTS = st.integers(1, 5).flatmap(
    lambda news: arrays(np.float64, (3, news), elements=st.integers(0, 60).map(float))
)


@given(COUNTS)
def test_ids_are_unique_and_new_ones_were_never_used(overlap: np.ndarray) -> None:
    found = match_segments(overlap, OLD, None, 4, 1)
    assert len(set(found.new_ids)) == overlap.shape[1]
    fresh = sorted(set(found.new_ids) - set(OLD))
    assert fresh == [f"s{number}" for number in range(4, found.next_number)]


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_order_of_the_new_clusters_permutes_their_ids_and_nothing_else(
    overlap: np.ndarray, random: object
) -> None:
    # Columns alike are one cluster as good as another; hence a distance that tells them apart.
    distance = np.arange(overlap.size, dtype=float).reshape(overlap.shape)
    order = list(range(overlap.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = match_segments(overlap, OLD, distance, 4, 1)
    turned = match_segments(overlap[:, order], OLD, distance[:, order], 4, 1)
    assert turned.new_ids == tuple(found.new_ids[new] for new in order)
    assert turned.events == found.events


@given(COUNTS)
def test_overlaps_and_shares_are_between_0_and_1_and_old_segments_have_one_fate(
    overlap: np.ndarray,
) -> None:
    index = jaccard(overlap)
    assert ((index >= 0) & (index <= 1)).all()
    found = match_segments(overlap, OLD, None, 4, 1)
    assert all(0 <= event.share <= 1 + 1e-12 for event in found.events)
    fates = [e for e in found.events if e.event in {"survived", "split", "died"}]
    assert tuple(event.segment_id for event in fates) == OLD
    dead = {event.segment_id for event in fates if event.event == "died"}
    assert not dead & set(found.new_ids)


@given(COUNTS)
def test_matching_a_fit_with_itself_changes_no_id(overlap: np.ndarray) -> None:
    sizes = overlap.sum(axis=1) + 1
    assert match_segments(np.diag(sizes), OLD, None, 4, 1).new_ids == OLD
