"""Tables one would rather not get: constant, empty, tiny, infinite, of many categories, changed."""

import numpy as np
import pandas as pd
import pytest

from rehearsal.errors import ModelError
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.settings import Generator


def fit(frame: pd.DataFrame, **settings: int) -> Codec:
    return fit_codec_frame(frame, fields_of(frame, []), Generator(**settings))


def there_and_back(frame: pd.DataFrame, **settings: int) -> pd.DataFrame:
    codec = Codec.from_json(fit(frame, **settings).to_json())
    return codec.decode(codec.encode(frame), np.random.default_rng(1))


def test_constant_columns_come_back_exactly() -> None:
    frame = pd.DataFrame(
        {
            "x": [2.5] * 30, "w": ["only"] * 30, "b": [True] * 30,
            "t": pd.to_datetime(["2024-02-29 12:30:05"] * 30, utc=True),
        }
    )  # fmt: skip
    assert there_and_back(frame).equals(frame.astype({"t": "datetime64[us, UTC]"}))


def test_columns_without_any_value_come_back_without_any() -> None:
    frame = pd.DataFrame(
        {"x": [np.nan] * 30, "w": [None] * 30, "t": pd.to_datetime([None] * 30, utc=True)}
    )
    codec = fit(frame)
    assert codec.sizes == (1, 2, 1, 1)
    assert (codec.encode(frame) == 0).all()
    assert there_and_back(frame).isna().all(axis=None)


def test_of_three_rows_nothing_is_told() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "w": ["a", "b", "c"]})
    frame["t"] = pd.date_range("2024-01-01", periods=3)
    assert there_and_back(frame).isna().all(axis=None)
    assert there_and_back(frame, min_count=1)["x"].tolist() == [1.0, 2.0, 3.0]


def test_an_empty_table_has_a_codec() -> None:
    frame = pd.DataFrame({"x": np.zeros(0), "w": np.zeros(0, dtype=object)})
    codec = fit(frame)
    assert codec.encode(frame).shape == (0, 2)
    assert codec.decode(np.zeros((0, 2), dtype=np.int64), np.random.default_rng(1)).empty


def test_a_category_seen_once_is_coded_as_other_and_decoded_as_a_frequent_one() -> None:
    frame = pd.DataFrame({"w": ["a"] * 40 + ["once"]})
    codec = fit(frame)
    assert codec.label(codec.tokens[0], codec.encode(frame)[-1, 0]) == "other"
    assert set(there_and_back(frame)["w"]) == {"a"}


def test_infinity_takes_the_code_of_the_nearest_end_and_comes_back_finite() -> None:
    values = np.append(np.random.default_rng(2).normal(0, 1, 400), [np.inf] * 30 + [-np.inf] * 30)
    frame = pd.DataFrame({"x": values})
    codec = fit(frame, bins=8)
    codes = codec.encode(frame)[:, 0]
    assert set(codes[400:430]) == {codec.sizes[0] - 1}
    assert set(codes[430:]) == {1}
    assert np.isfinite(there_and_back(frame)["x"]).all()
    spike = pd.DataFrame({"x": [1.0] * 40 + [9.0] * 40 + [np.inf, -np.inf]})
    assert there_and_back(spike)["x"].tolist()[-2:] == [9.0, 1.0]
    assert there_and_back(pd.DataFrame({"x": [np.inf] * 40}))["x"].isna().all()


def test_ten_thousand_categories_have_a_bounded_number_of_codes() -> None:
    rng = np.random.default_rng(4)
    words = np.array([f"item {number}" for number in range(10_000)], dtype=object)
    often = np.minimum(rng.zipf(1.2, 60_000) - 1, 9_999)
    frame = pd.DataFrame({"w": words[np.append(often, np.arange(10_000))]})
    codec = fit(frame)
    assert codec.sizes == (102,)
    assert len(codec.to_json()) < 60_000
    made = there_and_back(frame)["w"]
    counts = frame["w"].value_counts()
    assert (counts[made.unique()] >= 10).all()
    pooled = frame["w"].map(counts).between(10, counts.iloc[100])
    assert made[pooled].nunique() > 300


def test_integers_and_booleans_come_back_as_such() -> None:
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(
        {
            "n": rng.integers(0, 1000, 500), "yes": rng.random(500) < 0.3,
            "maybe": pd.Series(np.where(rng.random(500) < 0.5, True, None), dtype=object),
            "nullable": pd.array([1, None] * 250, dtype="Int64"),
        }
    )  # fmt: skip
    back = there_and_back(frame)
    assert (back["n"] == back["n"].round()).all()
    assert back["yes"].dtype == bool
    assert back["yes"].equals(frame["yes"])
    assert back["maybe"].isna().equals(frame["maybe"].isna())
    assert back["maybe"].dropna().all()
    assert back["nullable"].isna().tolist() == [False, True] * 250


def test_missing_values_come_back_missing_in_every_kind() -> None:
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"x": rng.normal(size=400), "w": rng.choice(["a", "b"], 400)})
    frame["t"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, 400), "s")
    frame["w"] = frame["w"].astype(object)
    gone = rng.random(frame.shape) < 0.2
    frame = frame.mask(gone)
    assert np.array_equal(there_and_back(frame).isna().to_numpy(), gone)


def test_columns_that_only_newer_tables_have_are_passed_over() -> None:
    frame = pd.DataFrame({"x": np.arange(50.0), "w": ["a"] * 50})
    codec = fit(frame)
    assert np.array_equal(codec.encode(frame.assign(new=1.0)), codec.encode(frame))


def test_a_column_that_a_table_lacks_is_named() -> None:
    frame = pd.DataFrame({"x": np.arange(50.0), "w": ["a"] * 50})
    codec = fit_codec_frame(frame, fields_of(frame, ["w"]), Generator())
    with pytest.raises(ModelError, match="the table has no column 'x'.*it has w;"):
        codec.encode(frame[["w"]])
    with pytest.raises(ModelError, match="no column 'w'"):
        codec.encode_conditions(frame[["x"]])
    with pytest.raises(ModelError, match="no column 'w', 'x'.*it has none"):
        codec.require([])


def test_huge_numbers_do_not_overflow() -> None:
    values = np.random.default_rng(8).uniform(-1, 1, 200) * 1.7e308
    made = there_and_back(pd.DataFrame({"x": values}), bins=4)["x"]
    assert np.isfinite(made).all()
