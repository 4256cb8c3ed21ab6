"""Telling rows apart, and training on synthetic rows for real ones."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from rehearsal.generate.gate.c2st import c2st
from rehearsal.generate.gate.measured import Measured, auc
from rehearsal.generate.gate.shapes import column_shapes
from rehearsal.generate.gate.table import Table, encode
from rehearsal.generate.gate.utility import Utility, tstr


def world(n: int, seed: int) -> pd.DataFrame:
    """A number and a category that follow another category, with missing values."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    number = group + rng.normal(0, 0.4, n)
    number[rng.random(n) < 0.05] = np.nan
    other = np.where(rng.random(n) < 0.8, group, rng.integers(0, 3, n)).astype(str).astype(object)
    other[rng.random(n) < 0.05] = None
    return pd.DataFrame({"group": group.astype(str).astype(object), "x": number, "other": other})


def independent(table: Table) -> Table:
    return table.independent(np.random.default_rng(0))


def test_the_area_is_sklearns_and_its_error_that_of_fresh_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(400):
        positive = np.arange(90) < 30
        scores = (rng.normal(size=90) + positive).round(1)
        drawn.append(auc(scores, positive))
    assert drawn[-1].value == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    spread = np.std([area.value for area in drawn])
    assert np.mean([area.error for area in drawn]) == pytest.approx(spread, rel=0.15)


def test_rows_of_one_distribution_are_told_apart_no_better_than_by_chance() -> None:
    found = [c2st(*encode(world(120, 2 * i), world(120, 2 * i + 1)), seed=i) for i in range(8)]
    excess = [(one.value - 0.5) / one.error for one in found if one is not None]
    # Of a normal draw cut at 0: 0.4 on average, and above 3 in one of 90 sets of eight.
    assert len(excess) == 8
    assert np.mean(excess) < 0.4 + 3 * 0.58 / np.sqrt(8)
    assert max(excess) < 3


def test_independent_columns_are_told_apart_although_each_is_perfect() -> None:
    (real,) = encode(world(600, 1))
    measured = c2st(real, independent(real), seed=1)
    assert column_shapes(real, independent(real)) == 1
    assert measured is not None
    assert measured.value > 0.8


def test_a_missing_value_more_or_less_is_seen() -> None:
    real, made = world(400, 1), world(400, 2)
    measured = c2st(*encode(real, made.assign(x=made["x"].fillna(1.0))), seed=1)
    assert measured is not None
    assert measured.value > 0.52
    gone = c2st(*encode(real, made.assign(x=np.nan)), seed=1)
    assert gone is not None
    assert gone.value > 0.95


def test_more_categories_than_trees_take_are_pooled() -> None:
    names = pd.DataFrame({"c": np.arange(1_000).astype(str)})
    measured = c2st(*encode(names, names), seed=1)
    assert measured is not None
    assert measured.value < 0.6


def test_too_few_rows_or_no_column_give_no_area() -> None:
    few, many = encode(world(9, 1), world(100, 2))
    assert c2st(few, many, seed=1) is None
    empty = pd.DataFrame(index=range(50))
    assert c2st(*encode(empty, empty), seed=1) is None


def test_real_rows_are_as_useful_as_real_rows_and_independent_ones_useless() -> None:
    training, test, fresh = encode(world(600, 1), world(300, 2), world(600, 3))
    for target in ("group", "x"):
        good = tstr(training, test, fresh, target, seed=1)
        bad = tstr(training, test, independent(training), target, seed=1)
        assert good is not None
        assert bad is not None
        assert good.ratio is not None
        assert bad.ratio is not None
        assert good.ratio.value == pytest.approx(1, abs=0.15)
        assert abs(bad.ratio.value) < 0.3


def test_the_ratio_counts_from_chance_and_is_undefined_at_it() -> None:
    assert Utility(Measured(0.7, 0.03), Measured(0.9, 0.04)).ratio == Measured(
        pytest.approx(0.5), pytest.approx(0.05 / 0.4)
    )
    assert Utility(Measured(0.7, 0.0), Measured(0.54, 0.0)).ratio is None
    assert Utility(Measured(0.7, 0.0), Measured(0.6, 0.06)).ratio is None


def test_a_number_is_scored_by_the_error_left_of_the_medians() -> None:
    # Leaves have 20 rows: of 20 rows the trees predict the median, 1, for all; the test rows miss
    # it by 2 and 0 in turns, and their own median, 2, by 1. Twice that is the mean of both, 1 / 2.
    training = pd.DataFrame({"y": [1.0] * 20, "z": 0.0})
    test = pd.DataFrame({"y": [1.0, 3.0] * 10, "z": 0.0})
    made = tstr(*encode(training, test, training), "y", seed=1)
    assert made is not None
    assert made.tstr.value == pytest.approx(0.5)
    assert made.tstr.error == pytest.approx(0.5 / np.sqrt(20))


def test_a_class_that_synthetic_rows_lack_is_predicted_by_chance() -> None:
    training, test = world(300, 1), world(300, 2)
    one = training.assign(group="0")
    made = tstr(*encode(training, test, one), "group", seed=1)
    assert made is not None
    assert made.tstr.value == 0.5
    assert made.trtr.value > 0.9


def test_utility_is_undefined_without_a_second_class_or_value_or_enough_rows() -> None:
    training, test = world(100, 1), world(100, 2)
    constant = test.assign(group="0", x=1.0)
    for target in ("group", "x"):
        assert tstr(*encode(training, constant, training), target, seed=1) is None
        untold = test.assign(**{target: test[target].where(np.arange(100) < 19)})
        assert tstr(*encode(training, untold, training), target, seed=1) is None
