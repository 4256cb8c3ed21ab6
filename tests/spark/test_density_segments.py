"""Density segments: exactly scikit-learn's clusters at the fit, noise a cohort of its own."""

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from sklearn.cluster import DBSCAN

from rehearsal.errors import ContractError, SettingsError
from rehearsal.segments.cluster import fit_density as fit_density_module
from rehearsal.segments.cluster.fit_density import fit_density
from rehearsal.segments.feature import Feature
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.place_users import place_users
from rehearsal.settings import Adapt, Dbscan, Segments

FEATURES = (
    Feature("requests", "activity"),
    Feature("share of search", "type shares"),
    Feature("age", "profile"),
)


def crowd() -> np.ndarray:
    """Two dense groups of 120 and 60 users in the first two features, and 20 far from anyone."""
    random = np.random.default_rng(4)
    groups = [random.normal(mean, 0.1, (n, 2)) for mean, n in ((0.0, 120), (3.0, 60))]
    loners = random.uniform(-8, 8, (20, 2)) + 20 * np.sign(random.normal(size=(20, 2)))
    shape = np.vstack([*groups, loners])
    return np.column_stack([shape, random.normal(40, 10, len(shape))])


def users(spark: SparkSession, raw: np.ndarray) -> DataFrame:
    rows = [
        (f"u{i:03d}", 5, None, [float(x) for x in row], None, None, None)
        for i, row in enumerate(raw)
    ]
    return spark.createDataFrame(
        rows,
        "user_id string, n_requests bigint, value double, features array<double>, "
        "previous_segment_id string, previous_pending_id string, previous_pending_runs int",
    ).repartition(3)


def density(**values: object) -> Segments:
    return Segments(method="dbscan", dbscan=Dbscan.model_validate(values))


def test_named_features_give_exactly_the_clusters_of_scikit_learn(spark: SparkSession) -> None:
    raw = crowd()
    rows = users(spark, raw)
    settings = density(features=("requests", "share of search"), min_points=5, eps=0.2)
    fit = fit_density(rows, FEATURES, settings, seed=1)
    placed = place_users(rows, fit.model, Adapt(), 1, fit.exact).orderBy("user_id").collect()
    points = fit.model.preparation.apply(raw)
    expected = DBSCAN(eps=0.2, min_samples=5).fit_predict(points)
    names = {-1: "noise", 0: "s1", 1: "s2"}  # the first of scikit-learn's is the larger one here
    assert [row["segment_id"] for row in placed] == [names[label] for label in expected]
    assert (expected == -1).sum() >= 15
    assert all(row["is_noise"] == (row["segment_id"] == "noise") for row in placed)
    # What the model itself makes of everyone is what later runs are held against.
    alone = fit.model.assign(raw).segment_ids
    assert fit.model.shares == {name: (alone == name).mean() for name in ("noise", "s1", "s2")}
    assert fit.model.shares["noise"] == pytest.approx((expected == -1).mean(), abs=0.02)


def test_a_model_too_small_for_every_dense_cell_still_tells_dense_from_noise(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = crowd()
    rows = users(spark, raw)
    settings = density(features=("requests", "share of search"), min_points=5, eps=0.015)
    whole = fit_density(rows, FEATURES, settings, seed=1).model
    monkeypatch.setattr(fit_density_module, "_REPRESENTATIVES", 8)
    small = fit_density(rows, FEATURES, settings, seed=1).model
    assert len(small.centres) <= 8 < len(whole.centres)
    assert small.reach is not None
    assert small.reach > 0.015
    same = small.assign(raw).segment_ids == whole.assign(raw).segment_ids
    assert same.mean() > 0.95
    assert small.shares["noise"] == pytest.approx(whole.shares["noise"], abs=0.02)


def test_clusters_too_small_for_a_segment_are_noise_unless_they_are_to_be_kept(
    spark: SparkSession,
) -> None:
    raw = crowd()
    rows = users(spark, raw)
    chosen = density(features=("requests", "share of search"), min_points=5, eps=0.2)
    chosen = chosen.model_copy(update={"min_segment_share": 0.4})  # 120 users are, 60 are not
    fit = fit_density(rows, FEATURES, chosen, seed=1)
    placed = place_users(rows, fit.model, Adapt(), 1, fit.exact).groupBy("segment_id").count()
    assert dict(map(tuple, placed.collect())) == {"s1": 120, "noise": 80}
    assert fit.model.assign(raw[120:180]).segment_ids.tolist() == ["noise"] * 60
    kept = fit_density(rows, FEATURES, chosen.model_copy(update={"small_segments": "flag"}), seed=1)
    assert kept.model.segments == ("s1", "s2")


def test_a_user_out_of_reach_is_noise_at_once(spark: SparkSession) -> None:
    raw = crowd()
    settings = density(features=("requests", "share of search"), min_points=5, eps=0.2)
    fit = fit_density(users(spark, raw), FEATURES, settings, seed=1)
    far = [("u", 5, None, [90.0, 90.0, 40.0], "s1", None, None)]
    rows = spark.createDataFrame(far, users(spark, raw[:1]).schema)
    (row,) = place_users(rows, fit.model, Adapt(), 1).collect()
    assert (row["segment_id"], row["pending_id"]) == ("noise", None)


def test_without_features_it_looks_at_components_and_says_how_much_they_keep(
    spark: SparkSession,
) -> None:
    rows = users(spark, crowd())
    fit = fit_density(rows, FEATURES, density(components=2, min_points=5), seed=1)
    assert fit.model.preparation.width == 2
    assert fit.retained is not None
    assert 0.7 < fit.retained < 1
    assert fit.model.reach is not None
    assert fit.k_distances[0] <= fit.model.reach <= fit.k_distances[-1]


def test_noise_can_go_to_the_nearest_segment_and_stays_flagged(spark: SparkSession) -> None:
    rows = users(spark, crowd())
    settings = density(
        features=("requests", "share of search"), min_points=5, eps=0.2, assign_noise=True
    )
    fit = fit_density(rows, FEATURES, settings, seed=1)
    placed = place_users(rows, fit.model, Adapt(), 1, fit.exact).toPandas()
    assert set(placed["segment_id"]) == {"s1", "s2"}
    assert placed["is_noise"].sum() >= 15


def test_where_nobody_is_dense_all_are_noise_and_later_users_too(spark: SparkSession) -> None:
    raw = crowd()
    rows = users(spark, raw)
    fit = fit_density(rows, FEATURES, density(components=2, min_points=150, eps=0.1), seed=1)
    placed = place_users(rows, fit.model, Adapt(), 1, fit.exact).toPandas()
    assert set(placed["segment_id"]) == {"noise"}
    assert placed["distance"].isna().all()
    assert fit.model.shares == {"noise": 1.0}
    later = SegmentModel.from_json(fit.model.to_json()).assign(raw[:3])
    assert later.segment_ids.tolist() == ["noise"] * 3


def test_a_feature_that_does_not_exist_is_named_with_those_that_do(spark: SparkSession) -> None:
    with pytest.raises(SettingsError, match="no feature income; there are requests, share of"):
        fit_density(users(spark, crowd()), FEATURES, density(features=("income",)), seed=1)


def test_nobody_with_history_says_what_to_change(spark: SparkSession) -> None:
    nobody = users(spark, crowd()).where("user_id = 'none'")
    with pytest.raises(ContractError, match="no user has 1 or more requests .*history_days"):
        fit_density(nobody, FEATURES, density(eps=0.2), seed=1)


def test_a_user_holds_on_to_a_segment_and_new_or_cold_users_do_not(spark: SparkSession) -> None:
    raw = crowd()
    fit = fit_density(
        users(spark, raw),
        FEATURES,
        density(features=("requests", "share of search"), min_points=5, eps=0.2),
        seed=1,
    )
    first = raw[0].tolist()
    rows = spark.createDataFrame(
        [
            ("new", 5, None, first, None, None, None),
            ("back", 5, None, first, "cold", None, None),
            ("moved", 5, None, first, "s2", None, None),
            ("gone quiet", 0, None, [None, None, 40.0], "s1", None, None),
        ],
        users(spark, raw[:1]).schema,
    )
    placed = {r["user_id"]: r for r in place_users(rows, fit.model, Adapt(), 1).collect()}
    assert {name: row["segment_id"] for name, row in placed.items()} == {
        "new": "s1", "back": "s1", "moved": "s1", "gone quiet": "cold",
    }  # fmt: skip
    assert placed["gone quiet"]["distance"] is None
