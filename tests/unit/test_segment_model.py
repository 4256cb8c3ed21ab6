"""A fitted segmentation as one value: prepares and places a user alone as among millions."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from rehearsal.segments.feature import Feature
from rehearsal.segments.mixture import fit_mixture
from rehearsal.segments.model import NOISE, SegmentModel
from rehearsal.segments.preparation import fit_preparation
from rehearsal.settings import Segments
from rehearsal.tables import schemas

A, B, C = Feature("a", "time"), Feature("b", "time"), Feature("c", "profile", "log")


def asked(**more: object) -> Segments:
    return Segments.model_validate(more)


def sample(n: int = 400) -> np.ndarray:
    random = np.random.default_rng(1)
    raw = random.normal(size=(n, 3)) * [1.0, 5.0, 1.0]
    raw[:, 2] = np.exp(3 * raw[:, 2])
    raw[::7, 1] = np.nan
    return raw


def kmeans(raw: np.ndarray, **more: object) -> SegmentModel:
    preparation = fit_preparation(raw, (A, B, C), asked(**more))
    centres = preparation.apply(raw)[[0, 1, 3]]
    return SegmentModel("kmeans", preparation, centres, ("s1", "s2", "s3"), 4, 11)


def test_a_feature_is_scaled_by_its_spread_about_the_median() -> None:
    raw = np.array([[0.0], [2.0], [4.0], [6.0], [18.0]])
    preparation = fit_preparation(raw, (A,), asked())
    assert preparation.centre.tolist() == [4.0]
    spread = preparation.scale[0]
    expected = (raw - 4) / spread * preparation.weights
    np.testing.assert_allclose(preparation.apply(raw), expected)
    # The mean of 6 and the squares of 1 to 12 about it; the ends are a fraction of one user apart.
    assert spread == pytest.approx(np.sqrt((36 + 16 + 4 + 0 + 144) / 5), rel=0.02)


def test_features_that_say_the_same_count_once_and_those_that_differ_each() -> None:
    first, second = np.array([[1.0, 1, -1, -1] * 25, [1.0, -1, 1, -1] * 25])
    same = fit_preparation(np.column_stack([first, first]), (A, B), asked()).weights
    differ = fit_preparation(np.column_stack([first, second]), (A, B), asked()).weights
    # Two columns of variance 1: an axis of variance 2 when equal, two of 1 when uncorrelated.
    np.testing.assert_allclose(same, [np.sqrt(1 / 2)] * 2)
    np.testing.assert_allclose(differ, [1.0, 1.0])


def test_a_group_weighs_what_was_asked_for_it_beside_the_others() -> None:
    raw = np.random.default_rng(0).normal(size=(500, 3))
    plain = fit_preparation(raw, (A, B, C), asked()).weights
    heavy = fit_preparation(raw, (A, B, C), asked(group_weights={"time": 2})).weights
    np.testing.assert_allclose(heavy, plain * [2, 2, 1])


def test_a_few_wild_users_do_not_widen_the_scale_of_all() -> None:
    usual = np.random.default_rng(0).normal(size=(10_000, 1))
    wild = np.vstack([usual, np.full((20, 1), 1e6)])
    scales = [fit_preparation(raw, (A,), asked()).scale[0] for raw in (usual, wild)]
    assert scales[0] == pytest.approx(1.0, abs=0.05)
    assert scales[1] == pytest.approx(1.0, abs=0.05)


def test_a_feature_that_all_but_a_few_users_share_is_scaled_by_its_standard_deviation() -> None:
    raw = np.array([[0.1]] * 999 + [[10.1]])
    preparation = fit_preparation(raw, (A,), asked())
    assert preparation.scale[0] == pytest.approx(raw.std())


def test_tails_are_tamed_before_scaling() -> None:
    raw = np.array([[0.0], [np.e - 1], [np.e**2 - 1], [np.e**3 - 1], [np.e**4 - 1]])
    logged = fit_preparation(raw, (Feature("a", "time", "log"),), asked())
    assert logged.centre[0] == pytest.approx(2.0)
    rooted = fit_preparation(raw**2, (Feature("a", "time", "sqrt"),), asked())
    assert rooted.centre[0] == pytest.approx(np.e**2 - 1)
    assert logged.apply(np.array([[-5.0]])) == pytest.approx(logged.apply(np.array([[0.0]])))


def test_missing_and_absurd_values_stand_at_the_median_and_wild_ones_are_clipped() -> None:
    preparation = fit_preparation(np.arange(9.0)[:, None], (A,), asked())
    gaps = np.array([[np.nan], [np.inf], [-np.inf], [1e300]])
    assert preparation.apply(gaps).ravel().tolist() == [0.0] * 4
    assert preparation.apply(np.array([[1e9], [-1e9]])).ravel().tolist() == [8.0, -8.0]


def test_constant_and_missing_features_place_nobody() -> None:
    raw = np.array([[1.0, np.nan, 5.0], [2.0, np.nan, 5.0], [3.0, np.nan, 5.0]])
    preparation = fit_preparation(raw, (A, B, C), asked())
    assert preparation.weights.tolist() == [1.0, 0.0, 0.0]
    moved = raw + np.array([0.0, 7.0, 7.0])
    assert preparation.apply(moved).tolist() == preparation.apply(raw).tolist()


def test_principal_axes_keep_the_share_asked_for_and_the_distances() -> None:
    raw = sample()
    raw[:, 1] = raw[:, 0] + raw[:, 1] / 100
    plain = fit_preparation(raw, (A, B, C), asked()).apply(raw)
    turned = fit_preparation(raw, (A, B, C), asked(pca=0.9))
    reference = PCA().fit(plain)
    kept = np.cumsum(reference.explained_variance_ratio_)
    assert turned.width == 2
    assert turned.retained == pytest.approx(kept[1])
    whole = fit_preparation(raw, (A, B, C), asked(pca=1.0)).apply(raw)
    np.testing.assert_allclose(
        np.linalg.norm(whole[0] - whole[1:], axis=1), np.linalg.norm(plain[0] - plain[1:], axis=1)
    )


@pytest.mark.parametrize("more", [{}, {"pca": 0.9}])
def test_a_user_alone_gets_the_same_bits_as_among_others(more: dict[str, float]) -> None:
    raw = sample()
    model = kmeans(raw, **more)
    together = model.assign(raw)
    for i in range(0, len(raw), 5):
        alone = model.assign(raw[i : i + 1])
        assert alone.segment_ids[0] == together.segment_ids[i]
        assert alone.distance[0] == together.distance[i]
        assert alone.second_distance[0] == together.second_distance[i]


def test_json_brings_back_every_bit() -> None:
    raw = sample()
    means, mixture = fit_mixture(kmeans(raw).preparation.apply(raw), np.arange(400) % 3, 3, 5)
    model = replace(
        kmeans(raw, pca=0.9), reach=0.1 + 0.2, shares={"s1": 1 / 3}, far={"s1": 2 / 3}, cost=0.1
    )
    for made in (model, replace(kmeans(raw), method="mixture", centres=means, mixture=mixture)):
        text = made.to_json()
        json.loads(text, parse_constant=pytest.fail)
        again = SegmentModel.from_json(text)
        assert again.to_json() == text
        assert again.segments == made.segments
        before, after = made.assign(raw), again.assign(raw)
        assert after.distance.tolist() == before.distance.tolist()
        assert after.segment_ids.tolist() == before.segment_ids.tolist()


def one_feature(**more: object) -> SegmentModel:
    preparation = fit_preparation(np.arange(5.0)[:, None], (A,), asked())
    unit = replace(preparation, centre=np.zeros(1), scale=np.ones(1), weights=np.ones(1))
    centres = np.array([[0.0], [1.0], [5.0]])
    made = SegmentModel("dbscan", unit, centres, ("s1", "s1", "s2"), 3, 1)
    return replace(made, **more)


def test_distances_are_to_the_nearest_of_a_segments_centres() -> None:
    model = one_feature()
    found = model.assign(np.array([[0.9], [4.0]]))
    assert found.segment_ids.tolist() == ["s1", "s2"]
    assert found.distance == pytest.approx([0.1, 1.0])
    to = model.distance_to(np.array([[0.9], [0.9], [0.9], [0.9]]), ["s1", "s2", "s9", None])
    assert to[:2] == pytest.approx([0.1, 4.1])
    assert np.isnan(to[2:]).all()


def test_users_out_of_reach_are_noise_or_only_flagged() -> None:
    raw = np.array([[0.0], [3.0]])
    noise = one_feature(reach=1.5).assign(raw)
    assert noise.segment_ids.tolist() == ["s1", NOISE]
    assert noise.nearest_ids.tolist() == ["s1", "s1"]
    assert noise.is_noise.tolist() == [False, True]
    flagged = one_feature(reach=1.5, assign_noise=True).assign(raw)
    assert flagged.segment_ids.tolist() == ["s1", "s1"]
    assert flagged.is_noise.tolist() == [False, True]
    assert NOISE == schemas.NOISE


def test_without_any_dense_place_everyone_is_noise() -> None:
    empty = one_feature(centres=np.empty((0, 1)), segment_ids=(), reach=1.0)
    found = empty.assign(np.array([[0.0], [3.0]]))
    assert found.segment_ids.tolist() == [NOISE, NOISE]
    assert found.is_noise.all()


def test_thousands_of_centres_place_users_as_their_distances_say() -> None:
    random = np.random.default_rng(0)
    # A lattice: many users are as near to two centres or more.
    centres = random.integers(0, 30, size=(2000, 2)).astype(float)
    ids = tuple(f"s{i % 3}" for i in range(2000))
    raw = random.integers(0, 60, size=(300, 2)) / 2
    preparation = fit_preparation(raw, (A, B), asked())
    # Values to 30 pass the clip unharmed, and powers of two scale exactly.
    eights = np.full(2, 8.0)
    unit = replace(preparation, centre=np.zeros(2), scale=eights, weights=eights)
    found = SegmentModel("dbscan", unit, centres, ids, 4, 1).assign(raw)
    squared = ((raw[:, None, :] - centres[None]) ** 2).sum(axis=2)
    assert found.labels.tolist() == squared.argmin(axis=1).tolist()
    assert found.distance.tolist() == np.sqrt(squared.min(axis=1)).tolist()
    assert np.isinf(found.second_distance).all()


def test_a_mixture_finds_what_sklearn_finds() -> None:
    random = np.random.default_rng(2)
    points = np.vstack([random.normal(size=(300, 2)) * [3, 0.3], random.normal(size=(200, 2)) + 2])
    labels = (points[:, 1] > 1).astype(int)
    means, mixture = fit_mixture(points, labels, 2, 200)
    reference = GaussianMixture(2, tol=1e-6, max_iter=500, means_init=means).fit(points)
    np.testing.assert_allclose(means, reference.means_, atol=0.02)
    np.testing.assert_allclose(
        mixture.membership(points, means), reference.predict_proba(points), atol=0.02
    )


def test_membership_is_a_users_own_and_the_segment_the_likeliest() -> None:
    raw = sample()
    base = kmeans(raw)
    points = base.preparation.apply(raw)
    means, mixture = fit_mixture(points, base.assign(raw).labels, 3, 10)
    model = replace(base, method="mixture", centres=means, mixture=mixture)
    found = model.assign(raw)
    assert found.membership is not None
    np.testing.assert_allclose(found.membership.sum(axis=1), 1.0)
    assert found.labels.tolist() == found.membership.argmax(axis=1).tolist()
    np.testing.assert_allclose(
        found.distance, np.linalg.norm(points - means[found.labels], axis=1), rtol=1e-12
    )
    for i in range(0, len(raw), 20):
        alone = model.assign(raw[i : i + 1]).membership
        assert alone is not None
        assert alone[0].tolist() == found.membership[i].tolist()


def test_a_mixture_of_users_who_share_one_point_is_not_singular() -> None:
    points = np.repeat([[0.0, 0.0], [1.0, 1.0]], 30, axis=0)
    means, mixture = fit_mixture(points, np.arange(60) % 3, 3, 20)
    assert np.isfinite(mixture.membership(points, means)).all()
    still = np.zeros((5, 2))
    means, mixture = fit_mixture(still, np.zeros(5, int), 1, 20)
    assert mixture.membership(still, means).tolist() == [[1.0]] * 5


def test_a_service_needs_neither_spark_nor_sklearn() -> None:
    code = (
        "import sys, rehearsal.segments.model; "
        "print({'pyspark', 'sklearn', 'pandas'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
