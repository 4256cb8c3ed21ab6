"""What the codec's text tells: no value of a row that fewer than `min_count` rows have."""

import json

import numpy as np
import pandas as pd
import pytest
from coded_numbers import fit_numeric
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.settings import Generator

CANARY = 987_654_321.0


def numbers_in(value: object) -> set[float]:
    if isinstance(value, dict):
        return set().union(*map(numbers_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers_in, value))
    return {float(value)} if isinstance(value, int | float) else set()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("shape", ["normal", "few values", "spike"])
def test_a_planted_extreme_value_is_nowhere_in_the_text(sign: float, shape: str) -> None:
    rng = np.random.default_rng(3)
    values = {
        "normal": rng.normal(0, 1, 500),
        "few values": rng.integers(0, 4, 500).astype(float),
        "spike": np.where(rng.random(500) < 0.9, 0.0, rng.normal(0, 1, 500)),
    }[shape]
    values[17] = sign * CANARY
    stamps = pd.Series(pd.date_range("2024-01-01", periods=500, freq="7h"))
    stamps[17] = pd.Timestamp("2024-01-01") + sign * pd.Timedelta(days=9_999, seconds=12_345)
    words = np.array(["often"] * 500, dtype=object)
    words[17] = "canary"
    frame = pd.DataFrame({"x": values, "t": stamps, "w": words})
    codec = fit_codec_frame(frame, fields_of(frame, []), Generator())
    text = codec.to_json()
    assert "canary" not in text
    told = numbers_in(json.loads(text))
    instant = stamps[17].timestamp()
    assert not told & {sign * CANARY, instant, instant // 86_400, (instant // 86_400 + 3) // 7}
    decoded = codec.decode(codec.encode(frame), np.random.default_rng(1))
    assert decoded["x"].abs().max() < 10
    assert decoded["t"].between(pd.Timestamp("2024-01-01", tz="UTC"),
                                pd.Timestamp("2024-06-01", tz="UTC")).all()  # fmt: skip


def test_no_end_of_a_bin_is_the_value_of_a_row() -> None:
    rng = np.random.default_rng(4)
    seconds = 1_700_000_000 + np.sort(rng.integers(0, 10**7, 20_000))
    frame = pd.DataFrame({"x": rng.lognormal(size=20_000), "t": pd.to_datetime(seconds, unit="s")})
    codec = fit_codec_frame(frame, fields_of(frame, []), Generator())
    told = numbers_in(json.loads(codec.to_json()))
    assert len(told) > 70
    assert not told & {*frame["x"], *map(float, seconds)}


@given(st.integers(0, 1000), st.sampled_from([1e-9, 1e-12]))
def test_the_last_digits_of_values_change_nothing(seed: int, share: float) -> None:
    rng = np.random.default_rng(7)
    values = rng.lognormal(0, 2, 2000)
    nudged = values * (1 + share * np.random.default_rng(seed).normal(size=2000))
    assert fit_numeric(nudged, 32, 10) == fit_numeric(values, 32, 10)


def test_values_of_few_rows_are_no_code_and_not_sampled_as_their_middle() -> None:
    salaries = np.linspace(50_001.37, 98_211.91, 12).round(2)
    assert fit_numeric(salaries, 32, 10).size == 1
    frame = pd.DataFrame(
        {"t": pd.Timestamp("2024-01-01 12:34:56") + pd.to_timedelta(salaries, "s")}
    )
    (column,) = fit_codec_frame(frame, fields_of(frame, []), Generator()).generated
    # Enough rows have the day; the second of none is told.
    assert (column.label(0, 1), column.sizes[1]) == ("2024-01-02", 1)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=150), st.integers(1, 8), st.integers(4, 12)
)
def test_the_outer_ends_leave_out_min_count_less_one_rows_or_more_on_either_side(
    values: list[float], min_count: int, bins: int
) -> None:
    numeric = fit_numeric(np.array(values), bins, min_count)
    rest = np.sort([v for v in values if v not in numeric.atoms])
    if not numeric.lows:
        assert len(rest) < 4 * min_count
        return
    assert rest[min_count - 1] <= numeric.lows[0] <= rest[2 * min_count - 1]
    assert rest[-2 * min_count] <= numeric.highs[-1] <= rest[-min_count]


def test_bins_hold_about_as_many_rows_each_but_for_halves_of_halves_at_the_ends() -> None:
    values = np.random.default_rng(5).lognormal(0, 2, 10_000)
    numeric = fit_numeric(values, 32, 10)
    counts = np.bincount(numeric.encode(values))
    # Of 10,000 / 32 rows a bin: an eighth, an eighth, a quarter, a half; less or more at each of
    # its edges by those that a rounder number shares out otherwise, up to min_count / 2.
    end = [39.1, 39.1, 78.1, 156.3]
    assert counts.tolist() == pytest.approx([0, *end, *[312.5] * 30, *end[::-1]], abs=11)


def test_rare_categories_are_pooled_and_the_rarest_forgotten() -> None:
    words = ["a"] * 50 + ["b"] * 40 + ["c"] * 30 + ["d"] * 10 + ["e"] * 9
    frame = pd.DataFrame({"w": words})
    settings = Generator(max_categories=2, min_count=10)
    (column,) = fit_codec_frame(frame, fields_of(frame, []), settings).generated
    assert column.kept == ("a", "b")
    assert column.pooled == (("c", 30), ("d", 10))
