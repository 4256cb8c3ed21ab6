"""Requests as the few numbers that are counted, before anything is shuffled."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins
from rehearsal.drift.kpis import Kpis, Ratio, names_of, ratios_of
from rehearsal.drift.spread import GRADED, SIDES, Spread
from rehearsal.names import quoted
from rehearsal.settings import Window

_DAY_MICROS = 86_400_000_000


def narrow(
    replays: DataFrame, bins: Bins, window: Window, kpis: Kpis, *, graded: bool
) -> DataFrame:
    """Return (user_id, request_type, window, numbers...) of every replayed request.

    The numbers are, for each output i of `outputs_of`, x{i} and y{i} (what production and
    experimental say; -Infinity where it is missing) and, for classes, b{i} (position of the most
    probable class of production x number of classes + that of experimental) and d{i} (KL in nats
    between the request's two probability vectors). Of a ratio x{i} and y{i} are the numerators,
    u{i} and v{i} the denominators.

    Requests without a user, a type or a time are left out: nothing places them.
    """
    names, ratios = outputs_of(bins, kpis, graded=graded), ratios_of(kpis)
    window_number = window_index(F.col("requested_at"), window).alias("window")
    placed = replays.dropna(subset=["user_id", "request_type", "requested_at"])
    rows = placed.select("user_id", "request_type", window_number, *answers(names, bins, ratios))
    spread = Spread(names, bins.classes, frozenset(ratios))
    return rows.mapInArrow(spread, spread.schema)


def answers(names: Sequence[str], bins: Bins, ratios: Mapping[str, Ratio]) -> list[Column]:
    """Return what `Spread` reads of a replayed request, under the names it knows.

    Args:
        names: the outputs, from `outputs_of`.
        bins: what they are binned by.
        ratios: those of them that are ratios, by name.
    """
    pairs = {name: name for name in names if name not in ("class", *GRADED)}
    for name, ratio in ratios.items():
        pairs |= {name: ratio.numerator, f"per {name}": ratio.denominator}
    columns = [
        _side(of, side).alias(f"{side} {name}") for name, of in pairs.items() for side in SIDES
    ]
    if bins.classes:
        columns += [F.col(f"{side}.probabilities").alias(f"{side} class") for side in SIDES]
    if GRADED[0] in names:
        columns.append(F.col("outcome"))
    return columns


def outputs_of(bins: Bins, kpis: Kpis, *, graded: bool) -> tuple[str, ...]:
    """Return what is counted: the binned outputs, what outcomes add to classes, and KPIs."""
    return (*bins.outputs, *(GRADED if graded and bins.classes else ()), *names_of(kpis))


def window_index(instant: Column, window: Window) -> Column:
    """Return the number of the UTC day, week (from Monday) or month; no session zone enters."""
    day = F.floor(F.unix_micros(instant) / F.lit(_DAY_MICROS)).cast("int")
    if window == "day":
        return day
    if window == "week":
        return F.floor((day + F.lit(3)) / F.lit(7)).cast("int")
    date = F.date_from_unix_date(day)
    return (F.year(date) * 12 + F.month(date) - 1).cast("int")


def window_start(index: Column, window: Window) -> Column:
    """Return the first instant of a window by its number."""
    if window == "month":
        year, month = F.floor(index / 12).cast("int"), (F.pmod(index, F.lit(12)) + 1).cast("int")
        day = F.unix_date(F.make_date(year, month, F.lit(1)))
    else:
        day = index if window == "day" else index * 7 - 3
    return F.timestamp_micros(day.cast("bigint") * F.lit(_DAY_MICROS))


def _side(name: str, side: str) -> Column:
    return F.col(f"{side}.value") if name == "value" else F.col(f"kpis.{quoted(name)}.{side}")
