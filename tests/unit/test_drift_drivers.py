"""Sub-populations that drift are found by half of the users and confirmed by the other half."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from breach_world import (
    NUMBER,
    UNIT,
    batch_of,
    found_drivers,
    lattice_cells,
    mean_breach,
    searched,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest, ttest_ind

from rehearsal.drift.attribute import Direction
from rehearsal.drift.breach import Breach, began, window_number
from rehearsal.drift.dimensions import MISSING, OTHER, Dimension, frequent, quantile_edges
from rehearsal.drift.drivers import dense
from rehearsal.drift.drivers_search import Candidate, distinct
from rehearsal.drift.lattice import lattice_of
from rehearsal.drift.random_groups import HALF, contrast

KINDS = ("search", "browse", "pay")
DIMENSIONS = (
    Dimension("request_type", KINDS),
    Dimension("version", ("1", "2")),
    Dimension("amount", edges=(2.0, 4.0), continuous=True),
)


def requests(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {
        "request_type": rng.choice(KINDS, n),
        "version": rng.choice(["1", "2"], n),
        "amount": rng.uniform(0, 6, n),
    }


def test_a_planted_conjunction_is_the_first_driver_and_the_only_one() -> None:
    rng = np.random.default_rng(1)
    features, users = requests(rng, 6000), rng.integers(0, 600, 6000)
    planted = (features["request_type"] == "pay") & (features["version"] == "2")
    scores = planted * 1.0 + rng.normal(0, 1, 6000)
    rows = found_drivers(mean_breach(), DIMENSIONS, batch_of(features, users, scores))
    sure = rows[rows["status"] == "confirmed"]
    named = sure[["dimension_1", "value_1", "dimension_2", "value_2"]].to_numpy().tolist()
    assert named == [["request_type", "pay", "version", "2"]]
    top = rows.iloc[0]
    assert top["rank"] == 1
    assert top["n_requests"] == planted.sum()
    assert top["request_share"] == pytest.approx(planted.mean())
    assert top["contribution"] == pytest.approx(scores[planted].sum())
    assert top["share"] == pytest.approx(scores[planted].sum() / scores.sum())
    assert top["lift"] == pytest.approx(top["share"] / top["request_share"])
    # 5 + 4 + 4 values, those that occur in their 3 + 2 + 3 singles and 6 + 9 + 6 pairs.
    assert top["n_searched"] == 8 + 21


def test_a_single_condition_is_not_split_into_conjunctions_that_add_nothing() -> None:
    rng = np.random.default_rng(2)
    features, users = requests(rng, 6000), rng.integers(0, 600, 6000)
    scores = (features["request_type"] == "pay") + rng.normal(0, 1, 6000)
    rows = found_drivers(mean_breach(), DIMENSIONS, batch_of(features, users, scores))
    sure = rows[rows["status"] == "confirmed"]
    assert sure[["dimension_1", "value_1", "dimension_2"]].to_numpy().tolist() == [
        ["request_type", "pay", None]
    ]


def null_p_values(n_worlds: int) -> Iterator[float]:
    """The first candidate's p-value where all drift alike and users differ from one another.

    The version is the user's, the rest the request's own.
    """
    for seed in range(n_worlds):
        rng = np.random.default_rng(1000 + seed)
        users = rng.integers(0, 200, 2000)
        features = requests(rng, 2000)
        features["version"] = rng.choice(["1", "2"], 200)[users]
        scores = 0.2 + rng.normal(0, 0.7, 200)[users] + rng.normal(0, 1, 2000)
        rows = found_drivers(mean_breach(), DIMENSIONS, batch_of(features, users, scores))
        if len(rows):
            yield float(rows["p_value"].iloc[0])


def test_without_a_driver_the_p_values_of_what_was_searched_for_are_uniform() -> None:
    p = np.array(list(null_p_values(300)))
    assert len(p) > 250
    low, high = binom.ppf([0.001, 0.999], len(p), 0.05)
    assert low <= (p <= 0.05).sum() <= high
    assert kstest(p, "uniform").pvalue > 0.001


def test_users_with_one_request_each_are_tested_as_students_t_would() -> None:
    rng = np.random.default_rng(3)
    group, inside = rng.integers(0, HALF, 4000), rng.random(4000) < 0.3
    scores = rng.normal(0, 1, 4000) + 0.1 * inside
    n, n_part = np.bincount(group, minlength=HALF), np.bincount(group, inside, HALF)
    s, s_part = (np.bincount(group, w, HALF) for w in (scores, scores * inside))
    found = contrast(n_part, s_part, n, s)
    expected = ttest_ind(scores[inside], scores[~inside], equal_var=False)
    assert found.difference == pytest.approx(scores[inside].mean() - scores[~inside].mean())
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.5)


def test_too_few_groups_are_not_tested_and_certainty_is_bounded_by_their_number() -> None:
    ones = np.zeros(HALF)
    ones[:4] = 1
    assert np.isnan(contrast(ones, ones, np.ones(HALF), ones).p_value)
    assert np.isnan(contrast(0 * ones, 0 * ones, np.ones(HALF), ones).difference)
    ones[:10] = 1
    sure = contrast(ones, ones, np.full(HALF, 2.0), ones)
    assert sure.difference == 1
    assert sure.p_value == 2.0**-9
    assert contrast(ones, 0 * ones, np.full(HALF, 2.0), 0 * ones).p_value == 1


@given(st.integers(1, 300), st.integers(0, 2**32))
@settings(max_examples=40)
def test_cells_of_every_pair_of_dimensions_add_to_the_whole_to_the_last_bit(
    n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features, users = requests(rng, n), rng.integers(0, 50, n)
    scores = rng.normal(0, 1, n)
    batch = batch_of(features, users, scores)
    lattice = lattice_of(DIMENSIONS)
    at_once = lattice_cells(mean_breach(), DIMENSIONS, batch)
    split = batch.slice(0, n // 2), batch.slice(n // 2)
    in_two = lattice_cells(mean_breach(), DIMENSIONS, *(b for b in split if b.num_rows))
    pd.testing.assert_frame_equal(at_once, in_two)
    counts, sums = dense(at_once, lattice.width)
    whole = np.rint(scores / UNIT).astype(np.int64)
    for place in range(len(lattice.pairs)):
        assert lattice.pair(counts, place).sum() == n
        assert lattice.pair(sums, place).sum() == whole.sum()
    for d in range(len(DIMENSIONS)):
        assert lattice.single(sums, d)[1].sum() == whole.sum()
        assert lattice.single(sums, d)[0].sum() == 0
    pay = features["request_type"] == "pay"
    high = features["amount"] >= 4
    assert lattice.pair(sums, 1).sum(axis=0)[2, 2] == whole[pay & high].sum()


def test_a_candidate_that_covers_what_one_before_it_covers_is_left_out() -> None:
    # 100 requests scoring 100: candidate 0 has 50 of the score on 10 requests; 1 the same and 2
    # more requests; 2 has 40 on 20 others; bits say who is where.
    candidates = [Candidate(((0, k),), e, 0, 0, 100, 100) for k, e in enumerate((0.4, 0.38, 0.2))]
    patterns = np.array([0b011, 0b010, 0b100, 0])
    n, s = np.array([10, 2, 20, 68]), np.array([50, 0, 40, 10])
    assert distinct(candidates, patterns, n, s) == [0, 2]


def test_one_request_or_outputs_that_never_differ_suggest_nothing() -> None:
    one = {"request_type": np.array(["pay"]), "version": np.array(["1"]), "amount": np.array([1.0])}
    found = searched(mean_breach(), DIMENSIONS, batch_of(one, np.array([1]), np.array([1.0])))
    assert found.candidates == []
    rng = np.random.default_rng(4)
    batch = batch_of(requests(rng, 500), rng.integers(0, 50, 500), np.zeros(500))
    assert searched(mean_breach(), DIMENSIONS, batch).candidates == []
    assert found_drivers(mean_breach(), DIMENSIONS, batch).empty


def test_a_dimension_with_one_value_or_none_at_all_names_nothing() -> None:
    rng = np.random.default_rng(5)
    features, users = requests(rng, 4000), rng.integers(0, 400, 4000)
    features["version"] = np.full(4000, "2")
    features["amount"] = np.full(4000, np.nan)
    scores = (features["request_type"] == "pay") + rng.normal(0, 1, 4000)
    dimensions = (DIMENSIONS[0], Dimension("version", ("2",)), Dimension("amount", continuous=True))
    rows = found_drivers(mean_breach(), dimensions, batch_of(features, users, scores))
    assert set(rows["dimension_1"]) == {"request_type"}
    assert rows["dimension_2"].isna().all()


def test_codes_are_the_frequent_values_the_others_and_the_missing() -> None:
    kind = Dimension("kind", ("a", "b"))
    assert kind.codes(pa.array(["b", "z", None, "a"])).tolist() == [1, 2, 3, 0]
    assert kind.value_names == ("a", "b", OTHER, MISSING)
    amount = Dimension("amount", edges=(2.0, 4.5), continuous=True)
    assert amount.codes(pa.array([2.0, None, 1.9, 9.0, np.nan])).tolist() == [1, 3, 0, 2, 3]
    assert amount.value_names == ("< 2", "2 to < 4.5", ">= 4.5", MISSING)
    nothing = Dimension("amount", continuous=True)
    assert nothing.codes(pa.array([None, None], pa.float64())).tolist() == [1, 1]
    assert nothing.value_names == ("any", MISSING)
    assert kind.codes(pa.array([None], pa.string())).tolist() == [3]


def test_edges_are_the_numbers_their_labels_show_and_a_spike_is_one_edge() -> None:
    assert quantile_edges(np.arange(0, 101.0)) == [20, 40, 60, 80]
    assert quantile_edges(np.full(9, 3.0)) == [3.0]
    assert quantile_edges(np.array([])) == []
    assert quantile_edges(np.array([1 / 3])) == [0.333333]
    assert frequent(pd.Series(["b", "a", "a", "b", "c"])) == ["a", "b", "c"]


def test_a_requests_score_is_what_it_adds_to_the_statistic() -> None:
    numbers = {
        "x0": np.array([0.1, 0.9, 0.1, -np.inf]), "y0": np.array([0.9, 0.1, 0.2, 0.5]),
        "b0": np.array([1, 2, 0, 0]), "d0": np.array([0.3, 0.4, 0.0, np.inf]),
    }  # fmt: skip
    start = pd.Timestamp("2026-03-02")

    def scored(output: str, test: str, metric: str, *, binned: bool, **more: np.ndarray) -> list:
        weights = np.array([-1.0, 2.0]) if test == "distribution" else np.array([10.0])
        direction = Direction("s", output, test, metric, (start,), weights, weights)
        breach = Breach(direction, 0, 0, (0.5,), 2, "week", (), 0.25)
        own = numbers if binned else {name: numbers[name] for name in ("x0", "y0")}
        usable, scores = breach.scores({**own, **more}, np.zeros(4))
        assert usable.tolist() == [True, True, True, False]
        return (scores * 0.25).tolist()

    assert scored("value", "distribution", "psi", binned=False) == [3, -3, 0, 0]
    assert scored("class", "distribution", "psi", binned=True) == [3, -3, 0, 0]
    assert scored("value", "mean", "mean_change", binned=False) == [8, -8, 1, 0]
    assert scored("value", "size", "flip_rate", binned=False) == [1, 1, 0, 0]
    assert scored("value", "size", "mae", binned=False) == [0.75, 0.75, 0, 0]  # .8 and .1, rounded
    assert scored("class", "size", "mean_kl_nats", binned=True) == [0.25, 0.5, 0, 0]


def test_windows_are_numbered_as_replays_are() -> None:
    assert window_number(pd.Timestamp("2026-03-02"), "day") == NUMBER
    assert window_number(pd.Timestamp("2026-03-02"), "week") == (NUMBER + 3) // 7
    assert window_number(pd.Timestamp("1970-01-05"), "week") == 1
    assert window_number(pd.Timestamp("2026-03-01"), "month") == 2026 * 12 + 2


@pytest.mark.parametrize(
    ("test", "start", "latest", "expected"),
    [
        ("mean", 9, 9, 9),
        ("mean", 9, 16, 9),
        ("mean", 2, 2, 2),  # from the first window on, and surely so
        ("mean", 2, 9, 9),  # from the first, or just as well from the second
        ("mean", 23, 23, 16),  # at the latest in its first breach
        ("size", 9, 9, 9),  # as its output does
        ("distribution", 9, 9, 16),  # another test's start says nothing
    ],
)
def test_a_drift_begins_where_its_differences_do(
    test: str, start: int, latest: int, expected: int
) -> None:
    def day(number: int) -> pd.Timestamp:
        return pd.Timestamp(2026, 3, number)

    onsets = pd.DataFrame(
        {
            "segment_id": ["s", "other"], "output": "value", "test": "mean",
            "window_start": [day(start), day(2)], "latest_window_start": [day(latest), day(2)],
        }
    )  # fmt: skip
    one = np.ones(1)
    direction = Direction("s", "value", test, "mae", (day(16), day(23)), one, one)
    assert began(direction, onsets, day(2)) == day(expected)
