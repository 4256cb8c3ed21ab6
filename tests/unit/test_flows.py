"""A flow between segments is unusual if it is larger than earlier runs differ by."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from rehearsal.segments.adapt.flows import migration_rows
from rehearsal.settings import Migration

WORTH = {"s1": 10.0, "s2": 42.0, "s3": 11.0}
Flows = dict[tuple[str | None, str | None], int]


def table(flows: Flows, **more: int) -> pd.DataFrame:
    rows = [(before, after, n) for (before, after), n in flows.items()]
    return pd.DataFrame(rows, columns=["from_segment_id", "to_segment_id", "n_users"]).assign(
        **more
    )


def judged(now: Flows, *earlier: Flows, **more: object) -> pd.DataFrame:
    runs = [table(flows, run_id=run) for run, flows in enumerate(earlier)]
    history = pd.concat(runs) if runs else table({}).assign(run_id=pd.Series(dtype=int))
    worth, limits = more.pop("worth", WORTH), Migration(**more.pop("limits", {}))
    return migration_rows(table(now), history, worth, limits, **more)


def row(rows: pd.DataFrame, before: str | None, after: str | None) -> pd.Series:
    def there(name: str, value: str | None) -> pd.Series:
        return rows[name].isna() if value is None else rows[name] == value

    found = rows[there("from_segment_id", before) & there("to_segment_id", after)]
    return found.iloc[0]


def steady(moving: int) -> Flows:
    return {("s1", "s1"): 1000 - moving, ("s1", "s2"): moving, ("s2", "s2"): 500}


def test_shares_are_of_the_segment_before_and_the_usual_one_pools_earlier_runs() -> None:
    flow = row(judged(steady(37), steady(8), steady(16)), "s1", "s2")
    assert flow["from_share"] == pytest.approx(0.037)
    assert flow["expected_share"] == pytest.approx(24 / 2000)


def test_without_spread_the_p_value_is_the_predictive_one_of_all_earlier_users() -> None:
    flow = row(judged(steady(14), steady(10), steady(10)), "s1", "s2")
    assert flow["p_value"] == pytest.approx(betabinom.sf(13, 1000, 20.5, 1980.5))


def test_the_p_value_allows_for_what_runs_differ_by() -> None:
    # X2 of (10, 90) and (30, 70) against 20% is 12.5 on one degree of freedom.
    def flows(moving: int) -> Flows:
        return {("s1", "s1"): 100 - moving, ("s1", "s2"): moving, ("s2", "s2"): 9}

    flow = row(judged(flows(35), flows(10), flows(30)), "s1", "s2")
    rho = 11.5 / 99
    held = 1 / (rho / 2 + 1 / 200)
    share, weight = (0.2 * held + 0.5) / (held + 1), 1 / (rho + 1 / (held + 2)) - 1
    expected = betabinom.sf(34, 100, share * weight, (1 - share) * weight)
    assert flow["p_value"] == pytest.approx(expected)
    assert flow["status"] == "usual"


def test_a_flow_three_times_the_usual_is_unusual_and_says_what_it_is_worth() -> None:
    flow = row(judged(steady(37), steady(12), steady(12)), "s1", "s2")
    assert (flow["status"], flow["direction"]) == ("unusual", "up")
    assert flow["reason"] == "37 users, 3.1 x the usual 1.2%, into a segment worth 4.2 x as much"


def test_a_flow_never_seen_between_known_segments_is_unusual() -> None:
    earlier = {("s1", "s1"): 1000, ("s2", "s2"): 500}
    flow = row(judged(steady(30), earlier, earlier, worth={}), "s1", "s2")
    assert (flow["status"], flow["expected_share"]) == ("unusual", 0)
    assert flow["reason"] == "30 users, where there were none before"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min_users": 50}, "37 users, 3.1 x the usual 1.2%: below min_users (50)"),
        ({"times_expected": 4}, "37 users, 3.1 x the usual 1.2%: below 4 x the usual"),
    ],
)
def test_a_significant_flow_that_is_too_small_is_usual(limits: dict, reason: str) -> None:
    flow = row(judged(steady(37), steady(12), steady(12), limits=limits), "s1", "s2")
    assert flow["q_value"] < 0.05
    assert (flow["status"], flow["reason"]) == ("usual", reason)


def test_a_flow_within_chance_is_usual() -> None:
    flow = row(judged(steady(25), steady(12), steady(24)), "s1", "s2")
    assert flow["status"] == "usual"
    assert "within what runs differ by" in flow["reason"]


def test_one_earlier_run_or_a_segment_that_was_not_there_is_no_history() -> None:
    one = row(judged(steady(37), steady(12)), "s1", "s2")
    assert (one["status"], one["direction"]) == ("no_history", "up")
    assert np.isnan([one["expected_share"], one["p_value"], one["q_value"]]).all()
    now = {**steady(12), ("s1", "s9"): 400}
    new = row(judged(now, steady(12), steady(12)), "s1", "s9")
    assert (new["status"], new["direction"]) == ("no_history", None)


def test_a_first_run_has_no_history() -> None:
    rows = judged(steady(37))
    assert set(rows["status"]) == {"no_history"}


def test_a_run_that_refitted_the_segments_tests_nothing() -> None:
    flow = row(judged(steady(370), steady(12), steady(12), refitted=True), "s1", "s2")
    assert (flow["status"], flow["reason"]) == (
        "no_history",
        "370 users; the segments were fitted anew",
    )


def test_users_who_stay_are_never_unusual() -> None:
    flow = row(judged(steady(0), steady(300), steady(300)), "s1", "s1")
    assert flow["status"] == "usual"
    assert np.isnan(flow["p_value"])


def test_users_who_come_or_go_count_as_flows_of_their_own() -> None:
    def flows(gone: int, new: int) -> Flows:
        return {("s1", "s1"): 900, ("s1", None): gone, (None, "s1"): new, (None, "s2"): 50}

    rows = judged(flows(100, 50), flows(10, 50), flows(12, 50))
    gone = row(rows, "s1", None)
    assert gone["status"] == "unusual"
    assert gone["from_share"] == pytest.approx(0.1)
    assert gone["direction"] is None
    assert row(rows, None, "s1")["from_share"] == pytest.approx(0.5)
    assert row(rows, None, "s1")["status"] == "usual"


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        (10, 20, "up"), (10, 19, "level"), (20, 10, "down"), (0, 5, "up"), (0, 0, "level"),
        (-5, 5, "up"), (-10, -5, "up"), (-5, -10, "down"), (-5, -6, "level"), (np.nan, 5, None),
    ],
)  # fmt: skip
def test_direction_is_up_or_down_where_worth_differs_by_the_jump(
    before: float, after: float, direction: str | None
) -> None:
    rows = judged(steady(5), worth={"s1": before, "s2": after})
    assert row(rows, "s1", "s2")["direction"] == direction


def test_other_columns_are_kept_and_no_helper_is_left() -> None:
    now = table(steady(5)).assign(value_before=1.0)
    rows = migration_rows(now, table(steady(5), run_id=1), WORTH, Migration())
    assert list(rows.columns) == [
        "from_segment_id", "to_segment_id", "n_users", "value_before", "from_share",
        "expected_share", "p_value", "q_value", "direction", "status", "reason",
    ]  # fmt: skip


FLOWS = st.dictionaries(
    st.tuples(st.sampled_from(["s1", "s2", None]), st.sampled_from(["s1", "s2", "s3", None])),
    st.integers(1, 200),
    min_size=1,
)


@settings(max_examples=40)
@given(FLOWS, st.lists(FLOWS, max_size=4))
def test_shares_add_up_and_probabilities_are_probabilities(now: Flows, earlier: list) -> None:
    rows = judged(now, *earlier)
    assert len(rows) == len(now)
    sums = rows.groupby("from_segment_id", dropna=False)["from_share"].sum()
    assert sums.to_numpy() == pytest.approx(np.ones(len(sums)))
    tested = rows.dropna(subset="p_value")
    assert tested["p_value"].between(0, 1).all()
    assert (tested["q_value"] >= tested["p_value"]).all()
    assert (rows["status"] == "no_history").equals(rows["expected_share"].isna())


def test_alarms_are_rare_where_runs_differ_by_more_than_luck() -> None:
    random = np.random.default_rng(1)
    segments = [f"s{number}" for number in range(8)]
    usual = np.full((8, 8), 0.01) + np.eye(8) * 0.92

    def run() -> Flows:
        # Shares of a run vary about the usual ones as if 1,000 users decided for all 3,000.
        drawn = [random.multinomial(3000, random.dirichlet(1000 * shares)) for shares in usual]
        return {
            (before, after): int(n)
            for before, flows in zip(segments, drawn, strict=True)
            for after, n in zip(segments, flows, strict=True)
        }

    earlier = [run() for _ in range(5)]
    calm = [judged(run(), *earlier) for _ in range(10)]
    p_values = pd.concat(calm)["p_value"].dropna()
    assert (p_values < 0.05).mean() < 0.08
    assert sum((rows["status"] == "unusual").any() for rows in calm) <= 1
    planted = run()
    planted["s0", "s1"] += 300
    assert row(judged(planted, *earlier), "s0", "s1")["status"] == "unusual"
