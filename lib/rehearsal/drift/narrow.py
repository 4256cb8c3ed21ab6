"""Requests as what workers read of them, before anything is shuffled."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins
from rehearsal.drift.kpis import Kpis, Ratio, names_of
from rehearsal.drift.spread import GRADED, MISSING, SIDES
from rehearsal.names import quoted
from rehearsal.settings import Window

_DAY_MICROS = 86_400_000_000


def narrow(
    replays: DataFrame,
    bins: Bins,
    window: Window,
    names: Sequence[str],
    ratios: Mapping[str, Ratio],
) -> DataFrame:
    """Return (user, request_type, window, answers...) of every replayed request, for `Spread`.

    Requests without a user, a type or a time are left out: nothing places them.

    Args:
        replays: rows of one run, logged requests only.
        bins: what outputs are binned by.
        window: day, week or month.
        names: the outputs, from `outputs_of`.
        ratios: those of them that are ratios, by name.
    """
    number = window_index(F.col("requested_at"), window).alias("window")
    placed = replays.dropna(subset=["user_id", "request_type", "requested_at"])
    return placed.select(user_hash(), "request_type", number, *answers(names, bins, ratios))


def user_hash() -> Column:
    """Return 64 bits for `user_id`; among 5 million users two share them once in 1e6 logs.

    Of its text: Spark hashes the same number otherwise as INT, BIGINT and STRING.
    """
    return F.xxhash64(F.col("user_id").cast("string")).alias("user")


def answers(names: Sequence[str], bins: Bins, ratios: Mapping[str, Ratio]) -> list[Column]:
    """Return what `Spread` reads of a replayed request, under the names it knows.

    Args:
        names: the outputs, from `outputs_of`.
        bins: what they are binned by.
        ratios: those of them that are ratios, by name.
    """
    pairs = {name: name for name in names if name not in ("class", MISSING, *GRADED)}
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
    """Return what is counted: binned outputs, whether any is missing, what outcomes add, KPIs."""
    of_outcomes = GRADED if graded and bins.classes else ()
    missing = (MISSING,) if bins.outputs else ()
    return (*bins.outputs, *missing, *of_outcomes, *names_of(kpis))


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
