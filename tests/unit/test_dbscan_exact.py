"""DBSCAN over boxes finds what scikit-learn finds in one piece, to the last label."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from rehearsal.segments.cluster.dbscan.in_memory import cluster_in_memory
from rehearsal.segments.cluster.dbscan.kernel import cluster_points
from rehearsal.segments.cluster.dbscan.plan import Cuts, Plan, make_plan

# Steps of a lattice in eps: neighbours at exactly eps along an axis, or across.
STEPS = (1, 1 / 2, 1 / 4, 1 / 5, 1 / 3, 0.5**0.5, 3**-0.5)


@dataclass(frozen=True)
class Case:
    points: np.ndarray
    min_points: int
    plan: Plan


def make_case(seed: int) -> Case:
    """One small adversarial input: its kind, its size and its boxes follow from the seed."""
    rng = np.random.default_rng(seed)
    eps = float(rng.choice([0.1, 0.3, 0.5, 1.0, 2.0]))
    n, dimensions = int(rng.integers(1, 250)), int(rng.integers(1, 6))
    make = [scattered, lattice, repeated, collinear, blobs][rng.integers(5)]
    points = make(rng, n, dimensions) * eps - rng.integers(0, 2) * 3 * eps
    return Case(points, int(rng.integers(1, 12)), random_boxes(rng, points, eps))


def scattered(rng: np.random.Generator, n: int, dimensions: int) -> np.ndarray:
    return rng.random((n, dimensions)) * rng.uniform(1, 12)


def lattice(rng: np.random.Generator, n: int, dimensions: int) -> np.ndarray:
    return rng.integers(-4, 8, (n, dimensions)) * float(rng.choice(STEPS))


def repeated(rng: np.random.Generator, n: int, dimensions: int) -> np.ndarray:
    """Half of the points are one point, and others repeat too."""
    points = rng.random((n, dimensions)) * 8
    points[rng.integers(0, n, n // 2)] = points[0]
    return points[rng.integers(0, n, n)]


def collinear(rng: np.random.Generator, n: int, dimensions: int) -> np.ndarray:
    return rng.random((n, 1)) * 20 * rng.integers(-1, 2, (1, dimensions))


def blobs(rng: np.random.Generator, n: int, dimensions: int) -> np.ndarray:
    sizes = [(n // 3 + 1, dimensions)] * 3
    return np.concatenate(
        [rng.normal(rng.uniform(-5, 5, dimensions), rng.uniform(0.05, 1), size) for size in sizes]
    )


def random_boxes(rng: np.random.Generator, points: np.ndarray, eps: float) -> Plan:
    """Up to 9 boxes, some only 0.3 eps wide, some cut right through a point."""
    cuts = Cuts(points.shape[1])
    for _ in range(rng.integers(0, 9)):
        box, axis = int(rng.integers(len(cuts.lower))), int(rng.integers(points.shape[1]))
        low = max(cuts.lower[box][axis], points[:, axis].min() - eps) + 0.3 * eps
        high = min(cuts.upper[box][axis], points[:, axis].max() + eps) - 0.3 * eps
        through = float(points[rng.integers(len(points)), axis])
        cut = through if rng.random() < 0.3 else float(rng.uniform(low, max(low, high)))
        if low <= cut <= high:
            cuts.split(box, axis, cut)
    return cuts.plan(eps)


def reference(points: np.ndarray, eps: float, min_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and core mask of scikit-learn.

    With its trees, as it chooses for more than 11 points: for fewer it expands the squares, which
    misses neighbours at exactly eps. Where a sum of squares is above eps * eps by no more than a
    rounding error, the answer hangs on how a tree is laid out, so it gets the distances decided.
    """
    squares = np.zeros((len(points), len(points)))
    for column in points.T:
        squares += (column[:, None] - column[None, :]) ** 2
    near = squares <= eps * eps
    if (near == (np.sqrt(squares) <= eps)).all():
        fitted = DBSCAN(eps=eps, min_samples=min_points, algorithm="kd_tree").fit(points)
    else:
        distances = np.where(near, 0.0, 2 * eps)
        fitted = DBSCAN(eps=eps, min_samples=min_points, metric="precomputed").fit(distances)
    core = np.zeros(len(points), bool)
    core[fitted.core_sample_indices_] = True
    return fitted.labels_, core


def equals_reference(points: np.ndarray, min_points: int, plan: Plan) -> bool:
    clusters, core = cluster_in_memory(points, plan, min_points)
    true_clusters, true_core = reference(points, plan.eps, min_points)
    return bool((clusters == true_clusters).all() and (core == true_core).all())


@pytest.mark.parametrize("block", range(10))
def test_labels_and_core_points_equal_those_of_scikit_learn_in_any_boxes(block: int) -> None:
    cases = {seed: make_case(seed) for seed in range(block * 30, block * 30 + 30)}
    wrong = [
        seed
        for seed, case in cases.items()
        if not equals_reference(case.points, case.min_points, case.plan)
    ]
    assert wrong == []


def test_the_cases_have_several_boxes_clusters_border_and_noise() -> None:
    boxes, clusters, border, noise = 0, 0, 0, 0
    for case in map(make_case, range(100)):
        labels, core = reference(case.points, case.plan.eps, case.min_points)
        boxes += case.plan.n_boxes > 3
        clusters += labels.max() > 1
        border += ((labels >= 0) & ~core).any()
        noise += (labels < 0).any()
    assert min(boxes, clusters, border, noise) > 20


def two_cuts(points: np.ndarray, eps: float) -> Plan:
    cuts = Cuts(points.shape[1])
    cuts.split(0, 0, float(np.median(points[:, 0])))
    cuts.split(0, 0, float(np.median(points[:, 0]) - 0.7 * eps))
    return cuts.plan(eps)


GRID = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize(
    ("points", "eps", "min_points", "clusters", "n_core"),
    [
        (np.full((40, 3), -2.5), 0.5, 5, 1, 40),
        (np.zeros((1, 2)), 1.0, 1, 1, 1),
        (np.zeros((1, 2)), 1.0, 2, 0, 0),
        (GRID, 0.9, 2, 0, 0),
        (GRID, 1.0, 3, 1, 36),
        # A corner has 2 neighbours and itself, an edge 3, the inner 16 points 4.
        (GRID, 1.0, 5, 1, 16),
        (GRID, 100.0, 36, 1, 36),
        (GRID, 100.0, 37, 0, 0),
        (np.arange(-8.0, 8.0)[:, None], 1.0, 3, 1, 14),
    ],
    ids=[
        "all equal", "one user is core", "one user is noise", "all noise", "one giant cluster",
        "rim is border", "eps beyond the extent", "fewer users than min_points", "one axis",
    ],
)  # fmt: skip
def test_extreme_inputs(
    points: np.ndarray, eps: float, min_points: int, clusters: int, n_core: int
) -> None:
    plan = two_cuts(points, eps)
    labels, core = cluster_in_memory(points, plan, min_points)
    assert (labels.max() + 1, core.sum()) == (clusters, n_core)
    assert equals_reference(points, min_points, plan)


def test_two_core_points_that_look_like_border_in_each_others_box_are_joined() -> None:
    # With eps 1 and min_points 7, (-.4, 0) and (.4, 0) each have five neighbours on the far side of
    # the other's reach. Boxes grown by eps alone lose the link between them.
    heights = np.linspace(-0.2, 0.2, 5)
    left = np.column_stack([np.full(5, -1.3), heights])
    points = np.concatenate([left, [[-0.4, 0.0], [0.4, 0.0]], left * [-1, 1]])
    cuts = Cuts(2)
    cuts.split(0, 0, 0.0)
    labels, core = cluster_in_memory(points, cuts.plan(1.0), 7)
    assert labels.tolist() == [0] * 12
    assert np.flatnonzero(core).tolist() == [5, 6]
    grown_by_eps = points[points[:, 0] <= 1.0]
    ones = np.ones(len(grown_by_eps), int)
    seen = cluster_points(grown_by_eps, ones, ones > 0, 1.0, 7)
    assert np.flatnonzero(seen.core).tolist() == [5]


def test_a_border_point_between_two_clusters_takes_the_smaller_number() -> None:
    left, right = np.linspace(0.0, 1.0, 5), np.linspace(3.0, 4.0, 5)
    points = np.concatenate([right, [2.0], left])[:, None]
    cuts = Cuts(1)
    cuts.split(0, 0, 1.95)
    cuts.split(1, 0, 2.05)
    labels, core = cluster_in_memory(points, cuts.plan(1.0), 5)
    assert labels.tolist() == [0] * 5 + [0] + [1] * 5
    assert not core[5]


def test_half_the_points_in_one_place_and_many_equal_agree_in_planned_boxes() -> None:
    rng = np.random.default_rng(3)
    thin, thick = rng.random((1500, 2)) * 20, 5 + rng.random((1500, 2)) * 2
    points = rng.permutation(np.concatenate([thin, thick, np.repeat(thin[:1], 300, axis=0)]))
    plan = make_plan(points, 0.5, 6, 1.0, 6)
    assert plan.n_boxes == 6
    assert equals_reference(points, 6, plan)
