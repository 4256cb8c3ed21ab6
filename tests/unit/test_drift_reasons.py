"""Whether inputs, models or outcomes changed: by hand, and where nothing did."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from breach_world import DAY, batch_of, lattice_cells, mean_breach
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from rehearsal.drift.breach import Breach
from rehearsal.drift.cells import Cells, Grid, Stack
from rehearsal.drift.dimensions import Dimension
from rehearsal.drift.layout import N_SUMS, SUMS
from rehearsal.drift.random_groups import GROUPS, shift
from rehearsal.drift.reasons import accuracies, reasons, verdict
from rehearsal.drift.reasons_accuracy import Accuracy, accuracy
from rehearsal.drift.reasons_mix import parts_of_change, parts_of_dimensions
from rehearsal.settings import Drift

DIMENSIONS = (Dimension("request_type", ("search", "pay")), Dimension("version", ("1", "2")))


def counts(*values: float) -> np.ndarray:
    return np.array(values, float)


def test_the_change_splits_into_mix_and_rate_by_hand() -> None:
    # Before: 80 searches of mean 1 and 20 payments of mean 5; after: half and half, of 1 and 6.
    parts = parts_of_change(counts(80, 20), counts(80, 100), counts(50, 50), counts(50, 300))
    # 20 payments are too few for a rate of their own, so they take 6: mix -0.3 * 1 + 0.3 * 6.
    assert parts.mix == pytest.approx(1.5)
    assert parts.rate == pytest.approx(3.5 - 1.8 - 1.5)
    more = parts_of_change(counts(800, 200), counts(800, 1000), counts(50, 50), counts(50, 300))
    assert more.mix == pytest.approx(-0.3 * 1 + 0.3 * 5)
    assert more.rate == pytest.approx(0.5 * (6 - 5))


def test_a_value_that_is_new_brings_its_score_through_the_mix() -> None:
    parts = parts_of_change(counts(100, 0), counts(0, 0), counts(0, 100), counts(0, 300))
    assert (parts.mix, parts.rate) == (3, 0)
    same = parts_of_change(counts(100, 0), counts(0, 0), counts(100, 0), counts(300, 0))
    assert (same.mix, same.rate) == (0, 3)


numbers = st.lists(st.tuples(st.integers(0, 90), st.floats(-9, 9)), min_size=3, max_size=3)


@given(numbers, numbers)
@settings(max_examples=200)
def test_both_parts_add_to_the_change_whatever_is_missing(
    before: list[tuple[int, float]], after: list[tuple[int, float]]
) -> None:
    sides = []
    for span in (before, after):
        n = np.array([max(n, i == 0) for i, (n, _) in enumerate(span)], float)
        sides += [n, n * np.array([mean for _, mean in span])]
    parts = parts_of_change(*sides)
    change = sides[3].sum() / sides[2].sum() - sides[1].sum() / sides[0].sum()
    assert np.isfinite([parts.mix, parts.rate]).all()
    assert parts.mix + parts.rate == pytest.approx(change, abs=1e-9)


def mixes(rng: np.random.Generator, n_users: int) -> np.ndarray:
    """Counts by group and value, (2, GROUPS, 4), of users with habits of their own."""
    habits = rng.dirichlet([2, 1, 0.5, 0.05], n_users)
    drawn = np.stack([rng.multinomial(8, habits) for _ in range(2)])
    groups = rng.integers(0, GROUPS, n_users)
    found = np.zeros((2, GROUPS, 4))
    np.add.at(found, (slice(None), groups), drawn)
    return found


def test_p_values_of_a_mix_that_does_not_change_are_uniform_though_users_have_habits() -> None:
    found = [shift(*mixes(np.random.default_rng(i), 400)) for i in range(300)]
    p = np.array([one.p_value for one in found])
    low, high = binom.ppf([0.001, 0.999], 300, 0.05)
    assert low <= (p <= 0.05).sum() <= high
    assert kstest(p, "uniform").pvalue > 0.001
    assert np.median([one.psi for one in found]) < 0.002  # corrected for noise


def test_a_mix_that_changes_is_seen_and_its_size_is_right() -> None:
    before, after = np.zeros((2, GROUPS, 2))
    before[:], after[:] = (30, 10), (10, 30)
    rng = np.random.default_rng(1)
    noise = rng.integers(-3, 4, GROUPS)
    after += np.stack([noise, -noise], axis=1)
    found = shift(before, after)
    assert found.p_value < 1e-9
    assert found.psi == pytest.approx(2 * 0.5 * np.log(3) * 0.5 * 2, rel=0.05)  # by hand: ln 3


def test_a_value_replaced_by_another_for_everyone_is_certain() -> None:
    before, after = np.zeros((2, GROUPS, 2))
    before[:, 0], after[:, 1] = 5, 5
    found = shift(before, after)
    assert found.js_distance == pytest.approx(1, abs=0.05)
    assert found.p_value == 2.0 ** (1 - GROUPS)


@pytest.mark.parametrize("n", [0, 1])
def test_one_request_or_none_tells_nothing_of_a_mix(n: int) -> None:
    before, after = np.zeros((2, GROUPS, 3))
    before[0, 0] = after[0, 1] = n
    assert np.isnan(shift(before, after).p_value)


def test_a_dimension_with_one_value_has_no_mix_to_change() -> None:
    one = np.zeros((GROUPS, 3))
    one[:, 1] = 9
    found = shift(one, one)
    assert np.isnan(found.p_value)
    assert found.js_distance == 0
    assert parts_of_change(*one[:2], counts(0, 9, 0), counts(0, 5, 0)).mix == 0


def spans(*, rolled_out: bool, drifting: bool) -> tuple[Breach, pd.DataFrame]:
    """Ten days of which the last is in breach: version 2 then, or payments drift then, or both."""
    rng = np.random.default_rng(8)
    n = 12_000
    day, users = rng.integers(0, 10, n), rng.integers(0, 700, n)
    version = np.where((day == 9) & rolled_out, "2", "1")
    kind = rng.choice(["search", "pay"], n, p=[0.7, 0.3])
    apart = (kind == "pay") & (day == 9) & (rolled_out | drifting)
    scores = apart * 2.0 + rng.normal(0, 0.5, n)
    breach = mean_breach(baseline=9)
    batch = batch_of({"request_type": kind, "version": version}, users, scores, day)
    cells = lattice_cells(breach, DIMENSIONS, batch)
    rows = parts_of_dimensions(breach, DIMENSIONS, cells)
    return breach, rows.assign(breach=0)


def no_cells() -> Cells:
    days = pd.DataFrame({"window_start": [DAY + pd.Timedelta(days=i) for i in range(10)]})
    return Cells(Grid((None, "s1"), days), {})


def test_a_rollout_is_inputs_and_names_the_version() -> None:
    breach, mix = spans(rolled_out=True, drifting=False)
    (row,) = reasons(mix, [breach], accuracies([breach], no_cells()), Drift())
    assert (row["verdict"], row["dimension"]) == ("inputs", "version")
    assert row["mix_share"] == pytest.approx(1)
    assert row["baseline_start"] == DAY
    parts = {one[0]: one for one in row["dimensions"]}
    for _, mix_part, rate_part, *_ in row["dimensions"]:
        assert mix_part + rate_part == pytest.approx(row["score_change"])
    assert abs(parts["request_type"][1]) < 0.1 * row["score_change"]
    assert parts["version"][-1] < 1e-6


def test_the_same_requests_answered_apart_are_the_models() -> None:
    breach, mix = spans(rolled_out=False, drifting=True)
    (row,) = reasons(mix, [breach], accuracies([breach], no_cells()), Drift())
    assert (row["verdict"], row["dimension"]) == ("models", None)
    assert row["mix_share"] < 0.1
    assert row["score_change"] == pytest.approx(0.6, abs=0.1)


def test_without_windows_before_the_drift_there_is_no_baseline() -> None:
    _, mix = spans(rolled_out=False, drifting=True)
    few = mix.assign(n_baseline=3)
    for rows in (few, mix.iloc[:0]):
        breach = mean_breach()
        (row,) = reasons(rows, [breach], accuracies([breach], no_cells()), Drift())
        assert row["verdict"] == "no baseline"
        assert row["score_change"] is None
        assert row["dimensions"] is None


STEADY = Accuracy(0.8, 0.8, 0.01, 0.012, 0.9)
SLIPPED = Accuracy(0.8, 0.8, 0.01, 0.09, 1e-9)


@pytest.mark.parametrize(
    ("share", "q", "production", "gap_q", "word"),
    [
        (0.9, 0.001, STEADY, 0.9, "inputs"),
        (0.9, 0.6, STEADY, 0.9, "models"),  # its mix may not have changed at all
        (0.3, 0.001, STEADY, 0.9, "mixed"),
        (0.05, 0.001, STEADY, 0.9, "models"),
        (0.05, 0.001, SLIPPED, 1e-6, "outcomes"),
        (0.9, 0.001, SLIPPED, 1e-6, "mixed"),
        (0.05, 0.001, Accuracy(), float("nan"), "models"),  # no outcomes are known
        (0.05, 0.001, Accuracy(0.8, 0.8, 0.01, 0.02, 1e-9), 1e-6, "models"),  # by a hair
    ],
)
def test_the_verdict_is_what_the_numbers_say(
    share: float, q: float, production: Accuracy, gap_q: float, word: str
) -> None:
    parts = pd.DataFrame(
        {"dimension": ["version", "kind"], "mix_part": [2 * share, 0.0], "q_value": [q, 0.9]}
    )
    found = verdict(2.0, parts, production, gap_q, 0.05)
    assert found.word == word
    assert found.dimension == ("version" if share >= 0.2 and q <= 0.05 else None)


def test_a_drift_as_strong_before_its_first_breach_is_the_models() -> None:
    parts = pd.DataFrame({"dimension": ["kind"], "mix_part": [1.0], "q_value": [0.0]})
    found = verdict(-0.1, parts, STEADY, 0.9, 0.05)
    assert (found.word, found.dimension, found.mix_share) == ("models", None, 0)
    assert "before the first breach" in found.reason


def stack(output: str, rows: list[dict[str, Any]]) -> Stack:
    """A stack of cells given n, the sums of both sides, and so many users with the same each."""
    sums, products, users = np.zeros((len(rows), N_SUMS)), [], []
    for i, row in enumerate(rows):
        for name in ("n", "production"):
            sums[i, SUMS.index(name)] = row[name]
        sums[i, SUMS.index("difference")] = row["experimental"] - row["production"]
        products.append(np.outer(sums[i], sums[i]) / row["users"] + np.diag(row["spread"] * 1.0))
        users.append(row["users"])
    none, no_bins = np.zeros((len(rows), 0, 0)), np.zeros((len(rows), 0))
    sizes = {"n_users": np.array(users, float)}
    return Stack(output, sizes, sums, np.array(products), none, none, no_bins)


def test_confidence_is_rescaled_by_the_hits_of_the_baseline() -> None:
    spread = np.zeros(N_SUMS)
    spread[SUMS.index("production")] = 4.0
    base = {"n": 1000, "users": 100, "spread": spread}
    empty = {"n": 0, "production": 0, "experimental": 0, "users": 1, "spread": 0 * spread}
    # All users, then the segment: confidence 0.8 and hits 0.7 before, confidence 0.9 after.
    confident = [{**base, "production": 800, "experimental": 800},
                 {**base, "production": 900, "experimental": 1000}]  # fmt: skip
    gaps = [{**base, "production": 100, "experimental": 0},
            {**base, "production": 180, "experimental": 300}]  # fmt: skip
    days = pd.DataFrame({"window_start": [DAY, DAY + pd.Timedelta(days=1)]})
    stacks = {
        "class": stack("class", [empty, empty, *confident]),
        "calibration": stack("calibration", [empty, empty, *gaps]),
    }
    cells = Cells(Grid((None, "s1"), days), stacks)
    found = accuracy(cells, "s1", [DAY], [DAY + pd.Timedelta(days=1)])
    production = found["production"]
    assert production.expected == pytest.approx(0.9)
    assert production.estimated == pytest.approx(0.9 * 0.7 / 0.8)
    assert (production.gap_baseline, production.gap) == pytest.approx((0.1, 0.18))
    # The error of a gap is sqrt(4 * 100 / 99) / 1000; the difference 0.08 is 28 of two together.
    assert production.p_value < 1e-50
    assert found["experimental"].estimated == 1
    assert np.isnan(accuracy(cells, "s1", [], [DAY])["production"].estimated)
    del stacks["calibration"]
    assert np.isnan(accuracy(cells, "s1", [DAY], [DAY])["production"].gap)
