"""Codes and back: every kind of column, what is rare, missing, or was never seen."""

import numpy as np
import pandas as pd
import pytest
from coded_numbers import fit_numeric
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rehearsal.generate.codec.columns import Categorical, Continuous
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.codec.instants import Datetime, epoch_seconds
from rehearsal.generate.codec.numeric import MISSING, Numeric
from rehearsal.generate.codec.tally import decimals_of
from rehearsal.settings import Generator

floats = st.floats(-1e12, 1e12, allow_nan=False) | st.just(float("nan"))
wholes = st.integers(-50, 50).map(float) | st.just(float("nan"))
prices = st.integers(-3000, 3000).map(lambda cents: cents / 100) | st.just(float("nan"))
samples = st.one_of(st.lists(kind, max_size=200) for kind in (floats, wholes, prices))


def draws(n: int) -> np.ndarray:
    return np.random.default_rng(7).random(n)


@given(samples, st.integers(2, 12), st.integers(1, 8))
def test_every_code_decodes_into_the_seen_range_and_encodes_to_itself(
    sample: list[float], bins: int, min_count: int
) -> None:
    values = np.array(sample, dtype=np.float64)
    numeric = fit_numeric(values, bins, min_count)
    codes = np.repeat(np.arange(numeric.size), 20)
    decoded = numeric.decode(codes, draws(len(codes)))
    assert np.isnan(decoded[codes == MISSING]).all()
    given_codes = codes[codes != MISSING]
    given_values = decoded[codes != MISSING]
    assert np.array_equal(numeric.encode(given_values), given_codes)
    if len(given_values):
        assert given_values.min() >= np.nanmin(values)
        assert given_values.max() <= np.nanmax(values)


@given(samples, st.integers(2, 12), st.integers(1, 8))
def test_codes_are_bounded_and_each_has_min_count_rows(
    sample: list[float], bins: int, min_count: int
) -> None:
    values = np.array(sample, dtype=np.float64)
    numeric = fit_numeric(values, bins, min_count)
    assert len(numeric.atoms) <= 8 * bins
    # The outermost two are in four parts each.
    assert len(numeric.lows) <= bins + 6
    counts = np.bincount(numeric.encode(values), minlength=numeric.size)
    seen = int((~np.isnan(values)).sum())
    assert counts[MISSING] == (len(values) - seen if numeric.size > 1 else len(values))
    assert numeric.size > 1 or seen < 12 * min_count
    assert (counts[1:] >= min_count).all()


@pytest.mark.parametrize(("values", "decimals"), [(wholes, 0), (prices, 2)])
@given(data=st.data(), bins=st.integers(2, 12))
def test_no_value_has_more_decimals_than_those_seen(
    values: st.SearchStrategy[float], decimals: int, data: st.DataObject, bins: int
) -> None:
    sample = data.draw(st.lists(values, max_size=200))
    numeric = fit_numeric(np.array(sample, dtype=np.float64), bins, 1)
    codes = np.repeat(np.arange(numeric.size), 10)
    decoded = numeric.decode(codes, draws(len(codes)))
    kept = decoded[~np.isnan(decoded)]
    assert kept.tolist() == [round(value, decimals) for value in kept]


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([3.0, -2.0, 0.0], 0), ([0.1, 0.2, 3.0], 1), ([4.35, 1e9], 2), ([0.1 + 0.2], None),
        ([1e-6], 6), ([1e-7], None), ([float(1 << 53)], None), ([1e300, 1.0], None), ([], None),
    ],
)  # fmt: skip
def test_decimals_are_those_a_number_is_written_with(
    values: list[float], decimals: int | None
) -> None:
    assert decimals_of(np.array(values)) == decimals


def test_a_frequent_value_is_an_atom_and_is_decoded_exactly() -> None:
    values = np.concatenate([np.zeros(500), np.random.default_rng(1).normal(10, 1, 500)])
    numeric = fit_numeric(values, 8, 5)
    assert numeric.atoms == (0.0,)
    assert len(numeric.lows) == 8 + 4  # an eighth of a bin is too few rows for one of its own
    assert numeric.decode(np.array([1, 1]), np.array([0.1, 0.9])).tolist() == [0.0, 0.0]


def test_a_spike_among_many_values_is_an_atom_from_an_eighth_of_a_bin_on() -> None:
    # 320 rows in 4 bins of 80: ten rows are an eighth of a bin, nine are not.
    rest = np.random.default_rng(1).normal(0, 1, 301)
    values = np.concatenate([rest, np.full(10, 3.5), np.full(9, 4.5)])
    assert fit_numeric(values, 4, 5).atoms == (3.5,)


def test_few_distinct_values_are_all_atoms_and_rare_ones_are_not_given_away() -> None:
    values = np.array([1.0] * 90 + [2.0] * 30 + [777.0])
    numeric = fit_numeric(values, 32, 5)
    assert numeric.atoms == (1.0, 2.0)
    assert numeric.lows == ()
    assert numeric.encode(np.array([777.0, -3.0])).tolist() == [2, 1]
    assert numeric.encode(np.array([1.5])).tolist() == [1]


def test_whole_values_between_atoms_skip_the_atoms() -> None:
    numeric = Numeric(atoms=(5.0, 7.0), lows=(4.0,), highs=(8.0,), decimals=0)
    uniform = np.linspace(0, 0.999, 50)
    assert set(numeric.decode(np.full(50, 3), uniform)) == {4.0, 6.0, 8.0}


def test_prices_are_counted_in_cents() -> None:
    numeric = Numeric(atoms=(4.35,), lows=(4.33,), highs=(4.37,), decimals=2)
    uniform = np.linspace(0, 0.999, 50)
    assert set(numeric.decode(np.full(50, 2), uniform)) == {4.33, 4.34, 4.36, 4.37}


def test_infinity_falls_into_the_end_bins_and_an_all_missing_column_has_one_code() -> None:
    numeric = fit_numeric(np.append(np.arange(1.0, 25.0), np.inf), 2, 2)
    # The second highest is 23 and the fourth 21: the roundest nearest to the middle is 22.
    assert (numeric.lows, numeric.highs) == ((3, 7, 13, 19), (6, 12, 18, 22))
    assert numeric.encode(np.array([np.inf, -np.inf])).tolist() == [4, 1]
    empty = fit_numeric(np.array([np.nan]), 4, 1)
    assert empty.size == 1
    assert empty.encode(np.array([3.0, np.nan])).tolist() == [MISSING, MISSING]


def test_other_decodes_to_pooled_categories_in_proportion_to_their_counts() -> None:
    column = Categorical("c", ("a", "b"), (100, 50), (("x", 30), ("y", 10)))
    codes = np.full((4000, 1), 1)
    drawn = column.decode(codes, np.random.default_rng(3))
    assert drawn.value_counts(normalize=True).to_dict() == pytest.approx(
        {"x": 0.75, "y": 0.25}, abs=0.03
    )


def test_other_without_a_pool_decodes_to_kept_categories_and_else_to_null() -> None:
    codes = np.full((200, 1), 1)
    kept = Categorical("c", ("a", "b"), (3, 1), ())
    assert set(kept.decode(codes, np.random.default_rng(3))) == {"a", "b"}
    none = Categorical("c", (), (), ())
    assert none.decode(codes, np.random.default_rng(3)).isna().all()


@given(st.lists(st.sampled_from(["a", "b", "never seen"]) | st.none(), max_size=50))
def test_kept_categories_and_missing_come_back_as_they_were(values: list[str | None]) -> None:
    column = Categorical("c", ("a", "b"), (9, 9), (("x", 5),))
    back = column.decode(column.encode(values), np.random.default_rng(1))
    expected = ["x" if value == "never seen" else value for value in values]
    assert back.tolist() == expected


stamps = st.datetimes(
    pd.Timestamp("1890-01-01").to_pydatetime(), pd.Timestamp("9998-12-31").to_pydatetime()
)


def fit_datetime(values: pd.Series, bins: int, min_count: int) -> Datetime:
    frame = pd.DataFrame({"t": values})
    settings = Generator(bins=bins, min_count=min_count)
    (column,) = fit_codec_frame(frame, fields_of(frame, []), settings).generated
    assert isinstance(column, Datetime)
    return column


@given(st.lists(stamps, min_size=4, max_size=60), st.integers(4, 8), st.integers(1, 4))
def test_instants_stay_in_the_seen_range_and_on_their_date_codes(
    values: list[object], bins: int, min_count: int
) -> None:
    series = pd.Series(np.array(values, dtype="datetime64[us]"))
    column = fit_datetime(series, bins, min_count)
    codes = column.encode(series)
    back = column.decode(codes, np.random.default_rng(5))
    told = (codes > MISSING).all(axis=1)
    assert np.array_equal(back.notna(), told)
    seconds = epoch_seconds(back[told])
    assert (seconds >= column.low).all()
    assert (seconds <= column.high).all()
    if len(column.date) == 1:
        assert np.array_equal(column.encode(back)[told, 0], codes[told, 0])


def test_dates_without_time_stay_without_time_and_missing_stays_missing() -> None:
    days = pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02", None, "2024-01-03"] * 20))
    column = fit_datetime(days, 8, 2)
    back = column.decode(column.encode(days), np.random.default_rng(5))
    assert back.isna().tolist() == days.isna().tolist()
    assert (epoch_seconds(back.dropna()) % 86_400 == 0).all()
    assert back.dropna().dt.tz_localize(None).tolist() == days.dropna().tolist()
    assert column.label(0, 1) == "2024-01-01"
    assert column.label(1, 1) == "00:00"


def make_codec() -> Codec:
    numeric = fit_numeric(np.arange(100.0), 8, 5)
    stamps = pd.Series(pd.date_range("2024-01-01", periods=50, freq="3h"))
    return Codec(
        (Categorical("request_type", ("x", "y"), (5, 5), ()), Continuous("age", numeric)),
        (
            Categorical("colour", ("blue", "red"), (60, 40), (("green", 7),)),
            Continuous("price", fit_numeric(np.linspace(0, 1, 200), 8, 5)),
            fit_datetime(stamps, 8, 2),
        ),
    )


def test_the_codec_comes_back_from_its_text_and_owns_one_layout() -> None:
    codec = make_codec()
    assert Codec.from_json(codec.to_json()) == codec
    tokens = codec.tokens
    assert [t.column for t in tokens] == ["request_type", "age", "colour", "price", "t", "t"]
    assert [t.condition for t in tokens] == [True, True, False, False, False, False]
    assert codec.title(tokens[-1]) == "t (time of day)"
    assert codec.label(tokens[2], 2) == "blue"
    assert codec.label(tokens[2], 1) == "other"
    assert " to " in codec.label(tokens[3], 2)


@given(arrays(np.float64, (20, 6), elements=st.floats(0, 0.999)))
def test_any_codes_decode_and_all_but_other_and_time_encode_back(uniform: np.ndarray) -> None:
    codec = make_codec()
    codes = np.floor(uniform * np.array(codec.sizes)).astype(np.int64)
    frame = codec.decode(codes, np.random.default_rng(2))
    assert frame.columns.tolist() == ["colour", "price", "t"]
    frame["request_type"], frame["age"] = "x", 3.0
    back = codec.encode(frame)
    assert np.array_equal(back[:, 2:4], codes[:, 2:4])
    assert np.array_equal(codec.encode_conditions(frame), back[:, :2])
