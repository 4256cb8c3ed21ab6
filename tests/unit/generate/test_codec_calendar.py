"""Instants keep their rhythm: of the day, of the week, and through the year."""

import numpy as np
import pandas as pd
import pytest

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.codec.instants import Datetime, calendar_parts, epoch_seconds
from rehearsal.settings import Generator


def instants(first: str, n_days: int, n: int = 20_000) -> pd.DataFrame:
    """Half at night, few on Saturdays and Sundays, ever more towards the end."""
    rng = np.random.default_rng(9)
    days = pd.date_range(first, periods=n_days)
    weight = np.where(days.weekday >= 5, 0.1, 1.0) * np.linspace(1, 3, n_days)
    day = days[rng.choice(n_days, n, p=weight / weight.sum())]
    second = np.where(rng.random(n) < 0.5, rng.integers(0, 7200, n), rng.integers(0, 86_400, n))
    return pd.DataFrame({"t": day + pd.to_timedelta(second, "s")})


def fit(frame: pd.DataFrame, **settings: int) -> Codec:
    return fit_codec_frame(frame, fields_of(frame, []), Generator(**settings))


@pytest.mark.parametrize("n_days", [28, 400])
@pytest.mark.parametrize("bins", [4, 32])
def test_the_weekly_and_the_daily_rhythm_and_the_trend_outlast_coding(
    n_days: int, bins: int
) -> None:
    frame = instants("2023-01-04", n_days)
    codec = fit(frame, bins=bins)
    back = codec.decode(codec.encode(frame), np.random.default_rng(1))["t"].dt.tz_localize(None)
    shares = [t.dt.weekday.value_counts(normalize=True).sort_index() for t in (frame["t"], back)]
    assert np.abs(shares[0] - shares[1]).max() < 0.01
    nights = [(t.dt.hour < 2).mean() for t in (frame["t"], back)]
    assert nights[0] == pytest.approx(nights[1], abs=0.12 if bins == 4 else 0.02)
    halves = [(t > t.min() + (t.max() - t.min()) / 2).mean() for t in (frame["t"], back)]
    assert halves[0] == pytest.approx(halves[1], abs=0.08 if bins == 4 else 0.02)


def test_a_long_span_has_weeks_and_weekdays_and_a_short_one_days() -> None:
    long = fit(instants("2023-01-04", 400), bins=4)
    assert [long.title(t) for t in long.tokens] == ["t (week)", "t (weekday)", "t (time of day)"]
    # Monday to Sunday, and missing.
    assert long.sizes[1] == 8
    assert [long.label(long.tokens[1], code) for code in (0, 1, 7)] == [
        "missing", "Monday", "Sunday"
    ]  # fmt: skip
    assert long.label(long.tokens[0], 1).startswith("2023-01-02 to ")
    short = fit(instants("2023-01-04", 28))
    assert [short.title(t) for t in short.tokens] == ["t (day)", "t (time of day)"]


def test_calendar_parts_of_known_instants() -> None:
    texts = ["1970-01-01", "1969-12-28 23:59:59", "2024-02-26 00:00:01"]
    stamps = pd.Series(pd.to_datetime(texts, format="ISO8601"))
    day, week, weekday, second = calendar_parts(epoch_seconds(stamps))
    assert day.tolist() == [0, -4, 19_779]
    # Thursday, Sunday, Monday; week 0 is that of 1 January 1970.
    assert weekday.tolist() == [3, 6, 0]
    assert week.tolist() == [0, -1, 2826]
    assert second.tolist() == [0, 86_399, 1]


def test_a_partly_seen_week_gives_no_instants_outside_what_was_seen() -> None:
    frame = instants("2023-01-04", 400)
    codec = fit(frame)
    (column,) = codec.generated
    assert isinstance(column, Datetime)
    rng = np.random.default_rng(2)
    codes = np.stack([rng.integers(1, size, 20_000) for size in codec.sizes], axis=1)
    made = codec.decode(codes, rng)["t"]
    assert made.min() >= pd.Timestamp(column.low, unit="s", tz="UTC")
    assert made.max() <= pd.Timestamp(column.high, unit="s", tz="UTC")
    # A weekday outside moves by a week, so that none piles up on the first or the last day.
    by_day = made.dt.normalize().value_counts().sort_index()
    assert by_day.iloc[0] < 2 * by_day.iloc[:14].median()
    assert by_day.iloc[-1] < 2 * by_day.iloc[-14:].median()
