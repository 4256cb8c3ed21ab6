"""Which rows are trained on: every segment at most once, within every limit, in any order."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.generate.training.plan import BIN_ROWS, CONTEXT, Share, pack, plan_shares
from rehearsal.settings import Generator

NAMES = st.sampled_from([f"s{i}" for i in range(30)])
COUNTS = st.dictionaries(NAMES, st.integers(0, 80_000))
LIMITS = st.builds(
    Generator,
    max_rows=st.sampled_from([100, 5_000, 50_000]),
    context_rows=st.sampled_from([0, 50, 1_000]),
    max_total_rows=st.sampled_from([1_000, 30_000, 300_000]),
    test_share=st.sampled_from([0.01, 0.15, 0.39]),
    validation_share=st.sampled_from([0.01, 0.15, 0.39]),
)


def by_id(shares: list[Share]) -> dict[str, Share]:
    return {share.segment_id: share for share in shares}


def test_chosen_segments_come_first_and_the_rest_gives_context() -> None:
    settings = Generator(max_rows=1_000, context_rows=200, test_share=0.1, validation_share=0.2)
    found = plan_shares({"b": 5_000, "a": 400, "d": 90, "c": 300}, ["b", "a"], settings)
    assert found == [
        Share("b", 0, 1, 5_000, 100, 200, 700),
        Share("a", 1, 1, 400, 40, 80, 280),
        Share("c", 2, CONTEXT, 300, 0, 40, 160),
        Share("d", 3, CONTEXT, 90, 0, 18, 72),
    ]


def test_above_the_total_chosen_segments_shrink_alike_and_leave_no_room_for_others() -> None:
    settings = Generator(max_total_rows=1_000)
    found = plan_shares({"a": 3_000, "b": 1_000, "c": 500}, ["a", "b"], settings)
    assert [(share.segment_id, share.n_kept) for share in found] == [("a", 750), ("b", 250)]


def test_what_chosen_segments_leave_is_shared_evenly() -> None:
    settings = Generator(max_total_rows=1_000, context_rows=500)
    found = plan_shares({"a": 700, "b": 600, "c": 120}, ["a"], settings)
    assert [(share.segment_id, share.n_kept) for share in found] == [
        ("a", 700), ("b", 150), ("c", 120),
    ]  # fmt: skip


def test_a_segment_without_rows_has_no_share() -> None:
    assert plan_shares({"a": 0, "c": 0}, ["a", "b"], Generator()) == []


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_segment_of_very_few_rows_holds_one_out_first(n: int) -> None:
    (share,) = plan_shares({"a": n}, ["a"], Generator())
    assert (share.n_test, share.n_validation, share.n_training) == (0, 1, n - 1)


@given(counts=COUNTS, chosen=st.lists(NAMES, unique=True), settings=LIMITS)
def test_limits_hold_and_every_segment_is_there_at_most_once(
    counts: dict[str, int], chosen: list[str], settings: Generator
) -> None:
    shares = plan_shares(counts, chosen, settings)
    found = by_id(shares)
    assert len(found) == len(shares)
    assert [share.position for share in shares] == list(range(len(shares)))
    assert sum(share.n_kept for share in shares) <= settings.max_total_rows
    own = [share for share in shares if share.bin != CONTEXT]
    assert [share.segment_id for share in own] == [s for s in chosen if counts.get(s, 0)]
    for share in shares:
        limit = settings.context_rows if share.bin == CONTEXT else settings.max_rows
        assert 0 < share.n_kept <= min(limit, counts[share.segment_id])
        assert share.n_logged == counts[share.segment_id]
        assert min(share.n_test, share.n_training) >= 0
        assert share.n_validation > 0
        assert share.bin != CONTEXT or share.n_test == 0


@given(counts=COUNTS, chosen=st.lists(NAMES, unique=True), random=st.randoms())
def test_the_order_of_the_counts_tells_nothing(
    counts: dict[str, int], chosen: list[str], random: object
) -> None:
    shuffled = list(counts.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    settings = Generator(max_total_rows=40_000)
    assert plan_shares(dict(shuffled), chosen, settings) == plan_shares(counts, chosen, settings)


@given(counts=COUNTS, chosen=st.lists(NAMES, unique=True), random=st.randoms())
def test_which_segments_train_together_does_not_depend_on_which_is_worst(
    counts: dict[str, int], chosen: list[str], random: object
) -> None:
    # Shares of a total are cut in proportion, so bins too are of the segments alone.
    other = list(chosen)
    random.shuffle(other)  # type: ignore[attr-defined]
    first, second = (by_id(plan_shares(counts, c, Generator())) for c in (chosen, other))
    assert {s: share.bin for s, share in first.items()} == {s: x.bin for s, x in second.items()}


def test_bins_are_filled_with_the_largest_first() -> None:
    sizes = {"a": 20_000, "b": 30_000, "c": 40_000, "d": 10_000, "e": 70_000}
    assert pack(sizes) == {"e": 1, "c": 2, "b": 3, "a": 3, "d": 2}


@given(sizes=st.dictionaries(NAMES, st.integers(1, 80_000)))
def test_a_bin_holds_its_limit_or_one_segment_and_bins_are_few(sizes: dict[str, int]) -> None:
    bins = pack(sizes)
    assert bins.keys() == sizes.keys()
    held = {place: [sizes[s] for s in sizes if bins[s] == place] for place in bins.values()}
    assert sorted(held) == list(range(1, len(held) + 1))
    for own in held.values():
        assert len(own) == 1 or sum(own) <= BIN_ROWS
    # No two bins that each fit in half a bin, or they would be one.
    assert sum(sum(own) <= BIN_ROWS // 2 for own in held.values()) <= 1
    least = math.ceil(sum(min(n, BIN_ROWS) for n in sizes.values()) / BIN_ROWS)
    assert len(held) <= max(1, 2 * least) or not sizes
