"""Centres in memory: each point its nearest, costs as low as any, degenerate input defined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from rehearsal.segments.cluster.centres import (
    choose,
    fit_centres,
    judge,
    merge_small,
    nearest,
    stability,
)
from rehearsal.segments.cluster.search import settle
from rehearsal.segments.mixture import fit_mixture

SMALL = st.integers(-3, 3).map(float)


def planted(k: int, n: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Groups of unequal size and width in 8 features."""
    random = np.random.default_rng(seed)
    group = random.choice(k, n, p=random.dirichlet(np.full(k, 2.0)))
    middles, widths = random.normal(size=(k, 8)) * apart, random.uniform(0.5, 1.5, k)
    return middles[group] + random.normal(size=(n, 8)) * widths[group, None], group


def all_squared(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((points[:, None, :] - centres[None]) ** 2).sum(axis=2)


@given(arrays(float, (7, 2), elements=SMALL), arrays(float, (4, 2), elements=SMALL))
def test_nearest_is_right_on_lattices_full_of_ties(points: np.ndarray, centres: np.ndarray) -> None:
    labels, squared, second = nearest(points, centres)
    expected = all_squared(points, centres)
    assert labels.tolist() == expected.argmin(axis=1).tolist()
    assert squared.tolist() == np.sort(expected, axis=1)[:, 0].tolist()
    assert second.tolist() == np.sort(expected, axis=1)[:, 1].tolist()


@pytest.mark.parametrize(("n", "p", "k"), [(5000, 3, 20), (300, 60, 7), (50, 2, 3000)])
def test_a_points_numbers_do_not_depend_on_the_others_asked_about(n: int, p: int, k: int) -> None:
    random = np.random.default_rng(k)
    points, centres = random.normal(size=(n, p)), random.normal(size=(k, p))
    together = nearest(points, centres)
    asked = range(0, n, max(n // 50, 1))
    for i in asked:
        for all_rows, alone in zip(together, nearest(points[i : i + 1], centres), strict=True):
            assert all_rows[i] == alone[0]
    np.testing.assert_allclose(together[1], all_squared(points, centres).min(axis=1), rtol=1e-12)


def test_two_centres_an_ulp_apart_are_told_apart_by_exact_distances() -> None:
    centres = np.array([[1.0 + 2.0**-52, 1.0], [1.0, 1.0]]) * 1e3
    points = np.full((3, 2), 1e3)
    assert nearest(points, centres)[0].tolist() == [1, 1, 1]


def test_a_lone_centre_has_no_runner_up() -> None:
    labels, squared, second = nearest(np.array([[3.0, 4.0]]), np.zeros((1, 2)))
    assert (labels[0], squared[0], second[0]) == (0, 25.0, np.inf)


@pytest.mark.parametrize("apart", [1.0, 3.0])
def test_the_cost_is_no_higher_than_that_of_sklearns_best_of_three(apart: float) -> None:
    points, _ = planted(12, 2000, apart)
    ours = fit_centres(points, 12, seed=1, starts=3, max_iterations=20)
    with threadpool_limits(1):
        theirs = KMeans(12, n_init=3, random_state=0).fit(points)
    assert ours.cost <= 1.01 * theirs.inertia_ / len(points)
    assert ours.cost == pytest.approx(all_squared(points, ours.centres).min(axis=1).mean())


def test_a_group_too_rare_to_be_drawn_often_gets_a_centre_of_its_own() -> None:
    random = np.random.default_rng(3)
    points = np.vstack([random.normal(size=(30_000, 2)), random.normal(size=(20, 2)) + 60])
    for seed in range(3):
        found = fit_centres(points, 3, seed, starts=1, max_iterations=20)
        assert (found.centres > 50).all(axis=1).sum() == 1


def test_a_warm_start_settles_from_where_it_is() -> None:
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    # From here Lloyd stays with a centre for two points and one for each of the others.
    init = np.array([[0.5], [10.0], [11.0]])
    warm = fit_centres(points, 3, seed=1, starts=1, max_iterations=20, init=init)
    assert warm.centres.tolist() == init.tolist()
    assert warm.cost == 0.125


@given(
    arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=SMALL),
    st.integers(1, 6),
)
@settings(max_examples=60)
def test_there_are_as_many_centres_as_asked_or_as_points_differ(points: np.ndarray, k: int) -> None:
    distinct = len(np.unique(points, axis=0))
    found = fit_centres(points, k, seed=1, starts=2, max_iterations=10)
    assert len(found.centres) == min(k, distinct)
    assert np.isfinite(found.centres).all()
    if k >= distinct:
        assert found.cost == 0


def test_a_centre_nobody_is_near_starts_again_at_the_farthest_point() -> None:
    columns = np.array([[0.0, 1.0, 9.0]])
    settled = settle(columns, np.array([[0.0], [100.0]]), 20)
    assert sorted(settled.ravel()) == [0.5, 9.0]


def test_the_panel_agrees_with_sklearn() -> None:
    points, _ = planted(5, 800, 2.0)
    centres = fit_centres(points, 5, seed=1, starts=3, max_iterations=50).centres
    labels = nearest(points, centres)[0]
    panel = judge(points, centres)
    assert panel.k == 5
    assert panel.davies_bouldin == pytest.approx(metrics.davies_bouldin_score(points, labels))
    assert panel.calinski_harabasz == pytest.approx(metrics.calinski_harabasz_score(points, labels))
    a, b = np.sqrt(np.sort(all_squared(points, centres), axis=1)[:, :2].T)
    assert panel.silhouette == pytest.approx(((b - a) / np.maximum(a, b)).mean())
    assert panel.smallest_share == np.bincount(labels).min() / 800


def test_a_single_segment_has_silhouette_zero_and_no_index_of_pairs() -> None:
    panel = judge(np.array([[0.0], [2.0]]), np.array([[1.0]]))
    assert (panel.silhouette, panel.cost, panel.smallest_share) == (0.0, 1.0, 1.0)
    assert np.isnan(panel.davies_bouldin)
    assert np.isnan(panel.calinski_harabasz)


def test_k_is_the_one_with_the_highest_silhouette() -> None:
    points, _ = planted(4, 2000, 8.0)
    best, panels = choose(points, range(2, 8), seed=1, starts=3, max_iterations=20)
    assert len(best.centres) == 4
    assert [panel.k for panel in panels] == [2, 3, 4, 5, 6, 7]
    assert max(panels, key=lambda panel: panel.silhouette).k == 4


def test_k_beyond_the_distinct_points_gives_as_many_segments_as_points() -> None:
    points = np.repeat([[0.0, 0.0], [5.0, 5.0], [9.0, 0.0]], 40, axis=0)
    best, panels = choose(points, range(5, 9), seed=1, starts=2, max_iterations=20)
    assert len(best.centres) == 3
    assert [panel.k for panel in panels] == [3]
    equal, _ = choose(np.ones((9, 2)), range(2, 5), seed=1, starts=2, max_iterations=20)
    assert equal.centres.tolist() == [[1.0, 1.0]]


def test_segments_below_the_floor_go_to_their_neighbours() -> None:
    points = np.array([[0.0]] * 50 + [[10.0]] * 48 + [[11.0]] * 2)
    centres = np.array([[0.0], [10.0], [11.0]])
    merged = merge_small(points, centres, min_share=0.05, max_iterations=20)
    assert sorted(merged.centres.ravel()) == [0.0, pytest.approx(10.04)]
    assert len(merge_small(points, centres, 0.01, 20).centres) == 3
    assert len(merge_small(points, centres, 1.0, 20).centres) == 1


def test_planted_segments_are_stable_and_slices_of_one_blob_are_not() -> None:
    far_apart, _ = planted(4, 2000, 8.0)
    kept = fit_centres(far_apart, 4, 1, 3, 20).centres
    assert (stability(far_apart, kept, seed=1, rounds=5) > 0.99).all()
    blob = np.random.default_rng(0).normal(size=(500, 8))
    slices = fit_centres(blob, 8, 1, 3, 20).centres
    assert stability(blob, slices, seed=1, rounds=5).mean() < 0.6


def test_components_of_a_mixture_are_as_stable_as_a_mixture_finds_them() -> None:
    random = np.random.default_rng(3)
    # A tight group in the middle of a wide one, which no two centres tell apart.
    points = np.vstack([random.normal(size=(1500, 4)) * 0.1, random.normal(size=(1500, 4)) * 2])
    means, mixture = fit_mixture(points, np.repeat([0, 1], 1500), 2, 20)
    assert stability(points, means, 1, 3, mixture).min() > 0.9
    assert stability(points, means, 1, 3).min() < 0.7


def test_the_same_seed_gives_the_same_centres_and_another_one_nearly_the_same_cost() -> None:
    points, _ = planted(10, 3000, 2.0)
    fits = [fit_centres(points, 10, seed, 3, 20) for seed in (1, 1, 2, 3, 4)]
    assert fits[0].centres.tolist() == fits[1].centres.tolist()
    costs = [fit.cost for fit in fits]
    assert max(costs) <= 1.02 * min(costs)
