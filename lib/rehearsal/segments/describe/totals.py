"""Totals of each user over the history: one shuffle, then the user's days, then the user."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.segments.describe.activity import DAYPARTS
from rehearsal.segments.describe.feature_columns import PACKED_BITS, SPANS, Pinned
from rehearsal.sums import stable_sum


def user_totals(activity: DataFrame, pinned: Pinned) -> DataFrame:
    """Return what `behaviour_columns` reads, a row per user; what no feature needs is pruned.

    Half-hours of all request types come together per day, so sessions are runs of half-hours with
    any request; a run that crosses midnight counts once in each day. Requests per type are summed
    along with all else: counting them apart, by user and type first, takes a second pass over the
    activity and a join, and costs more.
    """
    return _per_user(_per_day(activity, pinned), pinned)


def _per_day(activity: DataFrame, pinned: Pinned) -> DataFrame:
    kinds = {"type": ("request_type", pinned.types), "label": ("outcome", pinned.labels)}
    positions = {
        name: F.array_position(_literal(values), F.col(column)) - 1
        for name, (column, values) in kinds.items()
    }
    # By user from here on; activity that was just counted is so already, and stays in place.
    placed = activity.repartition("user_id").withColumns(positions)
    return placed.groupBy("user_id", "day").agg(
        F.sum("n").alias("n"),
        F.min("first_at").alias("first_at"),
        F.max("last_at").alias("last_at"),
        F.bit_or("active_slots").alias("active_slots"),
        *(F.sum(part).alias(part) for part in DAYPARTS),
        *_sums(),
        *(pair for name, (_, values) in kinds.items() for pair in _pairs(name, len(values))),
    )


def _per_user(days: DataFrame, pinned: Pinned) -> DataFrame:
    weekend = F.weekday("day") >= 5  # noqa: PLR2004 - Saturday and Sunday
    slots = F.col("active_slots")
    starts = slots.bitwiseAND(F.bitwise_not(F.shiftleft(slots, 1)))
    back = F.datediff(F.lit(pinned.last_day), F.col("day"))
    span = F.floor(back / F.lit(pinned.span_days))
    pairs = [name for name in days.columns if name.startswith(("type ", "label "))]
    return days.groupBy("user_id").agg(
        F.sum("n").alias("n"),
        F.min("first_at").alias("first_at"),
        F.max("last_at").alias("last_at"),
        F.count("*").alias("n_days"),
        F.sum(F.bit_count(slots)).alias("half_hours"),
        F.sum(F.bit_count(starts)).alias("sessions"),
        *(_sum_where(~weekend, part).alias(f"weekday {part}") for part in DAYPARTS),
        *(_sum_where(weekend, part).alias(f"weekend {part}") for part in DAYPARTS),
        *(_sum_where(span == i, "n").alias(f"span {i}") for i in range(SPANS)),
        *_sums(),
        *(F.sum(F.col(name)).alias(name) for name in pairs),
    )


def _sums() -> list[Column]:
    sums = [stable_sum(F.col(name)).alias(name) for name in ("value_sum", "outcome_sum")]
    return sums + [F.sum(name).alias(name) for name in ("value_n", "outcome_n")]


def _pairs(name: str, n: int) -> list[Column]:
    """Requests at each position, two counts to a BIGINT: half as much to carry and to add."""
    position, count = F.col(name), F.col("n")
    high = F.shiftleft(count, PACKED_BITS)
    return [
        F.sum(F.when(position == i, count).when(position == i + 1, high).otherwise(F.lit(0))).alias(
            f"{name} {i}"
        )
        for i in range(0, n, 2)
    ]


def _sum_where(condition: Column, name: str) -> Column:
    return F.sum(F.when(condition, F.col(name)).otherwise(F.lit(0)))


def _literal(values: Sequence[str]) -> Column:
    return F.array(*(F.lit(value) for value in values)).cast("array<string>")
