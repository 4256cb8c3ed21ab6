"""Behaviour of each user before the replay, from one scan of the request log."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.names import quoted
from rehearsal.settings import KMeansSegments, UserColumns, UserSource
from rehearsal.tables.source import Admitted

_DAY_SECONDS = 86_400.0
# Hours are UTC; the four spans are what people call a user by.
_DAYPARTS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}


@dataclass(frozen=True)
class Feature:
    """One number per user: what it is called, its group, and how its tail is tamed for k-means."""

    name: str
    group: str
    tail: str = "none"


@dataclass(frozen=True)
class UserFeatures:
    """Rows (user_id, n_requests, features ARRAY<DOUBLE>) and what each position means."""

    rows: DataFrame
    features: tuple[Feature, ...]


def user_features(
    history: DataFrame,
    users: Admitted | None,
    source: UserSource | None,
    settings: KMeansSegments,
    as_of: datetime,
) -> UserFeatures:
    """Return every user's features as of `as_of`: all users of the log or of the profiles.

    Users without history have n_requests 0 and null behaviour. Only requests before `as_of`
    may be in `history`, so that nothing of the replay leaks into the segments.
    """
    cells = _cells(history, settings, as_of).persist()
    types = _most_common(cells, "request_type", settings.max_request_types, F.sum("n"))
    behaviour, features = _behaviour(cells, types, settings, as_of)
    if users is not None and source is not None:
        attributes, more = _attributes(users.rows, source.columns, settings, len(features))
        behaviour = behaviour.join(attributes, "user_id", "full_outer")
        features += more
    values = F.array(*(F.col(f"f{i}").cast("double") for i in range(len(features))))
    rows = behaviour.select(
        "user_id", F.coalesce("n_requests", F.lit(0)).alias("n_requests"), values.alias("features")
    )
    return UserFeatures(rows, tuple(features))


def _cells(history: DataFrame, settings: KMeansSegments, as_of: datetime) -> DataFrame:
    """Counts per user and request type: all that the features need of the log."""
    at = F.col("requested_at")
    recent = F.lit(as_of - timedelta(days=settings.recent_days))
    before = F.lit(as_of - timedelta(days=2 * settings.recent_days))
    hour, weekday = F.hour(at), F.dayofweek(at)
    dayparts = [
        F.count_if((hour >= start) & (hour < end)).alias(name)
        for name, (start, end) in _DAYPARTS.items()
    ]
    return history.groupBy("user_id", "request_type").agg(
        F.count("*").alias("n"),
        F.min(at).alias("first_at"),
        F.max(at).alias("last_at"),
        F.count_if(at >= recent).alias("n_recent"),
        F.count_if((at >= before) & (at < recent)).alias("n_before"),
        F.count_if(weekday.isin(1, 7)).alias("weekend"),
        *dayparts,
    )


def _most_common(rows: DataFrame, name: str, limit: int, weight: Column) -> list[str]:
    """The most common values, ties by name; at most `limit`, so they may come to the driver."""
    counted = (
        rows.where(F.col(quoted(name)).isNotNull()).groupBy(quoted(name)).agg(weight.alias("w"))
    )
    top = counted.orderBy(F.desc("w"), F.col(quoted(name))).limit(limit)
    return [row[0] for row in top.collect()]


def _behaviour(
    cells: DataFrame, types: list[str], settings: KMeansSegments, as_of: datetime
) -> tuple[DataFrame, list[Feature]]:
    n = F.sum("n")

    def share(name: str) -> Column:
        return F.sum(name) / n

    def days_since(instant: Column) -> Column:
        seconds = F.unix_micros(F.lit(as_of)) - F.unix_micros(instant)
        return seconds / F.lit(1e6 * _DAY_SECONDS)

    span_days = F.greatest(days_since(F.min("first_at")), F.lit(1.0))
    # +1 keeps users with an empty span finite and near no trend.
    trend = F.log((F.sum("n_recent") + 1) / (F.sum("n_before") + 1))
    columns: dict[Feature, Column] = {
        Feature("requests", "activity", "log"): n.cast("double"),
        Feature("requests per day since first", "activity", "log"): n / span_days,
        Feature("days since last request", "activity", "log"): days_since(F.max("last_at")),
        Feature(f"trend of last {settings.recent_days} days (log ratio)", "trend"): trend,
        Feature("weekend share", "time"): share("weekend"),
    }
    columns |= {Feature(f"{part} share", "time"): share(part) for part in _DAYPARTS}
    for name in types:
        of_type = F.sum(F.when(F.col("request_type") == F.lit(name), F.col("n")).otherwise(0))
        columns[Feature(f"requests of {name}", "type counts", "log")] = of_type.cast("double")
        # The square root keeps rare types from making clusters of outliers.
        columns[Feature(f"share of {name}", "type shares", "sqrt")] = of_type / n
    numbered = [column.alias(f"f{i}") for i, column in enumerate(columns.values())]
    rows = cells.groupBy("user_id").agg(n.alias("n_requests"), *numbered)
    return rows, list(columns)


def _attributes(
    users: DataFrame, profile: UserColumns, settings: KMeansSegments, offset: int
) -> tuple[DataFrame, list[Feature]]:
    """Profile attributes: numbers as they are, one indicator per common category."""
    columns: dict[Feature, Column] = {
        Feature(name, "profile"): F.col(quoted(name)) for name in profile.continuous
    }
    for name in profile.categorical:
        for value in _most_common(users, name, settings.max_categories, F.count("*")):
            indicator = (F.col(quoted(name)) == F.lit(value)).cast("double")
            columns[Feature(f"{name} = {value}", "profile")] = F.coalesce(indicator, F.lit(0.0))
    numbered = [column.alias(f"f{i}") for i, column in enumerate(columns.values(), start=offset)]
    return users.select("user_id", *numbered), list(columns)
