"""Segments on Spark: as good as sklearn's, the same on any partitioning, placed exactly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.errors import PythonException
from pyspark.ml import PipelineModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from rehearsal.errors import ContractError, ModelError
from rehearsal.seeds import derive_seed
from rehearsal.segments.assign import assign
from rehearsal.segments.cluster.fit import Fit, fit_model, ids_by_size, points_of, sample_users
from rehearsal.segments.cluster.measure import measure
from rehearsal.segments.feature import Feature
from rehearsal.segments.pipeline import to_pipeline
from rehearsal.settings import Segments

FEATURES = (Feature("early", "time"), Feature("old", "profile"), Feature("spent", "value", "log"))
SETTINGS = Segments(k_min=2, k_max=5, fit_sample_users=500)
USERS = 900


def frame(spark: SparkSession, raw: np.ndarray, partitions: int = 2) -> DataFrame:
    values = [[None if np.isnan(x) else float(x) for x in row] for row in raw]
    rows = spark.createDataFrame(
        [(f"u{i}", value) for i, value in enumerate(values)],
        "user_id string, features array<double>",
    )
    return rows.repartition(partitions)


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    """Three unequal groups in three features, the last of them skewed and missing for some."""
    random = np.random.default_rng(4)
    group = np.repeat([0, 1, 2], [USERS // 2, USERS // 3, USERS - USERS // 2 - USERS // 3])
    values = random.normal(size=(USERS, 3)) * 0.3
    values += np.array([[0, 0, 1], [4, 0, 2], [0, 5, 3]])[group]
    values[:, 2] = np.exp(values[:, 2])
    values[::50, 2] = np.nan
    return values


@pytest.fixture(scope="module")
def rows(spark: SparkSession, raw: np.ndarray) -> DataFrame:
    return frame(spark, raw).localCheckpoint()


@pytest.fixture(scope="module")
def fit(rows: DataFrame) -> Fit:
    return fit_model(rows, FEATURES, SETTINGS, seed=7)


def test_planted_segments_are_found_as_well_as_by_sklearn(
    rows: DataFrame, raw: np.ndarray, fit: Fit
) -> None:
    points = fit.model.preparation.apply(raw)
    truth = KMeans(3, n_init=10, random_state=0).fit(points)
    assert fit.model.segments == ("s1", "s2", "s3")
    assert adjusted_rand_score(truth.labels_, fit.model.assign(raw).labels) > 0.95
    assert fit.model.cost == pytest.approx(truth.inertia_ / USERS, rel=0.01)
    assert [panel.k for panel in fit.panels] == [2, 3, 4, 5]
    assert max(fit.panels, key=lambda panel: panel.silhouette).k == 3
    assert min(fit.stability.values()) > 0.9
    assert fit.n_fit_users == 500


def test_a_fit_describes_all_users_and_numbers_segments_by_size(
    rows: DataFrame, raw: np.ndarray, fit: Fit
) -> None:
    model = fit.model
    found = model.assign(raw)
    shares = pd.Series(found.segment_ids).value_counts(normalize=True)
    assert model.shares == pytest.approx(shares.to_dict())
    assert list(model.shares.values()) == sorted(model.shares.values(), reverse=True)
    assert model.cost == pytest.approx(float((found.distance**2).mean()), rel=1e-6)
    gap = 1 - found.distance / found.second_distance
    assert model.silhouette == pytest.approx(float(gap.mean()), rel=1e-6)
    for segment, far in model.far.items():
        distance = found.distance[found.segment_ids == segment]
        within = np.quantile(distance, 0.99, method="inverted_cdf")
        assert within <= far <= within * 1.012
    again = measure(rows, model)
    # Another pass of Lloyd's over everyone would save next to nothing.
    np.testing.assert_allclose(again.means, model.centres, atol=0.05)
    assert again.counts.tolist() == np.bincount(found.labels).tolist()


def test_fit_and_assignment_do_not_depend_on_partitions_or_order(rows: DataFrame, fit: Fit) -> None:
    for partitions in (1, 7):
        again = fit_model(rows.repartition(partitions), FEATURES, SETTINGS, seed=7)
        assert again.model.to_json() == fit.model.to_json()
        assert again.stability == fit.stability


def test_sparks_assignment_equals_that_of_one_user_at_a_time(
    spark: SparkSession, raw: np.ndarray, fit: Fit
) -> None:
    some = raw[:60]
    kept = frame(spark, some).withColumn("n", F.length("user_id").cast("int"))
    placed = assign(kept, fit.model).toPandas().set_index("user_id")
    assert placed.columns.tolist()[0] == "n"
    for i in range(len(some)):
        alone = fit.model.assign(some[i : i + 1])
        row = placed.loc[f"u{i}"]
        assert row["segment_id"] == row["nearest_id"] == alone.segment_ids[0]
        assert row["distance"] == alone.distance[0]
        assert row["second_distance"] == alone.second_distance[0]
    assert placed["membership"].isna().all()


def test_a_stream_is_assigned_as_a_table_is(
    spark: SparkSession, rows: DataFrame, fit: Fit, tmp_path: Path
) -> None:
    rows.limit(40).coalesce(1).write.parquet(str(tmp_path / "users"))
    stream = spark.readStream.schema(rows.schema).parquet(str(tmp_path / "users"))
    query = assign(stream, fit.model).writeStream.format("memory").queryName("placed")
    query.trigger(availableNow=True).start().awaitTermination(60)
    table = assign(spark.read.parquet(str(tmp_path / "users")), fit.model)
    assert spark.table("placed").exceptAll(table).count() == 0
    assert spark.table("placed").count() == 40


@pytest.mark.parametrize("method", ["bisecting", "mixture"])
def test_other_methods_find_planted_segments_too(
    rows: DataFrame, raw: np.ndarray, fit: Fit, method: str
) -> None:
    settings = SETTINGS.model_copy(update={"method": method, "k_min": 3, "k_max": 3})
    other = fit_model(rows, FEATURES, settings, seed=7).model
    found = other.assign(raw)
    assert adjusted_rand_score(fit.model.assign(raw).labels, found.labels) > 0.95
    assert (found.membership is None) == (method == "bisecting")
    placed = assign(rows.limit(5), other).toPandas()
    assert placed["membership"].notna().all() == (method == "mixture")


def test_a_warm_fit_keeps_each_segment_where_its_users_went(
    spark: SparkSession, raw: np.ndarray, fit: Fit
) -> None:
    # The segments drift apart, and their order by size changes with users who leave.
    moved = raw[USERS // 3 :] * [1.5, 1.0, 1.0]
    warm = fit_model(frame(spark, moved), FEATURES, SETTINGS, seed=7, warm=fit.model)
    assert warm.model.segments == fit.model.segments
    assert warm.model.next_number == fit.model.next_number
    before, after = fit.model.assign(raw[USERS // 3 :]), warm.model.assign(moved)
    assert (before.segment_ids == after.segment_ids).mean() > 0.99
    assert warm.panels == ()


def test_a_group_the_sample_missed_makes_all_users_count(spark: SparkSession) -> None:
    raw = np.random.default_rng(0).normal(size=(3000, 1))
    settings = Segments(k_min=2, k_max=2, fit_sample_users=100, min_segment_share=0)
    drawn, _ = sample_users(frame(spark, raw), 100, derive_seed(5, "fit sample"))
    missed = [i for i in range(3000) if f"u{i}" not in set(drawn)][:300]
    raw[missed] = 7.0
    fit = fit_model(frame(spark, raw), FEATURES[:1], settings, seed=5)
    assert fit.n_fit_users == 100
    assert min(fit.model.shares.values()) == pytest.approx(0.1)


def test_the_sample_is_the_same_users_in_the_same_order_on_any_partitioning(
    spark: SparkSession, rows: DataFrame
) -> None:
    ids, raw = sample_users(rows, 100, seed=3)
    again, raw_again = sample_users(rows.repartition(5), 100, seed=3)
    assert ids.tolist() == again.tolist()
    assert len(set(ids)) == 100
    np.testing.assert_array_equal(raw, raw_again)
    assert ids.tolist() != sample_users(rows, 100, seed=4)[0].tolist()
    everyone, _ = sample_users(rows, 10_000, seed=3)
    assert len(everyone) == USERS
    assert everyone[:100].tolist() == ids.tolist()


@pytest.mark.parametrize("pca", [None, 0.9])
def test_the_spark_pipeline_places_every_user_the_same_after_saving(
    spark: SparkSession, rows: DataFrame, tmp_path: Path, pca: float | None
) -> None:
    settings = SETTINGS.model_copy(update={"pca": pca})
    model = fit_model(rows, FEATURES, settings, seed=7).model
    to_pipeline(spark, model).write().overwrite().save(str(tmp_path / "pipeline"))
    loaded = PipelineModel.load(str(tmp_path / "pipeline"))
    ours = assign(rows, model).select("user_id", "segment_id")
    theirs = loaded.transform(rows)
    assert theirs.columns == ["user_id", "features", "point", "cluster", "segment_id"]
    assert ours.exceptAll(theirs.select("user_id", "segment_id")).count() == 0


def test_methods_without_nearest_centres_have_no_pipeline(spark: SparkSession, fit: Fit) -> None:
    with pytest.raises(ModelError, match="a dbscan segmentation has no Spark ML pipeline"):
        to_pipeline(spark, replace(fit.model, method="dbscan"))


@pytest.mark.parametrize(("ignored", "deciding"), [("time", 1), ("profile", 0)])
def test_a_feature_group_with_weight_zero_does_not_place_anyone(
    spark: SparkSession, ignored: str, deciding: int
) -> None:
    # Four equal camps: morning or evening people, young or old.
    camps = np.array([[i % 2, i // 2 % 2] for i in range(40)], dtype=float)
    settings = Segments.model_validate({"k_min": 2, "k_max": 2, "group_weights": {ignored: 0}})
    model = fit_model(frame(spark, camps), FEATURES[:2], settings, seed=1).model
    labels = model.assign(camps).labels
    assert {*zip(labels.tolist(), camps[:, deciding].tolist(), strict=True)} in (
        {(0, 0.0), (1, 1.0)},
        {(0, 1.0), (1, 0.0)},
    )


def test_a_single_user_may_be_a_segment(spark: SparkSession) -> None:
    values = frame(spark, np.array([[0.0], [0.1], [0.05], [9.0]]))
    model = fit_model(values, FEATURES[:1], Segments(k_min=2, k_max=2), seed=1).model
    placed = {row["user_id"]: row["segment_id"] for row in assign(values, model).collect()}
    assert placed == {"u0": "s1", "u1": "s1", "u2": "s1", "u3": "s2"}
    assert model.shares == {"s1": 0.75, "s2": 0.25}


@pytest.mark.parametrize("method", ["kmeans", "bisecting"])
def test_one_user_is_enough_for_one_segment(spark: SparkSession, method: str) -> None:
    alone = frame(spark, np.array([[3.0, np.nan]]), partitions=1)
    settings = Segments.model_validate({"method": method, "k_min": 1, "k_max": 3})
    fit = fit_model(alone, FEATURES[:2], settings, seed=1)
    assert fit.model.segments == ("s1",)
    assert (fit.model.cost, fit.model.silhouette, fit.model.far) == (0.0, 0.0, {"s1": 0.0})
    (row,) = to_pipeline(spark, fit.model).transform(alone).collect()
    assert row["segment_id"] == "s1"


def test_more_segments_than_distinct_users_gives_one_for_each(spark: SparkSession) -> None:
    twice = frame(spark, np.repeat([[0.0], [1.0], [5.0]], 10, axis=0))
    fit = fit_model(twice, FEATURES[:1], Segments(k_min=4, k_max=6), seed=1)
    assert fit.model.segments == ("s1", "s2", "s3")
    assert fit.model.cost == 0.0


def test_too_few_users_for_k_say_what_to_change(spark: SparkSession) -> None:
    with pytest.raises(ContractError, match="only 1 users have 1 or more .* lower segments.k_min"):
        fit_model(frame(spark, np.zeros((1, 1)), 1), FEATURES[:1], SETTINGS, seed=7)


def test_features_of_another_number_are_refused(spark: SparkSession, fit: Fit) -> None:
    other = frame(spark, np.zeros((1, 2)), 1)
    with pytest.raises(PythonException, match="arrays of .2. numbers .* model has 3 features"):
        assign(other, fit.model).collect()


def test_points_and_ids_are_what_the_model_makes_of_them(
    rows: DataFrame, raw: np.ndarray, fit: Fit
) -> None:
    made = points_of(rows, fit.model.preparation).where("user_id = 'u3'").collect()[0]
    assert made["point"] == fit.model.preparation.apply(raw[3:4])[0].tolist()
    assert ids_by_size([5, 9, 9]) == ("s3", "s1", "s2")
    assert ids_by_size([0] * 9 + [1])[-2:] == ("s10", "s01")
