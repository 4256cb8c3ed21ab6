"""Planted groups come back as segments, the same on any partitioning, and are readable."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from rehearsal.errors import ContractError
from rehearsal.segments.features import Feature, UserFeatures, user_features
from rehearsal.segments.segment import profiles, segment_users
from rehearsal.settings import KMeansSegments

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
SETTINGS = KMeansSegments(k_min=2, k_max=5, recent_days=7)


def test_features_are_counts_shares_and_times_before_the_replay(spark: SparkSession) -> None:
    rows = [
        ("u", "search", AS_OF - timedelta(days=1, hours=-3)),
        ("u", "search", AS_OF - timedelta(days=9)),
        ("u", "buy", AS_OF - timedelta(days=10)),
        ("v", "buy", AS_OF - timedelta(hours=2)),
    ]
    log = spark.createDataFrame(rows, "user_id string, request_type string, requested_at timestamp")
    made = user_features(log, None, None, SETTINGS, AS_OF)
    names = [feature.name for feature in made.features]
    by_user = {
        row["user_id"]: dict(zip(names, row["features"], strict=True))
        for row in made.rows.collect()
    }
    u, v = by_user["u"], by_user["v"]
    assert u["requests"] == 3
    assert u["requests of search"] == 2
    assert u["share of buy"] == pytest.approx(1 / 3)
    assert u["days since last request"] == pytest.approx(21 / 24)
    assert u["requests per day since first"] == pytest.approx(0.3)
    # One request in the last week, two in the week before.
    assert u["trend of last 7 days (log ratio)"] == pytest.approx(np.log(2 / 3))
    # 2026-03-01 is a Sunday; the others fall on a Saturday and a Friday.
    assert u["weekend share"] == pytest.approx(2 / 3)
    assert u["night share"] == 1.0
    assert v["evening share"] == 1.0


@pytest.fixture(scope="module")
def planted(spark: SparkSession) -> UserFeatures:
    """600 users in three groups around centres far apart, one feature missing for some; 5 new."""
    noise = [F.randn(seed) * 0.3 for seed in (1, 2)]
    group = F.col("id") % 3
    values = F.array(
        group * 3 + noise[0],
        F.when(F.col("id") % 50 != 0, F.when(group == 1, 5.0).otherwise(0.0) + noise[1]),
    )
    rows = spark.range(605, numPartitions=4).select(
        F.col("id").cast("string").alias("user_id"),
        F.when(F.col("id") < 600, 10).otherwise(0).alias("n_requests"),
        values.alias("features"),
    )
    features = (Feature("night share", "a"), Feature("age", "profile"))
    return UserFeatures(rows.localCheckpoint(), features)


def assigned(made: UserFeatures, rows: DataFrame) -> dict[str, str]:
    found = segment_users(rows, made.features, SETTINGS, seed=7)
    return {row["user_id"]: row["segment_id"] for row in found.assignments.collect()}


def test_planted_groups_are_found_and_new_users_are_cold(planted: UserFeatures) -> None:
    found = assigned(planted, planted.rows)
    assert len(found) == 605
    warm = sorted((user for user in found if int(user) < 600), key=int)
    truth = [int(user) % 3 for user in warm]
    assert adjusted_rand_score(truth, [found[user] for user in warm]) > 0.95
    assert {found[str(user)] for user in range(600, 605)} == {"cold"}
    assert set(found.values()) == {"s1", "s2", "s3", "cold"}


def test_segments_do_not_depend_on_partitions(planted: UserFeatures) -> None:
    again = assigned(planted, planted.rows.repartition(7, "user_id"))
    assert again == assigned(planted, planted.rows)


def test_the_fit_is_as_good_as_sklearns(planted: UserFeatures) -> None:
    warm = planted.rows.where("n_requests > 0")
    fit = segment_users(planted.rows, planted.features, SETTINGS, seed=7).fit
    points = fit.pipeline.transform(warm).select("point").toPandas()["point"]
    reference = KMeans(3, n_init=10, random_state=0).fit(np.stack(points.map(np.asarray).to_list()))
    assert fit.cost == pytest.approx(reference.inertia_, rel=0.01)
    ks = [k for k, _, _ in fit.curve]
    assert ks == [2, 3, 4, 5]
    assert fit.silhouette == pytest.approx(max(s for _, s, _ in fit.curve), abs=0.01)


def test_a_profile_names_what_is_most_unlike_the_average(planted: UserFeatures) -> None:
    found = segment_users(planted.rows, planted.features, SETTINGS, seed=7)
    told = profiles(planted.rows, found.assignments, planted.features)
    assert told.groupby("segment_id")["n_users"].first().sum() == 605
    top = told[told["rank"] == 1].set_index("segment_id")
    old = told[(told["feature"] == "age") & (told["segment_mean"] > 4)].iloc[0]
    assert old["rank"] == 1
    assert old["segment_name"].startswith("age 4.9")
    assert old["effect_size"] == pytest.approx(np.sqrt(2), abs=0.1)
    assert top.loc["cold", "segment_name"] == "cold: no history before the replay"


def test_too_few_users_for_k_say_what_to_change(planted: UserFeatures) -> None:
    few = planted.rows.where("user_id IN ('1', '600')")
    with pytest.raises(ContractError, match="only 1 users have 1 or more .* lower segments.k_min"):
        segment_users(few, planted.features, SETTINGS, seed=7)


def test_a_single_user_is_a_segment_of_one(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("a", 5, [0.0]), ("b", 5, [0.1]), ("c", 5, [0.05]), ("d", 5, [9.0])],
        "user_id string, n_requests int, features array<double>",
    )
    features = (Feature("age", "profile"),)
    settings = KMeansSegments(k_min=2, k_max=2)
    found = segment_users(rows, features, settings, seed=1)
    by_user = {row["user_id"]: row["segment_id"] for row in found.assignments.collect()}
    assert by_user == {"a": "s1", "b": "s1", "c": "s1", "d": "s2"}
    told = profiles(rows, found.assignments, features)
    assert told[told["segment_id"] == "s2"]["n_users"].tolist() == [1]
