"""Which rows are trained on: every segment at most once, within every limit, in any order."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.errors import SettingsError
from rehearsal.generate.training.plan import (
    BIN_ROWS,
    CONTEXT,
    Parts,
    Share,
    apportioned,
    pack,
    plan_private,
    plan_shares,
)
from rehearsal.settings import Generator, Private

NAMES = st.sampled_from([f"s{i}" for i in range(30)])
ROWS = st.builds(Parts, st.integers(0, 9_000), st.integers(0, 9_000), st.integers(0, 60_000))
SEGMENTS = st.dictionaries(NAMES, ROWS)
LIMITS = st.builds(
    Generator,
    max_rows=st.sampled_from([100, 5_000, 50_000]),
    context_rows=st.sampled_from([0, 50, 1_000]),
    max_total_rows=st.sampled_from([1_000, 30_000, 300_000]),
)
Counts = dict[tuple[str, str], int]


def counted(**segments: tuple[int, int, int]) -> Counts:
    """Return counts of segments' rows, in the order test, validation, training."""
    names = ("test", "validation", "training")
    return {
        (segment, part): n
        for segment, rows in segments.items()
        for part, n in zip(names, rows, strict=True)
        if n
    }


def by_id(shares: list[Share]) -> dict[str, Share]:
    return {share.segment_id: share for share in shares}


def test_chosen_segments_come_first_and_the_rest_gives_context_without_test_rows() -> None:
    settings = Generator(max_rows=1_000, context_rows=200)
    counts = counted(
        b=(500, 1_000, 3_500), a=(45, 75, 280), d=(15, 15, 60), c=(60, 48, 192), e=(3, 0, 0)
    )
    assert plan_shares(counts, ["b", "a"], settings) == [
        Share("b", 0, 1, Parts(500, 1_000, 3_500), Parts(100, 200, 700)),
        Share("a", 1, 1, Parts(45, 75, 280), Parts(45, 75, 280)),
        Share("c", 2, CONTEXT, Parts(0, 48, 192), Parts(0, 40, 160)),
        Share("d", 3, CONTEXT, Parts(0, 15, 60), Parts(0, 15, 60)),
    ]


def test_above_the_total_chosen_segments_shrink_alike_and_leave_no_room_for_others() -> None:
    settings = Generator(max_total_rows=1_000)
    counts = counted(a=(300, 600, 2_100), b=(100, 200, 700), c=(0, 100, 400))
    found = plan_shares(counts, ["a", "b"], settings)
    assert [(share.segment_id, share.kept) for share in found] == [
        ("a", (75, 150, 525)), ("b", (25, 50, 175)),
    ]  # fmt: skip


def test_what_chosen_segments_leave_is_shared_evenly() -> None:
    settings = Generator(max_total_rows=1_000, context_rows=500)
    counts = counted(a=(100, 100, 500), b=(50, 100, 500), c=(10, 20, 100))
    found = plan_shares(counts, ["a"], settings)
    assert [(share.segment_id, share.n_kept) for share in found] == [
        ("a", 700), ("b", 150), ("c", 120),
    ]  # fmt: skip


def test_a_segment_without_rows_has_no_share() -> None:
    assert plan_shares(counted(c=(9, 0, 0)), ["a", "b"], Generator()) == []


def test_a_chosen_segment_whose_rows_are_all_of_one_part_has_its_place() -> None:
    (share,) = plan_shares(counted(a=(2, 0, 0)), ["a"], Generator())
    assert (share.kept, share.n_learnt, share.n_kept) == ((2, 0, 0), 0, 2)


@given(logged=ROWS, share=st.floats(0, 1))
def test_parts_are_cut_in_proportion_within_a_row(logged: Parts, share: float) -> None:
    n = int(share * sum(logged))
    kept = apportioned(logged, n)
    assert sum(kept) == n
    for had, has in zip(logged, kept, strict=True):
        assert 0 <= has <= had
        assert abs(has - n * had / max(1, sum(logged))) < 1


@given(segments=SEGMENTS, chosen=st.lists(NAMES, unique=True), settings=LIMITS)
def test_limits_hold_and_every_segment_is_there_at_most_once(
    segments: dict[str, Parts], chosen: list[str], settings: Generator
) -> None:
    shares = plan_shares(counted(**segments), chosen, settings)
    found = by_id(shares)
    assert len(found) == len(shares)
    assert [share.position for share in shares] == list(range(len(shares)))
    assert sum(share.n_kept for share in shares) <= settings.max_total_rows
    own = [share for share in shares if share.bin != CONTEXT]
    assert [share.segment_id for share in own] == [s for s in chosen if sum(segments.get(s, ()))]
    for share in shares:
        limit = settings.context_rows if share.bin == CONTEXT else settings.max_rows
        had = segments[share.segment_id]
        assert share.logged == (had if share.bin != CONTEXT else had._replace(test=0))
        assert 0 < share.n_kept <= min(limit, sum(share.logged))


@given(segments=SEGMENTS, chosen=st.lists(NAMES, unique=True), random=st.randoms())
def test_the_order_of_the_counts_tells_nothing(
    segments: dict[str, Parts], chosen: list[str], random: object
) -> None:
    counts = counted(**segments)
    shuffled = list(counts.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    settings = Generator(max_total_rows=40_000)
    assert plan_shares(dict(shuffled), chosen, settings) == plan_shares(counts, chosen, settings)


@given(segments=SEGMENTS, chosen=st.lists(NAMES, unique=True), random=st.randoms())
def test_which_segments_train_together_does_not_depend_on_which_is_worst(
    segments: dict[str, Parts], chosen: list[str], random: object
) -> None:
    counts = counted(**segments)
    # Shares of a total are cut in proportion, so bins too are of the segments alone.
    other = list(chosen)
    random.shuffle(other)  # type: ignore[attr-defined]
    first, second = (by_id(plan_shares(counts, c, Generator())) for c in (chosen, other))
    assert {s: share.bin for s, share in first.items()} == {s: x.bin for s, x in second.items()}


PRIVATE = counted(b=(20, 0, 100), a=(2, 0, 7), gone=(0, 0, 5))


def test_every_known_segment_has_a_private_place_whether_or_not_it_has_rows() -> None:
    shares = plan_private(PRIVATE, ["b"], ["a", "b", "empty"], Generator())
    assert [share.segment_id for share in shares] == ["b", "a", "cold", "empty", "noise"]
    assert [share.position for share in shares] == [0, 1, 2, 3, 4]
    drifting, other, *nobody = shares
    assert (drifting.bin, drifting.kept) == (1, (20, 0, 100))
    assert (other.bin, other.kept) == (CONTEXT, (0, 0, 7))
    assert {share.n_kept for share in nobody} == {0}


@given(segments=SEGMENTS, chosen=st.lists(NAMES, unique=True, min_size=1))
def test_of_private_rows_none_is_left_out(segments: dict[str, Parts], chosen: list[str]) -> None:
    settings = Generator(max_total_rows=10_000_000, max_rows=100, context_rows=0)
    shares = plan_private(counted(**segments), chosen, sorted(segments), settings)
    assert all(share.kept == share.logged for share in shares)
    learnt = sum(share.n_learnt for share in shares)
    assert learnt == sum(sum(rows[1:]) for rows in segments.values())


def test_private_places_do_not_depend_on_any_row() -> None:
    def places(counts: Counts) -> list[tuple[str, int]]:
        shares = plan_private(counts, ["b"], ["a", "b"], Generator())
        return [(share.segment_id, share.position) for share in shares]

    assert places(PRIVATE) == places({}) == places(counted(cold=(0, 0, 1)))


def test_too_many_private_rows_are_refused_not_cut() -> None:
    settings = Generator(max_total_rows=1_000, private=Private(epsilon=1))
    assert plan_private(counted(b=(0, 0, 1_000)), ["b"], [], settings)
    with pytest.raises(SettingsError, match=r"1,001 requests, generator.max_total_rows is 1,000"):
        plan_private(counted(b=(1, 0, 1_000)), ["b"], [], settings)


def test_without_a_drifting_segment_nothing_is_refused() -> None:
    settings = Generator(max_total_rows=1_000, private=Private(epsilon=1))
    assert plan_private(counted(b=(0, 0, 9_999)), [], ["b"], settings)


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
