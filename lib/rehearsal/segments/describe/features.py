"""Which features a fit uses, and each user's features as of an instant for such a list.

A model pins its list: later runs compute the same numbers, whatever types and categories are new.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from rehearsal.names import quoted
from rehearsal.segments.describe.activity import DAYPARTS, history_start
from rehearsal.segments.describe.feature_columns import Pinned, behaviour_columns, profile_columns
from rehearsal.segments.describe.totals import user_totals
from rehearsal.segments.feature import Feature
from rehearsal.settings import Segments, UserColumns

_MAX_LABELS = 5
_MANY_PARTITIONS = 1 << 20


def choose_features(
    activity: DataFrame,
    users: DataFrame | None,
    profile: UserColumns | None,
    settings: Segments,
    as_of: datetime,
    outcome: str | None = None,
) -> tuple[Feature, ...]:
    """Return the features of a new fit; groups of weight 0 are left out.

    The most common request types, outcomes and categories of profile attributes have features of
    their own, ties by name; where a list was cut, one more feature stands for all others.

    Args:
        activity: daily rows; what is not in the history of `as_of` is left out.
        users: profiles (user_id and attributes).
        profile: which attributes are numbers and which categories.
        settings: settings of the segments.
        as_of: only requests before it count.
        outcome: name of the logged outcome, if any.
    """
    counted = _counted(history(activity, settings, as_of), settings)
    features = [*_activity_features(settings), *_value_features(settings.value)]
    features += _outcome_features(outcome, counted.get("outcome", []))
    features += _type_features(counted.get("request_type", []), settings.max_request_types)
    if users is not None and profile is not None and _weighs("profile", settings):
        features += _profile_features(users, profile, settings.max_categories)
    return _distinct(feature for feature in features if _weighs(feature.group, settings))


def history(activity: DataFrame, settings: Segments, as_of: datetime) -> DataFrame:
    """Return the daily rows of the `history_days` before the day of `as_of`, and that day's.

    A row with a request at or after `as_of` is left out whole, so that nothing of the future
    counts: the day `as_of` falls into has to be counted from the requests before it.
    """
    start = history_start(as_of, settings.history_days).date()
    return activity.where((F.col("day") >= F.lit(start)) & (F.col("last_at") < F.lit(as_of)))


def user_features(
    activity: DataFrame,
    users: DataFrame | None,
    features: Sequence[Feature],
    settings: Segments,
    as_of: datetime,
    beside: DataFrame | None = None,
) -> DataFrame:
    """Return (user_id, n_requests, value, features ARRAY<DOUBLE>) of all users of log or profiles.

    `value` is the total over the history, null without any. Users without history have n_requests
    0 and null behaviour, users without a profile null attributes; an attribute or a value that is
    no longer mapped is null for all.

    Args:
        activity: daily rows; the day `as_of` falls into counted from the requests before it.
        users: profiles (user_id and attributes), each user once.
        features: what each position of `features` is, by source and argument.
        settings: settings of the segments.
        as_of: only requests before it count.
        beside: (user_id and columns to add to a user's row, null for others), each user once.
            Joined before the features are there, so that no wide row is shuffled.

    Raises:
        ContractError: a feature's source is unknown here.
    """
    pinned = Pinned(tuple(features), settings.value, as_of)
    rows = _with(beside, user_totals(history(activity, settings, as_of), pinned))
    position = {feature: f"f{i}" for i, feature in enumerate(features)}

    def numbered(columns: dict[Feature, Column]) -> dict[str, Column]:
        return {position[feature]: column for feature, column in columns.items()}

    attributes = numbered(profile_columns(pinned, users.columns if users is not None else ()))
    if users is not None:
        named = [column.alias(name) for name, column in attributes.items()]
        people = _with(beside, users.select("user_id", *named))
        people = people.withColumnRenamed("beside", "beside_profile")
        rows = rows.join(people, "user_id", "full_outer")
        rows = rows.withColumn("beside", F.coalesce("beside", "beside_profile"))
        attributes = {name: F.col(name) for name in attributes}
    values = {**numbered(behaviour_columns(pinned)), **attributes}
    array = F.array(*(values[name] for name in position.values()))
    # Merging no partitions, this keeps Spark from compiling the features into one method with the
    # aggregations below: beyond the limit of the JIT, all of it would run uncompiled.
    return rows.coalesce(_MANY_PARTITIONS).select(
        "user_id",
        F.coalesce("n", F.lit(0).cast("bigint")).alias("n_requests"),
        F.col("value_sum").alias("value"),
        array.cast("array<double>").alias("features"),
        "beside.*",
    )


def _with(beside: DataFrame | None, rows: DataFrame) -> DataFrame:
    """Add a struct `beside` of the columns beside the user; it keeps `rows` where they are."""
    if beside is None:
        return rows.withColumn("beside", F.struct())
    columns = F.struct(*beside.columns[1:]).alias("beside")
    return rows.join(beside.select("user_id", columns), "user_id", "left")


def _activity_features(settings: Segments) -> list[Feature]:
    span = str(settings.recent_days)
    by_time = [
        Feature(f"{days} {part} share", "time", "sqrt", "time_share", f"{days} {part}")
        for days in ("weekday", "weekend")
        for part in DAYPARTS
    ]
    return [
        Feature("requests", "activity", "log", "requests"),
        Feature("requests per day since first", "activity", "log", "requests_per_day"),
        Feature("days since last request", "activity", "log", "days_since_last"),
        Feature("active day share", "activity", "none", "active_day_share"),
        Feature("hours between requests", "gaps", "log", "hours_between_requests"),
        Feature("hours between sessions", "gaps", "log", "hours_between_sessions"),
        Feature("requests per session", "sessions", "log", "requests_per_session"),
        Feature("half-hours per session", "sessions", "log", "half_hours_per_session"),
        Feature("sessions per active day", "sessions", "log", "sessions_per_active_day"),
        *by_time,
        Feature(f"trend of last {span} days (log ratio)", "trend", "none", "log_ratio", span),
        Feature(f"trend by {span} days (log slope)", "trend", "none", "log_slope", span),
    ]


def _value_features(value: str | None) -> list[Feature]:
    if value is None:
        return []
    # Money has a long tail; the log takes what is below zero for zero.
    return [
        Feature("value per request", "value", "log", "value_per_request", value),
        Feature("value total", "value", "log", "value_total", value),
    ]


def _outcome_features(outcome: str | None, labels: list[str]) -> list[Feature]:
    if outcome is None:
        return []
    if not labels:  # a number, or never logged: then null for all
        return [Feature(f"mean {outcome}", "outcome", "none", "mean_outcome", outcome)]
    features = [
        Feature(f"share of {outcome} = {label}", "outcome", "none", "share_of_label", label)
        for label in labels[:_MAX_LABELS]
    ]
    if len(labels) > _MAX_LABELS:
        name = f"share of {outcome} = any other"
        features.append(Feature(name, "outcome", "none", "share_of_other_labels", outcome))
    return features


def _type_features(types: list[str], limit: int) -> list[Feature]:
    named = [(name, "of_type", name) for name in types[:limit]]
    if len(types) > limit:
        named.append(("other types", "of_other_types", ""))
    features = []
    for name, source, argument in named:
        count = Feature(f"requests of {name}", "type counts", "log", f"requests_{source}", argument)
        # The square root keeps rare types from making clusters of outliers.
        share = Feature(f"share of {name}", "type shares", "sqrt", f"share_{source}", argument)
        features += [count, share]
    return features


def _profile_features(users: DataFrame, profile: UserColumns, limit: int) -> list[Feature]:
    """Numbers as they are; one indicator per common category and one for any other."""
    features = [Feature(name, "profile", "none", "number", name) for name in profile.continuous]
    if not profile.categorical:
        return features
    texts = users.select(*(F.col(quoted(a)).cast("string").alias(a) for a in profile.categorical))
    names = [F.col(quoted(attribute)) for attribute in profile.categorical]
    named = texts.unpivot([], [*names], "kind", "name")
    found = _most_common(named.withColumn("n", F.lit(1)), limit)
    for attribute in profile.categorical:
        categories = found.get(attribute, [])
        for category in categories[:limit]:
            argument = json.dumps([attribute, category])
            features.append(
                Feature(f"{attribute} = {category}", "profile", "none", "category", argument)
            )
        if len(categories) > limit:
            name = f"{attribute} = any other"
            features.append(Feature(name, "profile", "none", "other_category", attribute))
    return features


def _counted(activity: DataFrame, settings: Segments) -> dict[str, list[str]]:
    """Request types and outcomes, the most common first, from one pass."""
    cells = activity.groupBy("request_type", "outcome").agg(F.sum("n").alias("n"))
    named = cells.unpivot(["n"], ["request_type", "outcome"], "kind", "name")
    return _most_common(named, max(settings.max_request_types, _MAX_LABELS))


def _most_common(named: DataFrame, limit: int) -> dict[str, list[str]]:
    """Per kind the names with most `n`, ties by name; `limit` and one more, so that a cut shows.

    Args:
        named: (kind, name, n), name null where there is none.
        limit: bounds what comes to the driver.
    """
    counted = named.where(F.col("name").isNotNull()).groupBy("kind", "name")
    order = Window.partitionBy("kind").orderBy(F.desc("n"), "name")
    ranked = counted.agg(F.sum("n").alias("n")).withColumn("rank", F.row_number().over(order))
    found: dict[str, list[str]] = {}
    for row in ranked.where(F.col("rank") <= limit + 1).orderBy("kind", "rank").collect():
        found.setdefault(row["kind"], []).append(row["name"])
    return found


def _weighs(group: str, settings: Segments) -> bool:
    weights = {str(name): weight for name, weight in settings.group_weights.items()}
    return weights.get(group, 1.0) > 0


def _distinct(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """Give each feature a name of its own: an attribute may be called "requests" too."""
    named: dict[str, Feature] = {}
    for feature in features:
        name = feature.name
        while name in named:
            name += f" ({feature.group})"
        named[name] = replace(feature, name=name)
    return tuple(named.values())
