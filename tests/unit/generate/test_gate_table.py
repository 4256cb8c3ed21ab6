"""Rows of several tables get the same codes."""

import numpy as np
import pandas as pd
import pytest

from rehearsal.errors import ModelError
from rehearsal.generate.gate.table import encode, sample_rows


def test_equal_categories_have_equal_codes_most_frequent_first_and_missing_is_minus_one() -> None:
    real = pd.DataFrame({"c": ["b", "b", "a", None]})
    made = pd.DataFrame({"c": ["b", "z", np.nan]})
    first, second = encode(real, made)
    assert first.codes[:, 0].tolist() == [0, 0, 1, -1]
    assert second.codes[:, 0].tolist() == [0, 2, -1]


def test_booleans_are_the_categories_that_a_codec_decodes_them_to() -> None:
    real, made = encode(
        pd.DataFrame({"c": [True, True, True, False]}), pd.DataFrame({"c": ["False"]})
    )
    assert made.codes[0, 0] == real.codes[3, 0] == 1


def test_instants_are_seconds_whatever_their_zone_and_unit() -> None:
    naive = pd.DataFrame({"t": pd.to_datetime(["1970-01-01 00:01", None])})
    zoned = pd.DataFrame({"t": pd.to_datetime(["1970-01-01 01:01:30+01:00"])})
    far = pd.DataFrame({"t": np.array(["3000-01-01"], dtype="datetime64[us]")})
    tables = encode(naive, zoned, far)
    np.testing.assert_array_equal(tables[0].numbers[:, 0], [60, np.nan])
    assert tables[1].numbers[0, 0] == 90
    assert tables[2].numbers[0, 0] == 32_503_680_000


def test_numbers_that_are_not_finite_are_missing_and_an_empty_column_has_none() -> None:
    real = pd.DataFrame({"x": [1, 2, 3], "y": [1.0, np.inf, np.nan]})
    made = pd.DataFrame({"y": [None, None], "x": [1.5, 2.5]}, dtype=object)
    first, second = encode(real, made)
    assert first.number_names == ("x", "y")
    np.testing.assert_array_equal(first.numbers[:, 1], [1, np.nan, np.nan])
    np.testing.assert_array_equal(second.numbers, [[1.5, np.nan], [2.5, np.nan]])


def test_a_column_that_lacks_or_is_of_another_kind_is_refused_by_name() -> None:
    real = pd.DataFrame({"x": [1.0], "t": pd.to_datetime(["2024-01-01"])})
    with pytest.raises(ModelError, match="no column t, x"):
        encode(real, pd.DataFrame({"y": [1.0]}))
    with pytest.raises(ModelError, match="column 'x' holds numbers in the real rows"):
        encode(real, pd.DataFrame({"x": ["a lot"], "t": real["t"]}))
    with pytest.raises(ModelError, match="column 't' holds instants in the real rows"):
        encode(real, pd.DataFrame({"x": [1.0], "t": ["then"]}))


def test_independent_columns_keep_their_values_and_lose_their_rows() -> None:
    rows = pd.DataFrame({"x": np.arange(200.0), "c": np.arange(200).astype(str)})
    (table,) = encode(rows)
    drawn = table.independent(np.random.default_rng(0))
    assert sorted(drawn.numbers[:, 0]) == sorted(table.numbers[:, 0])
    assert sorted(drawn.codes[:, 0]) == sorted(table.codes[:, 0])
    pairs = set(zip(table.numbers[:, 0], table.codes[:, 0], strict=True))
    kept = sum(pair in pairs for pair in zip(drawn.numbers[:, 0], drawn.codes[:, 0], strict=True))
    assert kept < 10


def test_a_sample_has_no_row_twice() -> None:
    (table,) = encode(pd.DataFrame({"x": np.arange(50.0)}))
    drawn = sample_rows(table, 20, np.random.default_rng(0)).numbers[:, 0]
    assert len(set(drawn)) == len(drawn) == 20
