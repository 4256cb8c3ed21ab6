"""Likeness of columns and pairs of columns, by hand and by scipy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, pearsonr

from rehearsal.generate.gate import shapes
from rehearsal.generate.gate.shapes import column_shapes, pair_trends
from rehearsal.generate.gate.table import encode


def shapes_of(real: dict, synthetic: dict) -> float | None:
    return column_shapes(*encode(pd.DataFrame(real), pd.DataFrame(synthetic)))


def pairs_of(real: dict, synthetic: dict) -> float | None:
    return pair_trends(*encode(pd.DataFrame(real), pd.DataFrame(synthetic)))


def test_numbers_are_alike_by_one_less_scipys_ks_statistic_without_missing_values() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=300).round(1), rng.normal(0.3, 2, size=200).round(1)
    expected = 1 - ks_2samp(real[5:], made[7:]).statistic
    real[:5], made[:7] = np.nan, np.nan
    assert shapes_of({"x": real}, {"x": made}) == pytest.approx(expected, abs=1e-12)


def test_categories_are_alike_by_one_less_half_of_the_differences_of_their_shares() -> None:
    # Shares 3/4, 1/4 and 1/2, 0, 1/2: differences 1/4 + 1/4 + 1/2, half of which is 1/2.
    value = shapes_of({"c": ["a", "a", "a", "b", None]}, {"c": ["a", "a", "z", "z", None, None]})
    assert value == 0.5


def test_two_numbers_are_alike_by_pearsons_r_over_rows_that_have_both() -> None:
    rng = np.random.default_rng(1)
    real = {"x": rng.normal(size=100), "y": rng.normal(size=100)}
    made = {"x": rng.normal(size=80), "y": rng.normal(size=80)}
    made["y"] = made["x"] + made["y"]
    r = pearsonr(real["x"][10:], real["y"][10:])[0], pearsonr(made["x"], made["y"])[0]
    real["x"][:5], real["y"][5:10] = np.nan, np.nan
    assert pairs_of(real, made) == pytest.approx(1 - abs(r[0] - r[1]) / 2, abs=1e-12)


def test_categories_and_missing_ones_are_alike_by_the_shares_of_their_pairs() -> None:
    real = {"c": ["a", "a", "b", None], "d": ["u", "v", "v", "v"]}
    made = {"c": ["a", "b", "b", None], "d": ["u", "u", "v", "v"]}
    # (a, v) is in the real rows only, (b, u) in the others, a quarter each.
    assert pairs_of(real, made) == 0.75


def test_a_number_beside_a_category_is_cut_into_ten_steps_of_the_real_range() -> None:
    real = {"x": [0.0, 10.0, 4.9, np.nan], "c": ["a"] * 4}
    # 4.1 is in the step of 4.9, -3 in that of 0, 55 in that of 10, and 5.1 in one of its own.
    assert pairs_of(real, {"x": [-3.0, 55.0, 4.1, np.nan], "c": ["a"] * 4}) == 1
    assert pairs_of(real, {"x": [-3.0, 55.0, 5.1, np.nan], "c": ["a"] * 4}) == 0.75


def test_what_is_undefined_is_left_out_and_none_where_nothing_is_defined() -> None:
    constant = {"x": [1.0, 1.0], "y": [1.0, 2.0]}
    assert pairs_of(constant, constant) is None
    assert shapes_of({"x": [np.nan], "c": ["a"]}, {"x": [1.0], "c": ["a"]}) == 1
    assert shapes_of({"x": [np.nan]}, {"x": [1.0]}) is None
    assert pairs_of({"x": [1.0]}, {"x": [1.0]}) is None


def test_many_categories_are_counted_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    real, made = (
        {name: rng.integers(0, 40, 500).astype(str) for name in ("c", "d")} for _ in range(2)
    )
    dense = pairs_of(real, made)
    monkeypatch.setattr(shapes, "_MAX_CELLS", 0)
    assert pairs_of(real, made) == pytest.approx(dense, abs=1e-12)


value = st.one_of(st.none(), st.sampled_from(["a", "b", "c"]))
number = st.one_of(st.none(), st.floats(-1e6, 1e6))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(value, value, number, number), min_size=1, max_size=12),
    st.lists(st.tuples(value, value, number, number), min_size=1, max_size=12),
)
def test_scores_are_shares_and_one_for_the_same_rows(real: list, made: list) -> None:
    frames = [
        pd.DataFrame(rows, columns=list("cdxy")).astype({"x": float, "y": float})
        for rows in (real, made)
    ]
    first, second = encode(*frames)
    for score in (column_shapes, pair_trends):
        alike, other = score(first, first), score(first, second)
        assert alike is None or alike == pytest.approx(1)
        assert other is None or -1e-9 <= other <= 1 + 1e-9
