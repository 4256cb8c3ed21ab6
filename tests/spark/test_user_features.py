"""Features are what a hand would count before an instant, from days that add up."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType, StructField, StructType
from pyspark.testing import assertDataFrameEqual
from shared import plain_settings

from rehearsal.errors import ContractError
from rehearsal.segments.describe.activity import (
    activity_version,
    daily_activity,
    rows_per_day,
    stale_days,
)
from rehearsal.segments.describe.features import choose_features, user_features
from rehearsal.segments.feature import Feature
from rehearsal.settings import Segments, UserColumns
from rehearsal.tables.schemas import USER_ACTIVITY

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
SETTINGS = Segments(recent_days=7, value="amount", history_days=60)
ADDED = {"activity_version", "run_id", "n_rows"}  # by whoever writes the table
PROFILE = UserColumns(user_id="id", continuous=("age",), categorical=("country",))
LOG = "user_id string, request_type string, requested_at timestamp, amount double, answer string"
ROWS = [
    ("u", "buy", datetime(2026, 2, 20, 0, 0), 10.0, "yes", 1.0),  # a Friday
    ("u", "search", datetime(2026, 2, 21, 0, 0), None, "no", None),
    ("u", "buy", datetime(2026, 2, 21, 0, 40), 5.0, None, 4.0),
    ("u", "buy", datetime(2026, 2, 21, 0, 50), None, "yes", None),
    ("u", "search", datetime(2026, 2, 21, 13, 0), 3.0, None, None),
    ("u", "search", datetime(2026, 3, 1, 3, 0), 2.0, None, None),  # a Sunday
    ("v", "buy", datetime(2026, 3, 1, 22, 0), None, None, None),
    ("w", "browse", datetime(2026, 1, 30, 12, 0), None, None, None),
    ("w", "browse", datetime(2026, 2, 7, 12, 0), None, None, None),
    ("w", "browse", datetime(2026, 2, 28, 12, 0), None, None, None),
    # Two requests at the very same instant are two requests.
    ("w", "browse", datetime(2026, 3, 1, 12, 0), None, None, None),
    ("w", "browse", datetime(2026, 3, 1, 12, 0), None, None, None),
]
LATER = [
    ("u", "buy", datetime(2026, 3, 2, 0, 0), 99.0, "no", 9.0),
    ("u", "buy", datetime(2099, 1, 1, 0, 0), 99.0, "no", 9.0),
    ("late", "buy", datetime(2026, 3, 5, 0, 0), 99.0, "no", 9.0),
]
U = {
    "requests": 6,
    "requests per day since first": 0.6,
    "days since last request": 21 / 24,
    "active day share": 3 / 10,
    "value per request": 20 / 4,
    "value total": 20,
    "hours between requests": (9 * 24 + 3) / 5,
    # Half-hours 0 and 1 of the Saturday are one session, whatever their request types.
    "hours between sessions": (9 * 24 + 3) / 3,
    "requests per session": 6 / 4,
    "half-hours per session": 5 / 4,
    "sessions per active day": 4 / 3,
    "weekday night share": 1 / 6,
    "weekday morning share": 0,
    "weekday afternoon share": 0,
    "weekday evening share": 0,
    "weekend night share": 4 / 6,
    "weekend morning share": 0,
    "weekend afternoon share": 1 / 6,
    "weekend evening share": 0,
    # One request in the last week, five in the week before.
    "trend of last 7 days (log ratio)": np.log(2 / 6),
    # One whole week since the first request makes no slope.
    "trend by 7 days (log slope)": None,
    "share of answer = yes": 2 / 3,
    "share of answer = no": 1 / 3,
    "requests of browse": 0,
    "share of browse": 0,
    "requests of buy": 3,
    "share of buy": 3 / 6,
    "requests of search": 3,
    "share of search": 3 / 6,
    "age": 30,
    "country = PL": 1,
    "country = PT": 0,
}


def log_of(spark: SparkSession, rows: Sequence[tuple[Any, ...]]) -> DataFrame:
    return spark.createDataFrame(list(rows), f"{LOG}, stars double")


@pytest.fixture(scope="module")
def users(spark: SparkSession) -> DataFrame:
    rows = [("u", 30.0, "PL"), ("w", None, None), ("new", 50.0, "PT")]
    return spark.createDataFrame(rows, "user_id string, age double, country string")


@pytest.fixture(scope="module")
def activity(spark: SparkSession) -> DataFrame:
    """Days of the whole log, those after the instant too."""
    return daily_activity(log_of(spark, ROWS + LATER), "amount", "answer").localCheckpoint()


def by_user(made: DataFrame, features: Sequence[Feature]) -> dict[str, dict[str, Any]]:
    names = [feature.name for feature in features]
    return {
        row["user_id"]: dict(zip(names, row["features"], strict=True))
        | {"n_requests": row["n_requests"], "value": row["value"]}
        for row in made.collect()
    }


def test_a_day_is_counted_per_user_type_and_outcome(activity: DataFrame) -> None:
    rows = activity.where("user_id = 'u' AND day = '2026-02-21'").collect()
    by_key = {(row["request_type"], row["outcome"]): row.asDict() for row in rows}
    assert set(by_key) == {("search", "no"), ("search", None), ("buy", None), ("buy", "yes")}
    assert by_key["buy", None] == {
        "month": "2026-02", "day": date(2026, 2, 21), "user_id": "u", "request_type": "buy",
        "outcome": None, "n": 1, "first_at": datetime(2026, 2, 21, 0, 40),
        "last_at": datetime(2026, 2, 21, 0, 40), "night": 1, "morning": 0, "afternoon": 0,
        "evening": 0, "active_slots": 0b10, "value_sum": 5.0, "value_n": 1, "outcome_sum": None,
        "outcome_n": 0,
    }  # fmt: skip
    declared = {field.name: field.dataType for field in USER_ACTIVITY.schema}
    made = {field.name: field.dataType for field in activity.schema}
    assert made == {n: t for n, t in declared.items() if n not in ADDED}


def test_every_feature_is_what_a_hand_counts_before_the_instant(
    activity: DataFrame, users: DataFrame
) -> None:
    features = choose_features(activity, users, PROFILE, SETTINGS, AS_OF, "answer")
    made = by_user(user_features(activity, users, features, SETTINGS, AS_OF), features)
    assert set(made) == {"u", "v", "w", "new"}
    assert made["u"] == pytest.approx({"n_requests": 6, "value": 20, **U})

    v, w, new = made["v"], made["w"], made["new"]
    assert v["weekend evening share"] == 1
    one_request = ("hours between requests", "hours between sessions", "value per request", "age")
    assert [v[name] for name in one_request] == [None] * 4
    assert v["country = PL"] is None
    # The span of the first request is not a whole one; those after it hold 3, 0, 0, 1 requests.
    slope = np.polyfit([0, -1, -2, -3], np.log1p([3, 0, 0, 1]), 1)[0]
    assert w["trend by 7 days (log slope)"] == pytest.approx(slope)
    assert w["requests per session"] == 5 / 4
    assert (w["age"], w["country = PL"]) == (None, 0)
    assert new["n_requests"] == 0
    assert (new["age"], new["country = PT"]) == (50, 1)
    behaviour = set(U) - {"age", "country = PL", "country = PT"}
    assert {new[name] for name in behaviour} == {None}


def test_a_numeric_outcome_is_averaged(spark: SparkSession) -> None:
    days = daily_activity(log_of(spark, ROWS), None, "stars")
    settings = Segments(group_weights=dict.fromkeys(("type counts", "type shares"), 0.0))
    features = choose_features(days, None, None, settings, AS_OF, "stars")
    assert not {f.group for f in features} & {"type counts", "type shares", "value", "profile"}
    made = by_user(user_features(days, None, features, settings, AS_OF), features)
    assert made["u"]["mean stars"] == 2.5
    assert made["v"]["mean stars"] is None


def test_days_add_up_in_pieces_and_with_a_day_counted_again(spark: SparkSession) -> None:
    def draw(salt: int, n: int) -> F.Column:
        return F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(n))

    seconds = F.lit(int(AS_OF.timestamp()) - 40 * 86_400) + draw(1, 41 * 86_400)
    log = spark.range(3000, numPartitions=3).select(
        draw(2, 40).cast("string").alias("user_id"),
        F.concat(F.lit("t"), draw(3, 5)).alias("request_type"),
        F.timestamp_seconds(seconds).alias("requested_at"),
        (draw(4, 10_007) / 7).alias("amount"),
        F.when(draw(5, 3) > 0, draw(5, 3).cast("string")).alias("answer"),
    )
    as_of = AS_OF + timedelta(hours=15)

    def days(condition: F.Column, partitions: int = 3) -> DataFrame:
        rows = log.repartition(partitions).where(condition)
        return daily_activity(rows, "amount", "answer")

    day = F.to_date("requested_at")
    before = F.col("requested_at") < F.lit(as_of)
    held = [(as_of - timedelta(days=back)).date() for back in range(40, 0, -1)]
    at_once = days(before & day.isin([*held, as_of.date()]))
    again = held[17]
    together = days(day.isin(held[:20]) & (day != again), 5)
    together = together.union(days(day.isin(held[20:]), 1)).union(days(day == again, 2))
    together = together.union(days(before & (day == as_of.date())))
    features = choose_features(at_once, None, None, SETTINGS, as_of, "answer")
    results = [
        by_user(user_features(activity, None, features, SETTINGS, as_of), features)
        for activity in (at_once, together)
    ]
    assert len(results[0]) == 40
    assert results[0] == results[1]
    # A whole day that holds the instant is left out rather than let the future in.
    whole = days(day.isin([*held, as_of.date()]))
    made = by_user(user_features(whole, None, features, SETTINGS, as_of), features)
    assert sum(row["n_requests"] for row in made.values()) < 3000
    assert min(row["days since last request"] for row in made.values()) >= 0


def test_new_late_deleted_and_emptied_days_are_stale(spark: SparkSession) -> None:
    times = [f"2026-03-0{day} 05:00:00" for day in (1, 2, 2, 3, 3, 5)]
    log = spark.createDataFrame([(t,) for t in [*times, None, "soon"]], "`called at` string")
    now = rows_per_day(log, "called at")
    assert {row["day"].day: row["n_rows"] for row in now.collect()} == {1: 1, 2: 2, 3: 2, 5: 1}
    counted_then = {1: 1, 2: 1, 3: 3, 4: 7}
    held = spark.createDataFrame(
        [(date(2026, 3, d), n) for d, n in counted_then.items()], "day date, n_rows long"
    )
    assert stale_days(now, held) == [date(2026, 3, d) for d in (2, 3, 4, 5)]
    assert stale_days(now, now) == []


def test_rare_and_new_types_labels_and_categories_count_as_other(
    spark: SparkSession, users: DataFrame
) -> None:
    more = [("u", "browse", datetime(2026, 2, 22), None, f"a{i}", None) for i in range(7)]
    days = daily_activity(log_of(spark, ROWS + more), None, "answer")
    settings = Segments(max_request_types=2, max_categories=1)
    people = users.union(spark.createDataFrame([("z", 1.0, "PT")], users.schema))
    features = choose_features(days, people, PROFILE, settings, AS_OF, "answer")
    names = [f.name for f in features if f.group not in ("activity", "time", "gaps", "sessions")]
    assert names[2:] == [
        "share of answer = yes", *(f"share of answer = a{i}" for i in range(4)),
        "share of answer = any other", "requests of browse", "share of browse", "requests of buy",
        "share of buy", "requests of other types", "share of other types", "age", "country = PT",
        "country = any other",
    ]  # fmt: skip
    new = [("u", "unheard of", datetime(2026, 3, 1), None, "perhaps", None)]
    days = daily_activity(log_of(spark, ROWS + new), None, "answer")
    moved = people.withColumn("country", F.when(F.col("user_id") == "u", "NZ"))
    made = by_user(user_features(days, moved, features, settings, AS_OF), features)
    assert made["u"]["requests of other types"] == 4
    assert made["u"]["share of other types"] == pytest.approx(4 / 7)
    assert made["u"]["share of answer = any other"] == pytest.approx(2 / 4)
    assert (made["u"]["country = PT"], made["u"]["country = any other"]) == (0, 1)
    assert made["z"]["country = any other"] == 0  # missing is no category


def test_what_is_no_longer_mapped_is_null_for_all(activity: DataFrame, users: DataFrame) -> None:
    features = choose_features(activity, users, PROFILE, SETTINGS, AS_OF, "answer")
    lacking = users.select("user_id")
    settings = SETTINGS.model_copy(update={"value": None})
    made = by_user(user_features(activity, lacking, features, settings, AS_OF), features)
    gone = ("age", "country = PL", "country = PT", "value total", "value per request")
    assert {row[name] for row in made.values() for name in gone} == {None}
    assert made["u"]["share of buy"] == 0.5


def test_columns_beside_a_user_come_along_and_no_feature_is_shuffled(
    spark: SparkSession, activity: DataFrame, users: DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    held = [("u", "s1"), ("new", "s2"), ("gone", "s3")]
    beside = spark.createDataFrame(held, "user_id string, was string")
    features = choose_features(activity, users, PROFILE, SETTINGS, AS_OF, "answer")
    rows = user_features(activity, users, features, SETTINGS, AS_OF, beside)
    rows.explain()
    plan = capsys.readouterr().out
    # The activity, the profiles, and the columns beside for each of the two; all of it narrow.
    assert plan.count("Exchange hashpartitioning(user_id") == plan.count("Exchange ") == 4
    was = {row["user_id"]: row["was"] for row in rows.collect()}
    assert was == {"u": "s1", "v": None, "w": None, "new": "s2"}
    plain = user_features(activity, users, features, SETTINGS, AS_OF)
    assertDataFrameEqual(rows.drop("was"), plain)


def test_the_counts_of_two_types_stay_apart_however_large(activity: DataFrame) -> None:
    many = activity.where("day = '2026-02-21' AND outcome IS NULL")
    many = many.withColumn("n", F.lit(2_000_000_000).cast("bigint"))
    features = choose_features(many, None, None, SETTINGS, AS_OF)
    made = by_user(user_features(many, None, features, SETTINGS, AS_OF), features)
    assert made["u"]["requests of buy"] == made["u"]["requests of search"] == 2e9


def test_features_have_names_of_their_own(activity: DataFrame, users: DataFrame) -> None:
    profile = UserColumns(user_id="id", continuous=("requests",))
    people = users.withColumnRenamed("age", "requests")
    features = choose_features(activity, people, profile, SETTINGS, AS_OF)
    assert features[-1].name == "requests (profile)"
    made = by_user(user_features(activity, people, features, SETTINGS, AS_OF), features)
    assert (made["u"]["requests"], made["u"]["requests (profile)"]) == (6, 30)


def test_a_feature_of_another_version_says_what_to_do(activity: DataFrame) -> None:
    unknown = [Feature("mood", "activity", source="mood")]
    with pytest.raises(ContractError, match="'mood' has the source 'mood'.*fit the segments anew"):
        user_features(activity, None, unknown, SETTINGS, AS_OF)


def test_activity_is_counted_anew_when_what_is_counted_changes() -> None:
    def version(more: Sequence[str] = (), outcome: str | None = None, **sections: Any) -> str:
        mapped = {"continuous": ["amount", *more], "outcome": outcome}
        return activity_version(plain_settings(columns=mapped, **sections), columns)

    columns = StructType([StructField("answer", StringType())])
    assert version() == version(seed=2, segments={"k_max": 5})
    assert version() != version(segments={"value": "amount"})
    # A row that is no number in a mapped column is not admitted, so it is not counted either.
    assert version() != version(more=["price"])
    labelled = version(outcome="answer")
    columns = StructType([StructField("answer", DoubleType())])
    assert version(outcome="answer") != labelled
