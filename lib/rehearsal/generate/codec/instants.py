"""Instants as calendar parts: the day, or week and weekday of a long span, and the time of day."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.generate.codec.numeric import MISSING, Codes, Floats, Numeric

DAY = 86_400
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# 1 January 1970, day 0, was a Thursday; week 0 began on the Monday before.
_MONDAY = 3


@dataclass(frozen=True)
class Datetime:
    """An instant in two or three token columns (UTC).

    `date` is (day,) while each day can have a code, else (week, weekday), so that a weekly rhythm
    outlasts bins of many days. Whole seconds; what the parts make together never leaves
    [low, high], the seconds since 1970 that the rows span.
    """

    name: str
    date: tuple[Numeric, ...]
    second: Numeric
    low: int
    high: int

    kind = "datetime"

    @property
    def parts(self) -> tuple[str, ...]:
        """What each token column holds."""
        return (*(("day",) if len(self.date) == 1 else ("week", "weekday")), "time of day")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes per token column."""
        return tuple(numeric.size for numeric in (*self.date, self.second))

    def expressions(self, column: Column) -> list[Column]:
        """Return the INT code columns of a TIMESTAMP column."""
        day, week, weekday, second = calendar_columns(F.unix_seconds(column))
        date = (day,) if len(self.date) == 1 else (week, weekday)
        numerics = (*self.date, self.second)
        return [n.expression(value) for n, value in zip(numerics, (*date, second), strict=True)]

    def encode(self, values: Sequence[Any] | pd.Series) -> Codes:
        """Return codes, shape (n, parts), of UTC timestamps; NaT is missing."""
        day, week, weekday, second = calendar_parts(epoch_seconds(values))
        date = (day,) if len(self.date) == 1 else (week, weekday)
        numerics = (*self.date, self.second)
        codes = [n.encode(value) for n, value in zip(numerics, (*date, second), strict=True)]
        return np.stack(codes, axis=1)

    def decode(self, codes: Codes, rng: np.random.Generator) -> pd.Series:
        """Return timestamps with zone UTC of codes, shape (n, parts); NaT when any is missing."""
        uniform = rng.random((len(self.sizes), len(codes)))
        numerics = (*self.date, self.second)
        *date, second = (
            numeric.decode(codes[:, j], uniform[j]) for j, numeric in enumerate(numerics)
        )
        midnight = DAY * self._inside(date)
        seconds = midnight + second
        # The first and the last day were seen in part: draw again inside that part.
        first, last = np.maximum(midnight, self.low), np.minimum(midnight + DAY - 1, self.high)
        redrawn = first + np.floor(uniform[-1] * (last - first + 1))
        outside = (seconds < self.low) | (seconds > self.high)
        return _stamps(np.where(outside, redrawn, seconds))

    def _inside(self, date: Sequence[Floats]) -> Floats:
        first, last = self.low // DAY, self.high // DAY
        day = date[0] if len(date) == 1 else 7 * date[0] + date[1] - _MONDAY
        # The first and the last week were seen in part: the same weekday of the next one.
        day = day + 7 * ((day < first).astype(np.float64) - (day > last))
        return np.clip(day, first, last)

    def label(self, part: int, code: int) -> str:
        """Return the dates, the weekday or the times of day of a code."""
        if code == MISSING:
            return "missing"
        numeric, what = (*self.date, self.second)[part], self.parts[part]
        codes = np.array([code])
        ends = [_moment(what, float(end[0])) for end in numeric.bounds(codes)]
        return " to ".join(dict.fromkeys(ends))


def calendar_parts(seconds: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return day and week since 1970, weekday (0 is Monday) and second of the day."""
    day = np.floor(seconds / DAY)
    week = np.floor((day + _MONDAY) / 7)
    return day, week, day + _MONDAY - 7 * week, seconds - DAY * day


def calendar_columns(seconds: Column) -> tuple[Column, Column, Column, Column]:
    """Return the DOUBLE columns that `calendar_parts` computes, of a BIGINT column."""
    day = F.floor(seconds / F.lit(DAY))
    week = F.floor((day + F.lit(_MONDAY)) / F.lit(7))
    parts = day, week, day + F.lit(_MONDAY) - week * F.lit(7), seconds - day * F.lit(DAY)
    day, week, weekday, second = (part.cast("double") for part in parts)
    return day, week, weekday, second


def begin_of(part: str, number: float) -> int:
    """Return the second since 1970 at which a day or a week begins."""
    return DAY * int(number if part == "day" else 7 * number - _MONDAY)


def epoch_seconds(values: Sequence[Any] | pd.Series) -> Floats:
    """Return whole seconds since 1970, shape (n,), of UTC timestamps; NaT gives NaN."""
    series = pd.Series(values)
    zoned = isinstance(series.dtype, pd.DatetimeTZDtype)
    micros = series.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else series
    micros = micros.to_numpy(dtype="datetime64[us]")
    seconds = np.floor_divide(micros.astype(np.int64), 1_000_000).astype(np.float64)
    return np.where(np.isnat(micros), np.nan, seconds)


def _stamps(seconds: Floats) -> pd.Series:
    # Microseconds, not pandas' nanoseconds, which end in the year 2262.
    missing = np.isnan(seconds)
    whole = np.where(missing, 0, seconds).astype(np.int64)
    stamps = np.where(missing, np.datetime64("NaT", "us"), (whole * 1_000_000).view("<M8[us]"))
    return pd.Series(stamps).dt.tz_localize("UTC")


def _moment(part: str, value: float) -> str:
    number = int(value)
    if part == "time of day":
        return f"{number // 3600:02d}:{number % 3600 // 60:02d}"
    if part == "weekday":
        return WEEKDAYS[number]
    return str(np.datetime64(begin_of(part, number) // DAY, "D"))
