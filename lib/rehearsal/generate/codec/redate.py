"""An earlier run's codec on the time of this one."""

from dataclasses import replace

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.instants import DAY, Datetime
from rehearsal.generate.codec.numeric import Numeric

WEEK = 7 * DAY
REQUESTED_AT = "requested_at"


def redated(earlier: Codec, now: Codec) -> Codec:
    """Return the earlier codec with `requested_at` moved by whole weeks to where it lies now.

    A generator made of the requests of one span of time is to serve the next: its weekdays and
    times of day are kept, its dates would be told at once, and lie outside the replay. Codes are
    the same ones, and so the generator needs no change. Other instants stay as they are.

    Args:
        earlier: of the generator.
        now: of this run.
    """
    current = _requested_at(now)
    made = tuple(
        _moved(column, current)
        if isinstance(column, Datetime) and column.name == REQUESTED_AT and current is not None
        else column
        for column in earlier.generated
    )
    return replace(earlier, generated=made)


def _requested_at(codec: Codec) -> Datetime | None:
    found = [c for c in codec.generated if isinstance(c, Datetime) and c.name == REQUESTED_AT]
    return found[0] if found else None


def _moved(column: Datetime, now: Datetime) -> Datetime:
    weeks = round((now.low - column.low) / WEEK)
    if not weeks:
        return column
    by = weeks * (7 if len(column.date) == 1 else 1)
    # Of (week, weekday) only the week moves.
    date = (_shifted(column.date[0], by), *column.date[1:])
    return replace(column, date=date, low=now.low, high=now.high)


def _shifted(numeric: Numeric, by: int) -> Numeric:
    atoms, lows, highs = (
        tuple(end + by for end in ends) for ends in (numeric.atoms, numeric.lows, numeric.highs)
    )
    return replace(numeric, atoms=atoms, lows=lows, highs=highs)
