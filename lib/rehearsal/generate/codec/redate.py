"""An earlier run's codec on the time of this one."""

from dataclasses import replace

import numpy as np

from rehearsal.generate.codec.columns import TokenSource
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.instants import DAY, Datetime
from rehearsal.generate.codec.numeric import Numeric

WEEK = 7 * DAY
REQUESTED_AT = "requested_at"


def redated(earlier: Codec, now: Codec) -> Codec:
    """Return the earlier codec with its instants moved by whole weeks to where they lie now.

    A generator made of the requests of one span of time is to serve the next: its weekdays and
    times of day are kept, its dates would be told at once, and lie outside the replay. Codes are
    the same ones, and so the generator needs no change.

    How many weeks is what `requested_at` has moved by. An instant that goes with the request, as
    one of shipping does, moves by as many, so that what lies between the two stays; a birthday
    stays where it is. Which of both a column is, its dates now tell: they lie nearer to the moved
    ones or to those as they were, by the middle of the dates that have codes, which outliers do
    not move. A column is moved as a whole or not at all: one that moves at another pace, as the
    first visit of users who are ever more, comes to the nearer of both; and a date that stands
    for "never", long before the others, moves with them. The gate judges what comes of it.

    Args:
        earlier: of the generator.
        now: of this run.
    """
    current = {c.name: c for c in now.generated if isinstance(c, Datetime)}
    weeks = _weeks(earlier, current.get(REQUESTED_AT))
    if not weeks:
        return earlier
    made = tuple(_placed(column, current.get(column.name), weeks) for column in earlier.generated)
    return replace(earlier, generated=made)


def _weeks(earlier: Codec, now: Datetime | None) -> int:
    for column in earlier.generated:
        if now is not None and isinstance(column, Datetime) and column.name == REQUESTED_AT:
            return round((now.low - column.low) / WEEK)
    return 0


def _placed(column: TokenSource, now: Datetime | None, weeks: int) -> TokenSource:
    if not isinstance(column, Datetime) or now is None:
        return column
    apart = _middle_day(now) - _middle_day(column)
    goes_along = abs(apart - 7 * weeks) < abs(apart)
    return _moved(column, now, weeks) if goes_along or column.name == REQUESTED_AT else column


def _middle_day(column: Datetime) -> float:
    """Return the middle of the dates that have codes, in days since 1970; NaN: none has."""
    dates = column.date[0]
    codes = np.arange(1, dates.size)
    if not len(codes):
        return float("nan")
    middle = float(np.median(np.mean(dates.bounds(codes), axis=0)))
    # The Thursday of the week; day 0 was the one of week 0.
    return middle if len(column.date) == 1 else 7 * middle


def _moved(column: Datetime, now: Datetime, weeks: int) -> Datetime:
    by = weeks * (7 if len(column.date) == 1 else 1)
    # Of (week, weekday) only the week moves.
    date = (_shifted(column.date[0], by), *column.date[1:])
    return replace(column, date=date, low=now.low, high=now.high)


def _shifted(numeric: Numeric, by: int) -> Numeric:
    atoms, lows, highs = (
        tuple(end + by for end in ends) for ends in (numeric.atoms, numeric.lows, numeric.highs)
    )
    return replace(numeric, atoms=atoms, lows=lows, highs=highs)
