"""Daily counts and sums per user, request type and outcome, which add over any span of days.

The days of a log are counted once and held; a run counts only the days that are new or changed.
Days are UTC and whole: the day an `as_of` falls into is counted from the requests before it, used
once and never held.
"""

from datetime import UTC, date, datetime, time, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType, TimestampType

from rehearsal.names import quoted
from rehearsal.seeds import short_hash
from rehearsal.settings import Settings
from rehearsal.sums import stable_sum
from rehearsal.tables.source import outcome_kind, request_roles

# Half-hours [first, end) of the four spans people call a user by; hours are UTC.
DAYPARTS = {"night": (0, 12), "morning": (12, 24), "afternoon": (24, 36), "evening": (36, 48)}
_DAY_MICROS, _SLOT_MICROS = 86_400_000_000, 1_800_000_000


def daily_activity(requests: DataFrame, value: str | None, outcome: str | None) -> DataFrame:
    """Return the rows of `user_activity`, less activity_version and n_rows, clustered by user.

    An outcome that is a STRING is part of the key; a DOUBLE one is summed.

    Args:
        requests: admitted rows (user_id, request_type, requested_at, and the columns below).
        value: continuous column that is a request's value, if any.
        outcome: the outcome column, if any.
    """
    is_label = outcome is not None and isinstance(requests.schema[outcome].dataType, StringType)
    label = F.col(quoted(str(outcome))) if is_label else F.lit(None).cast("string")
    measured = outcome if outcome is not None and not is_label else None
    day = F.to_date("requested_at")
    # Partial aggregation before the shuffle hardly merges anything here, and costs more than it
    # saves; clustered by user once, nothing up to the features is shuffled again.
    counted = (
        requests.repartition("user_id")
        .groupBy(day.alias("day"), "user_id", "request_type", label.alias("outcome"))
        .agg(*_counts(), *_sums("value", value), *_sums("outcome", measured))
    )
    filled = {
        "month": F.date_format("day", "yyyy-MM"),
        **({} if value is not None else _no_sums("value")),
        **({} if measured is not None else _no_sums("outcome")),
    }
    if is_label:
        filled["outcome_n"] = F.when(F.col("outcome").isNotNull(), F.col("n")).otherwise(F.lit(0))
    return counted.withColumns(filled)


def rows_per_day(table: DataFrame, requested_at: str = "requested_at") -> DataFrame:
    """Return (day, n_rows) of the log as it lies, rows that are not admitted included.

    Args:
        table: the user's own request log; only the one column is read.
        requested_at: its column that holds the time. Rows without a readable one are left out.
    """
    at = F.col(quoted(requested_at)).try_cast(TimestampType())
    days = table.select(F.to_date(at).alias("day")).where(F.col("day").isNotNull())
    return days.groupBy("day").agg(F.count("*").alias("n_rows"))


def stale_days(now: DataFrame, held: DataFrame) -> list[date]:
    """Return the days to count again, in order: new, changed in number of rows, or gone.

    A late or a deleted row changes its day's number of rows, so that the day is counted again
    alone. An edit that leaves the number as it is goes unnoticed.

    Args:
        now: (day, n_rows) of the log, cut to the days that are to be held.
        held: (day, n_rows) at the time the held days were counted, one row per day.
    """
    both = now.join(held.withColumnRenamed("n_rows", "n_held"), "day", "full_outer")
    differ = both.where(~F.col("n_rows").eqNullSafe(F.col("n_held")))
    # At most one row per day of the log.
    return sorted(row["day"] for row in differ.select("day").collect())


def history_start(as_of: datetime, history_days: int) -> datetime:
    """Return the midnight `history_days` before the day of `as_of`, so that days count whole."""
    return midnight(as_of) - timedelta(days=history_days)


def midnight(instant: datetime) -> datetime:
    """Return the start of the instant's UTC day."""
    return datetime.combine(instant.astimezone(UTC).date(), time(), UTC)


def activity_version(settings: Settings, log: StructType) -> str:
    """Return what identifies held activity: the log, which rows it admits, and what is counted.

    Args:
        settings: the mapping of the log, and which column is a request's value.
        log: the log's columns, by which an outcome is a number or a label.
    """
    columns = settings.requests.columns
    keys = (columns.request_id, columns.user_id, columns.request_type, columns.requested_at)
    outcome = columns.outcome and (columns.outcome, outcome_kind(log, columns.outcome))
    rules = repr(sorted(request_roles(settings).items()))
    return short_hash(settings.requests.label, *keys, settings.segments.value, repr(outcome), rules)


def _counts() -> list[Column]:
    at = F.col("requested_at")
    # Arithmetic on the instant is cheaper than hour() and minute(), which look up the time zone.
    of_day = F.pmod(F.unix_micros(at), F.lit(_DAY_MICROS))
    slot = F.floor(of_day / F.lit(_SLOT_MICROS)).cast("int")
    parts = [
        F.count_if((slot >= first) & (slot < end)).alias(name)
        for name, (first, end) in DAYPARTS.items()
    ]
    bit = F.call_function("shiftleft", F.lit(1).cast("bigint"), slot)
    return [
        F.count("*").alias("n"),
        F.min(at).alias("first_at"),
        F.max(at).alias("last_at"),
        *parts,
        F.bit_or(bit).alias("active_slots"),
    ]


def _sums(name: str, column: str | None) -> list[Column]:
    if column is None:
        return []
    number = F.col(quoted(column)).cast("double")
    return [stable_sum(number).alias(f"{name}_sum"), F.count(number).alias(f"{name}_n")]


def _no_sums(name: str) -> dict[str, Column]:
    return {f"{name}_sum": F.lit(None).cast("double"), f"{name}_n": F.lit(0).cast("bigint")}
