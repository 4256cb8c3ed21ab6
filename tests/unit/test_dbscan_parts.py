"""The parts of DBSCAN over boxes, each alone."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from rehearsal.errors import ContractError
from rehearsal.segments.cluster.dbscan.cluster import check_settings
from rehearsal.segments.cluster.dbscan.epsilon import knee_of, nearest_distances
from rehearsal.segments.cluster.dbscan.grid import (
    LARGEST_COORDINATE_IN_EPS,
    cell_side,
    cells,
    collapse,
    group,
)
from rehearsal.segments.cluster.dbscan.kernel import cluster_points
from rehearsal.segments.cluster.dbscan.merge import Summary, merge
from rehearsal.segments.cluster.dbscan.neighbours import (
    are_neighbours,
    neighbours_between,
    neighbours_within,
)
from rehearsal.segments.cluster.dbscan.plan import (
    Plan,
    in_grown_box,
    make_plan,
    number_of_boxes,
)
from rehearsal.segments.cluster.dbscan.scatter import scatter

# ---- cells and equal rows


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0, 1))
def test_points_of_one_cell_are_neighbours_however_far_out(
    seed: int, dimensions: int, how_far: float
) -> None:
    rng, eps = np.random.default_rng(seed), 0.3
    far = rng.uniform(-1, 1, dimensions) * eps * LARGEST_COORDINATE_IN_EPS**how_far
    corner = np.floor(far / cell_side(eps, dimensions)) * cell_side(eps, dimensions)
    points = corner + rng.integers(0, 2, (20, dimensions)) * cell_side(eps, dimensions) * 0.9999
    cell, n_cells = group(cells(points, eps))
    for number in range(n_cells):
        rows = np.flatnonzero(cell == number)
        assert are_neighbours(points, np.repeat(rows[0], len(rows)), rows, eps).all()


def test_equal_points_become_one_with_their_number_and_minus_zero_is_zero() -> None:
    points = np.array([[1.0, 2.0], [0.0, 5.0], [1.0, 2.0], [-0.0, 5.0], [1.0, 3.0]])
    distinct, weights, place = collapse(points)
    assert distinct.tolist() == [[0.0, 5.0], [1.0, 2.0], [1.0, 3.0]]
    assert weights.tolist() == [2, 2, 1]
    assert place.tolist() == [1, 0, 1, 0, 2]


def test_rows_of_integers_are_told_apart_where_their_ranges_exceed_64_bits() -> None:
    far = 2**41
    rows = np.array([[0, 0, 0], [far, 0, 0], [0, far, 0], [0, 0, far], [far, 0, 0], [far] * 3])
    numbers, n_groups = group(rows)
    assert n_groups == 5
    assert numbers[1] == numbers[4]


# ---- neighbours


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([3, 50, 10**6]))
@settings(max_examples=50)
def test_pairs_listed_in_parts_are_all_pairs_each_once(
    seed: int, dimensions: int, at_once: int
) -> None:
    points = np.random.default_rng(seed).random((60, dimensions))
    first, second = np.triu_indices(60, 1)
    near = are_neighbours(points, first, second, 0.4)
    expected = set(zip(first[near].tolist(), second[near].tolist(), strict=True))
    listed = pairs(neighbours_within(points, np.arange(60), 0.4, at_once))
    assert len(listed) == len(expected)
    assert {(min(pair), max(pair)) for pair in listed} == expected
    across = pairs(neighbours_between(points, np.arange(25), np.arange(25, 60), 0.4, at_once))
    assert sorted(across) == sorted((a, b) for a, b in expected if a < 25 <= b)


def pairs(parts: Iterator[tuple[np.ndarray, np.ndarray]]) -> list[tuple[int, int]]:
    return [pair for a, b in parts for pair in zip(a.tolist(), b.tolist(), strict=True)]


# ---- dense cells


@pytest.mark.parametrize("size", [12, 400], ids=["by all pairs", "by a tree"])
@pytest.mark.parametrize(("gap", "n_clusters"), [(0.999, 1), (1.0, 1), (1.001, 2)])
def test_two_dense_cells_are_one_cluster_where_their_nearest_points_are_within_eps(
    size: int, gap: float, n_clusters: int
) -> None:
    # Cells of eps 1 have sides of 0.706; the first point of each heap is out of the other's reach.
    left = np.linspace(-0.7, -0.5, size)
    points = np.append(left, [-0.5 + gap, *np.linspace(0.6, 0.7, size)][: size + 1])
    plane = np.column_stack([points, np.zeros(len(points))])
    ones = np.ones(len(plane), int)
    found = cluster_points(plane, ones, ones > 0, 1.0, 10)
    assert found.core.all()
    assert len(np.unique(found.component)) == n_clusters


@pytest.mark.parametrize("size", [12, 400], ids=["by all pairs", "by a tree"])
@pytest.mark.parametrize(("bridge", "n_clusters"), [([], 2), ([[0.71, 0.5]], 1)])
def test_two_dense_cells_whose_bounds_are_within_eps_and_points_are_not_stay_apart(
    size: int, bridge: list[list[float]], n_clusters: int
) -> None:
    # Two slanted heaps, of which the nearest are (-.1, .01) and (.71, .69), 1.058 apart.
    left = np.linspace([-0.7, 0.69], [-0.1, 0.01], size)
    right = np.linspace([1.3, 0.01], [0.71, 0.69], size)
    points = np.concatenate([left, right, np.array(bridge).reshape(-1, 2)])
    ones = np.ones(len(points), int)
    found = cluster_points(points, ones, ones > 0, 1.0, 10)
    assert found.core.all()
    assert len(np.unique(found.component)) == n_clusters


# ---- plan and scatter


def skewed(n: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.concatenate([rng.random((n // 2, 2)) * 100, 40 + rng.random((n // 2, 2)) * 10])


def test_planned_faces_are_four_eps_apart() -> None:
    plan = make_plan(skewed(4000), 0.8, 10, 1.0, 40)
    assert plan.n_boxes > 10
    widths = plan.upper - plan.lower
    assert widths.min() >= 4 * 0.8


def test_half_the_points_in_a_hundredth_of_the_area_get_about_half_the_boxes() -> None:
    points = skewed(20_000)
    plan = make_plan(points, 0.1, 10, 1.0, 16)
    owned = [int(own.sum()) for _, _, own in scatter(points, plan)]
    assert plan.n_boxes == 16
    assert max(owned) < 2.5 * len(points) / 16


def test_a_cut_is_put_where_no_points_are() -> None:
    rng = np.random.default_rng(2)
    points = np.append(rng.random(1000) * 30, 40 + rng.random(1400) * 30)[:, None]
    plan = make_plan(points, 1.0, 10, 1.0, 2)
    assert 30 < plan.cut[0] < 40


@pytest.mark.parametrize("points", [np.zeros((500, 2)), np.random.default_rng(1).random((500, 2))])
def test_points_of_less_than_eight_eps_stay_in_one_box(points: np.ndarray) -> None:
    assert make_plan(points, 0.2, 10, 100.0, 64).n_boxes == 1


def test_the_number_of_boxes_follows_the_points_and_the_parallelism() -> None:
    assert number_of_boxes(1000, 2, parallelism=8) == 1
    assert number_of_boxes(400_000, 2, parallelism=8) == 8
    assert number_of_boxes(400_000, 2, parallelism=2) == 4
    assert number_of_boxes(100_000_000, 2, parallelism=8) == 800
    assert number_of_boxes(100_000_000, 3, parallelism=8) == 400


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(max_examples=30)
def test_every_point_has_one_owner_and_a_box_sees_all_within_two_eps(
    seed: int, dimensions: int
) -> None:
    points = np.random.default_rng(seed).random((300, dimensions)) * 40
    plan = make_plan(points, 1.0, 5, 1.0, 6)
    owners = np.zeros(300, int)
    for box, rows, owned in scatter(points, plan):
        owners[rows[owned]] += 1
        assert set(rows.tolist()) >= set(grown(points, plan, box).tolist())
        inside = (points >= plan.lower[box]) & (points < plan.upper[box])
        assert set(rows[owned].tolist()) == set(np.flatnonzero(inside.all(axis=1)).tolist())
    assert (owners == 1).all()


def grown(points: np.ndarray, plan: Plan, box: int) -> np.ndarray:
    return np.flatnonzero(in_grown_box(points, plan, box, times=2))


# ---- merge


def test_clusters_that_share_a_cell_are_one_and_numbers_follow_the_smallest_user() -> None:
    nothing = np.zeros((0, 2), int), np.zeros(0, int)
    left = Summary(0, ["u3", "u9"], np.array([[4, 4]]), np.array([1]), [np.array([0, 1])], 5, 1)
    right = Summary(1, ["u10", None], np.array([[4, 4]]), np.array([0]), [], 4, 0)
    alone = Summary(7, ["u2"], *nothing, [], 3, 2)
    merged = merge([left, right, alone])
    # As text, "u10" < "u2" < "u3" < "u9": the joined cluster comes first.
    assert merged.clusters[0].tolist() == [2, 0, 0]
    assert merged.clusters[1].tolist()[0] == 0
    assert merged.clusters[7].tolist() == [1]
    assert (merged.n_clusters, merged.n_core, merged.n_noise) == (3, 12, 3)


# ---- settings and the knee


@pytest.mark.parametrize("eps", [0, 0.0, -1.0, float("nan"), float("inf"), 1e-200])
def test_a_radius_that_is_none_is_refused_by_its_key(eps: float) -> None:
    with pytest.raises(ContractError, match=r"segments\.dbscan\.eps is .* set it above 0"):
        check_settings(eps, 5)


def test_fewer_than_one_point_is_refused_by_its_key() -> None:
    with pytest.raises(ContractError, match=r"segments\.dbscan\.min_points is 0"):
        check_settings(1.0, 0)


def test_the_knee_is_farthest_below_the_chord() -> None:
    # Scaled to [0, 1] the heights are 0, .05, .1, .4, 1 at 0, .25, .5, .75, 1: below the chord by
    # 0, .2, .4, .35, 0.
    assert knee_of(np.array([2.0, 3.0, 4.0, 10.0, 22.0])).eps == 4.0


def test_equal_users_do_not_pull_the_knee_to_zero() -> None:
    rising = np.array([2.0, 3.0, 4.0, 10.0, 22.0])
    assert knee_of(np.append(np.zeros(50), rising)).eps == 4.0


@pytest.mark.parametrize("curve", [[3.0], [3.0, 3.0, 3.0]])
def test_a_flat_curve_gives_its_value(curve: list[float]) -> None:
    assert knee_of(np.array(curve)).eps == 3.0


def test_distances_that_are_all_zero_give_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ContractError, match=r"set segments\.dbscan\.eps"):
        knee_of(np.zeros(10))


def test_the_curve_is_thinned_for_plotting_and_keeps_its_ends() -> None:
    found = knee_of(np.linspace(1, 9, 5000) ** 2)
    assert len(found.shares) == len(found.distances) == 200
    assert (found.distances[0], found.distances[-1], found.shares[-1]) == (1.0, 81.0, 1.0)


@pytest.mark.parametrize("count", [1, 4])
def test_nearest_distances_over_parts_are_those_over_all(count: int) -> None:
    points = np.random.default_rng(4).random((200, 3))
    expected, _ = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(points[:20])
    parts = [points[:3], points[3:90], points[90:]]
    np.testing.assert_allclose(nearest_distances(parts, points[:20], count), expected)


def test_fewer_points_than_asked_for_are_infinitely_far() -> None:
    found = nearest_distances([np.zeros((2, 1))], np.zeros((1, 1)), 3)
    assert found.tolist() == [[0.0, 0.0, np.inf]]
