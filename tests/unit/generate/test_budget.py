"""Budgets add up exactly and go to the types that bring the drift."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.generate.sampling.budget import Cell, largest_remainders, most_drifting, plan_budget
from rehearsal.settings import Augment

weights = st.dictionaries(st.text(max_size=4), st.floats(1e-9, 1e9), min_size=1, max_size=20)


def contributions(*rows: tuple[str, str, str, int, float]) -> pd.DataFrame:
    names = ["segment_id", "output", "request_type", "n_requests", "share"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(contribution=frame["share"], statistic=10.0, test="distribution",
                        size_metric="kl_nats")  # fmt: skip


@given(st.integers(0, 10**7), weights)
def test_largest_remainders_add_up_and_stray_less_than_one(
    total: int, shares: dict[str, float]
) -> None:
    parts = largest_remainders(total, shares)
    assert sum(parts.values()) == total
    whole = sum(shares.values())
    for key, part in parts.items():
        assert abs(part - total * shares[key] / whole) < 1 + 1e-6 * total


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["s1", "s2", "s3"]),
            st.sampled_from(["value", "class"]),
            st.sampled_from(list("abcdefgh")),
            st.integers(0, 5000),
            st.floats(-1, 1),
        ),
        unique_by=lambda row: row[:3],
    ),
    st.floats(0.01, 20),
    st.integers(1, 5000),
    st.integers(1, 4),
)
def test_the_whole_budget_is_planned_within_its_caps(
    rows: list[tuple[str, str, str, int, float]], share: float, cap: int, types: int
) -> None:
    settings = Augment(synthetic_share=share, max_synthetic=cap, max_request_types=types)
    frame = contributions(*rows)
    cells = plan_budget(frame, settings)
    assert sum(cell.n for cell in cells) <= cap
    assert all(cell.n > 0 for cell in cells)
    asked = 0
    for segment, own in frame.groupby("segment_id"):
        assert sum(cell.segment_id == segment for cell in cells) <= types
        if (own.groupby("request_type")["share"].sum() > 0).any():
            asked += round(share * own.groupby("output")["n_requests"].sum().max())
    assert sum(cell.n for cell in cells) == min(cap, asked)


def test_a_budget_splits_by_share_averaged_over_outputs_and_skips_negative_types() -> None:
    frame = contributions(
        ("s1", "value", "a", 60, 0.9),
        ("s1", "value", "b", 30, 0.3),
        ("s1", "value", "c", 10, -0.2),
        ("s1", "class", "a", 60, 0.3),
        ("s1", "class", "b", 40, 0.7),
    )
    settings = Augment(synthetic_share=0.5, max_request_types=5)
    # Means .6, .5 and -.1; half of 100 logged requests.
    assert plan_budget(frame, settings) == [Cell("s1", "a", 27), Cell("s1", "b", 23)]


def test_only_the_top_types_are_targeted_and_no_drift_gives_no_cells() -> None:
    frame = contributions(("s1", "value", "a", 50, 0.7), ("s1", "value", "b", 50, 0.3))
    settings = Augment(synthetic_share=1.0, max_request_types=1)
    assert plan_budget(frame, settings) == [Cell("s1", "a", 100)]
    assert plan_budget(frame.iloc[:0], settings) == []
    assert most_drifting(frame.iloc[:0], 3) == []


def test_the_most_drifting_segments_come_first_and_ties_go_by_name() -> None:
    frame = contributions(
        ("s1", "value", "a", 1, 1.0), ("s2", "value", "a", 1, 1.0), ("s3", "value", "a", 1, 1.0)
    )
    frame["statistic"] = [5.0, 50.0, 5.0]
    assert most_drifting(frame, 2) == ["s2", "s1"]


def test_metrics_of_one_test_have_one_voice_and_all_users_none() -> None:
    frame = contributions(
        ("s1", "value", "a", 60, 1.0),
        ("s1", "value", "a", 60, 0.4),
        ("s1", "value", "b", 40, 0.6),
        ("s1", "value", "a", 60, 0.1),
        ("s1", "value", "b", 40, 0.9),
    )
    frame["test"] = ["distribution", *["size"] * 4]
    frame["size_metric"] = ["kl_nats", "mse", "mse", "mae", "mae"]
    everyone = frame.assign(segment_id=None, share=frame["share"] * 2)
    both = pd.concat([frame, everyone], ignore_index=True)
    settings = Augment(synthetic_share=1.0, max_request_types=5)
    # Sizes .25 and .75, the distribution 1 and 0.
    assert plan_budget(both, settings) == [Cell("s1", "a", 63), Cell("s1", "b", 37)]
    assert most_drifting(both, 3) == ["s1"]
    assert plan_budget(everyone, settings) == most_drifting(everyone, 3) == []
