"""The tallies of all columns as one Spark aggregate over one pass of the rows.

Rows are counted per (column, value) first; everything after works on those counts. So the result
is exact and the same whatever the partitioning, and only bounded tallies reach the driver.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F

from rehearsal.generate.codec.tally import (
    MOST_DECIMALS,
    PARTS,
    WHOLE,
    Group,
    NumberTally,
    TextTally,
    margin,
)

_ATOM, _REST, _TEXT, _MISSING = "atom", "rest", "text", "missing"


Key = tuple[str, str]
"""A column's name, and which part of it."""


@dataclass(frozen=True)
class Measure:
    """Something to tally: a STRING column, or a DOUBLE one with its bins and forced atoms."""

    key: Key
    column: Column
    text: bool = False
    bins: int = 1
    forced: tuple[float, ...] = ()


def aggregate(
    rows: DataFrame, measures: Sequence[Measure], limit: int, min_count: int
) -> dict[Key, NumberTally | TextTally]:
    """Return key -> tally, as `tally_numbers` and `tally_texts` define it.

    Args:
        rows: passed over once.
        measures: what to tally.
        limit: categories per column.
        min_count: rows below which a value is told of nobody.
    """
    tallied = _slots(_counted(rows, measures), limit, min_count)
    # Bounded: columns x (limit, or bins and as many atoms).
    found: dict[int, list[Row]] = defaultdict(list)
    for row in tallied.collect():
        found[row["position"]].append(row)
    return {
        measure.key: (_text_tally if measure.text else _number_tally)(found[position])
        for position, measure in enumerate(measures)
    }


def _counted(rows: DataFrame, measures: Sequence[Measure]) -> DataFrame:
    """Return (position, bins, text, number, forced, n): rows per value."""
    entries = []
    for position, measure in enumerate(measures):
        text = measure.column.cast("string") if measure.text else F.lit(None).cast("string")
        number = F.lit(None).cast("double") if measure.text else measure.column.cast("double")
        forced = F.coalesce(number.isin(*measure.forced), F.lit(False))
        entries.append(
            F.struct(
                F.lit(position).alias("position"), F.lit(measure.bins).alias("bins"),
                text.alias("text"), number.alias("number"),
                (forced if measure.forced else F.lit(False)).alias("forced"),
            )
        )  # fmt: skip
    keys = [f"entry.{name}" for name in ("position", "bins", "text", "number", "forced")]
    exploded = rows.select(F.explode(F.array(*entries)).alias("entry")).select(*keys)
    return exploded.groupBy(*exploded.columns).agg(F.count("*").alias("n"))


def _slots(counted: DataFrame, limit: int, min_count: int) -> DataFrame:
    """Return one row per column and kept category, atom, or quantile group."""
    ranked = _ranked(_kinds(counted, min_count))
    number, n, n_rest, reached = map(F.col, ("number", "n", "n_rest", "reached"))
    before = reached - n
    is_rest = F.col("kind") == _REST
    group = _quantile_groups(F.floor(before * PARTS * F.col("bins") / n_rest))
    slot = ("position", "kind", "slot")
    own = Window.partitionBy(*slot)
    start, end = F.min(before).over(own), F.max(reached).over(own)
    few = F.least(F.lit(margin(min_count)), F.col("end") - F.col("start"))
    return (
        ranked.where((F.col("kind") != _TEXT) | (F.col("place") <= limit))
        .withColumn("slot", F.when(is_rest, group).otherwise(F.col("place")))
        .withColumns({"start": start, "end": end})
        .groupBy(*slot)
        .agg(
            F.first("text").alias("text"),
            F.min("number").alias("lowest"),
            F.min(F.when(reached - F.col("start") >= few, number)).alias("lower"),
            F.max(F.when(F.col("end") - before >= few, number)).alias("upper"),
            F.sum("n").alias("n"),
            F.max("n_distinct").alias("n_distinct"),
            F.min(F.when(is_rest & (reached >= min_count), number)).alias("low"),
            F.min(F.when(is_rest & (reached >= 2 * min_count), number)).alias("low_twice"),
            F.max(F.when(is_rest & (n_rest - before >= min_count), number)).alias("high"),
            F.max(F.when(is_rest & (n_rest - before >= 2 * min_count), number)).alias("high_twice"),
            F.max(_decimals(number)).alias("decimals"),
        )
    )


def _decimals(number: Column) -> Column:
    """Return how many decimals a number has; one more than MOST_DECIMALS stands for more."""
    found = F.when(number.isNull(), F.lit(None).cast("int"))
    for decimals in range(MOST_DECIMALS + 1):
        counted = number * F.lit(10.0**decimals)
        exact = (F.abs(counted) < WHOLE) & (F.rint(counted) / F.lit(10.0**decimals) == number)
        found = found.when(exact, F.lit(decimals))
    return found.otherwise(F.lit(MOST_DECIMALS + 1))


def _quantile_groups(part: Column) -> Column:
    """Return a number for each of the groups of `tally.quantile_groups`, ascending."""
    # The outermost groups begin and end at 1, 2, 4, ... parts from the ends.
    tail = [1 << power for power in range(PARTS.bit_length() - 1)]
    from_high = PARTS * F.col("bins") - part
    inner = [(part >= edge).cast("int") for edge in tail]
    outer = [(from_high <= edge).cast("int") for edge in tail]
    return sum([*inner, *outer], F.floor(part / PARTS))


def _kinds(counted: DataFrame, min_count: int) -> DataFrame:
    """Add what each value is counted as, and its column's rows and distinct values."""
    number, text, n = F.col("number"), F.col("text"), F.col("n")
    finite = number.isNull() | (F.abs(number) < F.lit(float("inf")))
    column = Window.partitionBy("position")
    most = F.col("bins") * PARTS
    share = F.when(F.col("n_distinct") > most, F.ceil(F.col("n_seen") / most))
    kind = (
        F.when(text.isNotNull(), F.lit(_TEXT))
        .when(number.isNull(), F.lit(_MISSING))
        .when(F.col("forced") | (n >= F.greatest(F.lit(min_count), share)), F.lit(_ATOM))
        .otherwise(F.lit(_REST))
    )
    return (
        counted.where(finite & (text.isNull() | (n >= min_count)))
        .withColumns(
            {
                "n_seen": F.sum(F.when(number.isNotNull(), n)).over(column),
                "n_distinct": F.count("number").over(column),
            }
        )
        .withColumn("kind", kind)
    )


def _ranked(counted: DataFrame) -> DataFrame:
    """Add each value's place, and how many of the other numbers' rows are reached with it."""
    rest = F.when(F.col("kind") == _REST, F.col("n")).otherwise(F.lit(0))
    column = Window.partitionBy("position")
    # Categories by falling count, numbers by rising value; missing last.
    falling = F.when(F.col("kind") == _TEXT, -F.col("n"))
    ascending = column.orderBy(F.col("kind") == _MISSING, falling, "text", "number")
    return counted.withColumns(
        {
            "n_rest": F.sum(rest).over(column),
            "reached": F.sum(rest).over(ascending),
            "place": F.row_number().over(ascending),
        }
    )


def _text_tally(rows: Sequence[Row]) -> TextTally:
    kept = sorted((row for row in rows if row["kind"] == _TEXT), key=lambda row: row["slot"])
    counts = tuple((row["text"], row["n"]) for row in kept)
    return TextTally(counts, any(row["kind"] == _MISSING for row in rows))


def _number_tally(rows: Sequence[Row]) -> NumberTally:
    found = sorted((r for r in rows if r["kind"] != _MISSING), key=lambda row: row["lowest"])
    rest = [row for row in found if row["kind"] == _REST]
    decimals = max((row["decimals"] for row in found), default=MOST_DECIMALS + 1)
    return NumberTally(
        max((row["n_distinct"] for row in found), default=0),
        len(found) < len(rows),
        decimals if decimals <= MOST_DECIMALS else None,
        tuple(row["lowest"] + 0.0 for row in found if row["kind"] == _ATOM),
        tuple(Group(row["lower"], row["upper"], row["n"]) for row in rest),
        (_lowest(rest, "low"), _lowest(rest, "low_twice")),
        (_highest(rest, "high_twice"), _highest(rest, "high")),
    )


def _lowest(rows: Sequence[Row], name: str) -> float:
    return min((row[name] for row in rows if row[name] is not None), default=inf)


def _highest(rows: Sequence[Row], name: str) -> float:
    return max((row[name] for row in rows if row[name] is not None), default=-inf)
