"""Measures and tests on counts of whole users, against scipy, statsmodels, oracles and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, false_discovery_control, ks_2samp, wasserstein_distance
from statsmodels.stats.contingency_tables import SquareTable

from rehearsal.stats.distance import (
    distance_noise,
    distances,
    kolmogorov_smirnov,
    l_infinity,
    total_variation,
    wasserstein,
    wasserstein_steps,
)
from rehearsal.stats.divergence import CURVATURE, Shares, divergence, js_distance, shares
from rehearsal.stats.multiple import hierarchical_q_values, q_values, simes, spending
from rehearsal.stats.paired import (
    above,
    clustered_wald,
    pools_of,
    steady_pools,
    wald_threshold,
)
from rehearsal.stats.power import POWER, detectable_divergence, noncentrality
from rehearsal.stats.ratio import ratio

JOINT = np.array([[30.0, 5, 1], [12, 40, 3], [2, 9, 20]])
joints = arrays(np.float64, (4, 4), elements=st.integers(0, 500).map(float)).filter(
    lambda joint: joint.sum() > 0
)


def independent(joints: np.ndarray) -> Shares:
    """The shares of cells in which every user made one request: joint counts, (C, K, K)."""
    joints = np.asarray(joints, float).reshape(-1, *np.shape(joints)[-2:])
    k = joints.shape[1]
    by_user = np.zeros((len(joints), 2 * k, 2 * k))
    by_user[:, range(k), range(k)] = joints.sum(axis=2)
    by_user[:, range(k, 2 * k), range(k, 2 * k)] = joints.sum(axis=1)
    by_user[:, :k, k:] = joints
    by_user[:, k:, :k] = joints.transpose(0, 2, 1)
    return shares(joints, by_user, joints.sum(axis=(1, 2)))


def clustered(by_user: np.ndarray, joint: np.ndarray) -> Shares:
    """The shares of one cell from its users' own counts, (G, 2K)."""
    return shares(joint[None], (by_user.T @ by_user)[None], np.array([float(len(by_user))]))


def smoothed(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, k = joint.sum(), len(joint)
    return (joint.sum(axis=1) + 0.5) / (n + k / 2), (joint.sum(axis=0) + 0.5) / (n + k / 2)


def test_divergences_are_scipys_of_smoothed_shares() -> None:
    p, q = smoothed(JOINT)
    found = {name: divergence(name, independent(JOINT)).raw[0] for name in CURVATURE}
    assert found["kl_nats"] == pytest.approx(entropy(p, q))
    assert found["kl_reverse_nats"] == pytest.approx(entropy(q, p))
    assert found["js_nats"] == pytest.approx(jensenshannon(p, q) ** 2)
    assert found["psi"] == pytest.approx(entropy(p, q) + entropy(q, p))
    ours = js_distance(divergence("js_nats", independent(JOINT))).raw[0]
    assert ours == pytest.approx(jensenshannon(p, q, base=2))


def test_kl_by_hand_for_two_bins() -> None:
    # p = (100, .5) / 100.5, q = (.5, 100) / 100.5
    expected = (99.5 / 100.5) * np.log(200)
    found = divergence("kl_nats", independent(np.array([[0.0, 99.5], [0.0, 0.0]])))
    assert found.raw[0] == pytest.approx(expected)


def test_an_unknown_divergence_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="there are js_nats, kl_nats, kl_reverse_nats, psi"):
        divergence("kl", independent(JOINT))


@given(joints, st.sampled_from(sorted(CURVATURE)))
def test_divergences_are_finite_and_inside_their_interval(joint: np.ndarray, name: str) -> None:
    found = divergence(name, independent(joint))
    numbers = [found.raw[0], found.low[0], found.corrected[0], found.high[0]]
    assert np.isfinite(numbers).all()
    assert numbers[0] >= -1e-12
    assert 0 <= numbers[1] <= numbers[2] <= numbers[3]


def test_a_cell_without_requests_is_nan_and_leaves_the_others_alone() -> None:
    found = divergence("kl_nats", independent(np.stack([np.zeros((3, 3)), JOINT])))
    assert np.isnan(found.raw[0])
    assert found.raw[1] == divergence("kl_nats", independent(JOINT)).raw[0]


def test_identical_models_have_no_drift_and_no_noise() -> None:
    found = independent(np.diag([10.0, 20, 30]))
    for name in CURVATURE:
        size = divergence(name, found)
        assert (size.raw[0], size.high[0]) == (pytest.approx(0, abs=1e-12), pytest.approx(0))
    assert np.abs(found.difference_covariance).max() == pytest.approx(0, abs=1e-15)


def users_of(rng: np.random.Generator, n_users: int, per_user: int, bases: np.ndarray) -> tuple:
    """Draw users with tastes of their own: each one's counts per bin, (G, 2K), and the joint."""
    k = bases.shape[1]
    p, q = (rng.dirichlet(base * 3, size=n_users) for base in bases)
    u = np.repeat(np.arange(n_users), per_user)
    bins = [(t[u].cumsum(axis=1) > rng.random((len(u), 1))).argmax(axis=1) for t in (p, q)]
    by_user, joint = np.zeros((n_users, 2 * k)), np.zeros((k, k))
    np.add.at(by_user, (u, bins[0]), 1)
    np.add.at(by_user, (u, k + bins[1]), 1)
    np.add.at(joint, (bins[0], bins[1]), 1)
    return by_user, joint


def test_covariance_is_that_of_shares_over_repeated_draws_of_users() -> None:
    rng = np.random.default_rng(1)
    bases = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]])
    found = [clustered(*users_of(rng, 80, 6, bases)) for _ in range(600)]
    seen = np.array([np.concatenate([one.plain_p[0], one.plain_q[0]]) for one in found])
    estimated = np.mean([one.covariance[0] for one in found], axis=0)
    assert estimated == pytest.approx(np.cov(seen.T), abs=0.15 * estimated.max())


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, list[Shares]]:
    """600 cells of 150 users x 6 requests whose tastes differ, and the true (p, q)."""
    rng = np.random.default_rng(2)
    bases = np.array([[0.4, 0.3, 0.2, 0.1], [0.3, 0.3, 0.2, 0.2]])
    return bases, [clustered(*users_of(rng, 150, 6, bases)) for _ in range(600)]


def stacked(cells: list[Shares]) -> Shares:
    names = ("p", "q", "plain_p", "plain_q", "covariance")
    return Shares(**{name: np.concatenate([getattr(c, name) for c in cells]) for name in names})


@pytest.mark.parametrize("name", sorted(CURVATURE))
def test_corrected_divergences_are_unbiased_and_their_intervals_cover(
    drawn: tuple[np.ndarray, list[Shares]], name: str
) -> None:
    (p, q), cells = drawn
    truth = {
        "kl_nats": entropy(p, q), "kl_reverse_nats": entropy(q, p),
        "js_nats": jensenshannon(p, q) ** 2, "psi": entropy(p, q) + entropy(q, p),
    }[name]  # fmt: skip
    size = divergence(name, stacked(cells))
    assert size.raw.mean() > 1.1 * truth
    assert size.corrected.mean() == pytest.approx(truth, rel=0.06)
    assert 0.90 <= ((size.low <= truth) & (truth <= size.high)).mean() <= 0.98


MEASURES = {
    "tv": total_variation, "l_infinity": l_infinity, "ks": kolmogorov_smirnov,
    "wasserstein": wasserstein((1.0, 2.0, 4.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_corrected_distances_lose_most_of_their_bias_and_their_intervals_cover(
    drawn: tuple[np.ndarray, list[Shares]], name: str
) -> None:
    (p, q), cells = drawn
    truth = float(MEASURES[name](q - p))
    size = distances(MEASURES, stacked(cells))[name]
    assert abs(size.corrected.mean() - truth) < 0.5 * (size.raw.mean() - truth) + 0.01 * truth
    assert 0.88 <= ((size.low <= truth) & (truth <= size.high)).mean() <= 0.98


def test_distances_are_scipys() -> None:
    edges = (1.0, 2.0, 4.0)
    mids = np.array([0.5, 1.5, 3.0, 5.0])  # open bins as wide as their neighbours
    assert wasserstein_steps(edges) == pytest.approx(np.diff(mids))
    p, q = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.3, 0.1, 0.5])
    assert wasserstein(edges)(q - p) == pytest.approx(wasserstein_distance(mids, mids, p, q))
    samples = [np.repeat(mids, np.rint(10 * share).astype(int)) for share in (p, q)]
    assert kolmogorov_smirnov(q - p) == pytest.approx(ks_2samp(*samples).statistic)
    assert total_variation(q - p) == pytest.approx(np.abs(q - p).sum() / 2)
    assert l_infinity(q - p) == pytest.approx(0.4)


def test_one_edge_gives_bins_no_width_and_no_wasserstein_distance() -> None:
    assert len(wasserstein_steps((1.0,))) == 0


def test_swapped_noise_is_what_a_label_swap_by_user_shows() -> None:
    rng = np.random.default_rng(4)
    bases = np.tile([0.4, 0.3, 0.2, 0.1], (2, 1))
    by_user, joint = users_of(rng, 150, 6, bases)
    limit = distance_noise(total_variation, clustered(by_user, joint), 0.9)[0]
    apart, n = by_user[:, 4:] - by_user[:, :4], by_user[:, :4].sum()
    signs = rng.choice([-1.0, 1.0], (4000, len(apart)))
    swapped = total_variation(signs @ apart / n)
    assert np.quantile(swapped, 0.9) - swapped.mean() == pytest.approx(limit, rel=0.12)


def paired_parts(by_user: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, int]:
    """d, S, users and movers of users' counts (G, 2K)."""
    k = by_user.shape[1] // 2
    apart = by_user[:, k:] - by_user[:, :k]
    return apart.sum(axis=0), apart.T @ apart, len(apart), int(apart.any(axis=1).sum())


def test_with_one_request_a_user_the_statistic_is_stuart_maxwells() -> None:
    difference = JOINT.sum(axis=0) - JOINT.sum(axis=1)
    spread = np.diag(JOINT.sum(axis=0) + JOINT.sum(axis=1)) - JOINT - JOINT.T
    movers = int(JOINT.sum() - np.trace(JOINT))
    ours = clustered_wald(difference, spread, int(JOINT.sum()), movers)
    theirs = SquareTable(JOINT, shift_zeros=False).homogeneity(method="stuart_maxwell")
    assert (ours.statistic, ours.df) == (pytest.approx(theirs.statistic), theirs.df)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=0.15)
    assert difference @ ours.weights == pytest.approx(ours.statistic)


def test_in_one_dimension_it_is_mcnemars_by_hand() -> None:
    ours = clustered_wald(np.array([16.0]), np.array([[34.0]]), 100, 34)
    assert ours.statistic == pytest.approx((25 - 9) ** 2 / (25 + 9))
    assert ours.df == 1


@pytest.mark.parametrize(("n_users", "per_user"), [(25, 10), (60, 10), (200, 1), (400, 3)])
def test_p_values_are_those_of_swapping_each_users_outputs_at_random(
    n_users: int, per_user: int
) -> None:
    rng = np.random.default_rng(5)
    bases = np.array([[0.5, 0.3, 0.2], [0.42, 0.33, 0.25]])
    for _ in range(4):
        by_user, _ = users_of(rng, n_users, per_user, bases)
        difference, spread, users, movers = paired_parts(by_user)
        ours = clustered_wald(difference, spread, users, movers)
        apart = by_user[:, 3:] - by_user[:, :3]
        swapped = rng.choice([-1.0, 1.0], (20_000, users)) @ apart
        inverse = np.linalg.pinv(spread, hermitian=True)
        statistics = np.einsum("ni,ij,nj->n", swapped, inverse, swapped)
        oracle = (statistics >= ours.statistic - 1e-9).mean()
        assert ours.p_value == pytest.approx(oracle, abs=0.015, rel=0.25)


def test_the_test_holds_its_level_where_users_cluster_and_requests_alone_would_not() -> None:
    rng = np.random.default_rng(6)
    bases = np.tile([0.4, 0.3, 0.2, 0.1], (2, 1))
    ours, by_request = [], []
    for _ in range(1500):
        by_user, joint = users_of(rng, 60, 10, bases)
        ours.append(clustered_wald(*paired_parts(by_user)).p_value <= 0.05)
        one_each = independent(joint)
        difference = joint.sum(axis=0) - joint.sum(axis=1)
        spread = one_each.difference_covariance[0] * joint.sum() ** 2
        by_request.append(clustered_wald(difference, spread, 600, 600).p_value <= 0.05)
    assert 0.035 <= np.mean(ours) <= 0.065
    assert np.mean(by_request) > 0.15


def test_identical_models_leave_nothing_to_test() -> None:
    ours = clustered_wald(np.zeros(3), np.zeros((3, 3)), 50, 0)
    assert (ours.statistic, ours.df) == (0, 0)
    assert np.isnan(ours.p_value)


@pytest.mark.parametrize("movers", [2, 3, 5, 8])
def test_no_p_value_is_below_that_of_all_movers_going_one_way(movers: int) -> None:
    ours = clustered_wald(np.array([float(movers)]), np.array([[float(movers)]]), 500, movers)
    assert np.isnan(ours.p_value) or ours.p_value >= 2.0 ** (1 - movers)


def test_rare_bins_are_pooled_with_neighbours_or_with_other_rare_classes() -> None:
    movers = np.array([2, 9, 30, 0, 4, 12, 1])
    assert pools_of(movers, ordered=True).tolist() == [0, 0, 1, 2, 2, 2, 2]
    assert pools_of(movers, ordered=False).tolist() == [2, 2, 0, 2, 2, 1, 2]
    assert pools_of(np.array([1, 2, 0]), ordered=True).tolist() == [0, 0, 0]


@given(arrays(np.int64, st.integers(1, 20), elements=st.integers(0, 40)), st.booleans())
def test_every_pool_has_enough_movers_or_is_the_only_one(
    movers: np.ndarray,
    ordered: bool,
) -> None:
    pools = pools_of(movers, ordered=ordered)
    held = np.bincount(pools, movers)
    assert sorted(set(pools)) == list(range(len(held)))
    assert len(held) == 1 or (held >= 10).all()


def test_the_threshold_is_where_the_p_value_is_alpha() -> None:
    limit = wald_threshold(np.array([0.01]), np.array([3.0]), np.array([40.0]))[0]
    spread = np.eye(3)
    found = clustered_wald(np.array([np.sqrt(limit), 0, 0]), spread, 40, 100)
    assert found.p_value == pytest.approx(0.01)


def test_one_sided_p_values_are_certain_without_error() -> None:
    one = np.ones(1)
    assert above(one * 2, one * 0, one, one * 9)[0] == 0
    assert above(one, one * 0, one, one * 9)[0] == 1
    assert above(one * 1.5, one * 0.25, one, one * 9)[0] == pytest.approx(0.0383, abs=1e-4)
    assert np.isnan(above(one, one, one * np.nan, one)[0])


def test_a_ratios_error_is_that_of_resampling_users() -> None:
    rng = np.random.default_rng(7)
    n = rng.integers(1, 20, 300).astype(float)
    y = n * rng.gamma(2, 1, 300)
    own = np.stack([n, y], axis=1)
    weights = (np.array([0.0, 1]), np.array([1.0, 0]))
    found = ratio(
        np.array([y.sum()]), np.array([n.sum()]), weights, (own.T @ own)[None], np.array([300.0])
    )
    picks = rng.integers(0, 300, (4000, 300))
    spread = (y[picks].sum(axis=1) / n[picks].sum(axis=1)).std()
    assert found.value[0] == pytest.approx(y.sum() / n.sum())
    assert found.error[0] == pytest.approx(spread, rel=0.06)


def test_a_single_user_has_no_error_and_no_base_no_ratio() -> None:
    weights = (np.array([0.0, 1]), np.array([1.0, 0]))
    found = ratio(np.array([3.0, 1.0]), np.array([2.0, 0.0]), weights, np.ones((2, 2, 2)),
                  np.array([1.0, 5.0]))  # fmt: skip
    assert np.isnan(found.error[0])
    assert np.isnan(found.value[1])


def test_a_drift_of_the_detectable_size_is_seen_as_often_as_said() -> None:
    rng = np.random.default_rng(8)
    base = np.array([0.4, 0.3, 0.2, 0.1])
    calm = [clustered(*users_of(rng, 300, 4, np.tile(base, (2, 1)))) for _ in range(50)]
    needed = noncentrality(np.array([0.01]), np.array([3.0]), np.array([300.0]))
    size = np.mean([detectable_divergence(one, needed, 1.0)[0] for one in calm])
    # A shift of that KL in two bins; the guarantee is for the worst shape, so more is seen.
    step = np.sqrt(2 * size / (1 / base[0] + 1 / base[1]))
    shifted = base + np.array([-step, step, 0, 0])
    seen = [
        clustered_wald(*paired_parts(users_of(rng, 300, 4, np.array([base, shifted]))[0])).p_value
        <= 0.01
        for _ in range(400)
    ]
    assert POWER - 0.06 <= np.mean(seen) <= 0.999


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_no_rounding_takes_a_q_value_below_its_p_value(p: np.ndarray) -> None:
    assert (q_values(p) >= p).all()


def test_q_values_are_benjamini_hochberg_over_what_was_tested() -> None:
    p = np.array([0.01, np.nan, 0.02, 0.5])
    assert q_values(p)[[0, 2, 3]] == pytest.approx(false_discovery_control(p[[0, 2, 3]]))
    assert np.isnan(q_values(p)[1])
    rows = np.array([p, [0.9, 0.2, np.nan, np.nan]])
    assert q_values(rows)[0] == pytest.approx(q_values(p), nan_ok=True)


@given(arrays(np.float64, 6, elements=st.floats(0, 1)))
def test_simes_is_the_smallest_q_value(p: np.ndarray) -> None:
    assert simes(p) == pytest.approx(false_discovery_control(p).min())


def test_within_a_selected_group_tests_pay_for_the_selection() -> None:
    p = np.array([[0.001, 0.04], [0.5, 0.6], [0.7, 0.8], [np.nan, np.nan]])
    q = hierarchical_q_values(p, alpha=0.05)
    assert q[0] == pytest.approx([0.006, 0.12])  # group: 3 x 0.002; inside: x 3 / 1 selected
    assert (q[1:3] > 0.05).all()
    assert np.isnan(q[3]).all()


@pytest.mark.parametrize("plan", ["even", "endless"])
def test_looks_never_spend_more_than_alpha(plan: str) -> None:
    shares = spending(30, np.arange(1, 31), plan)  # type: ignore[arg-type]
    assert (shares > 0).all()
    assert shares.sum() <= 1 + 1e-12


def test_bins_hold_enough_effective_users_more_where_one_user_weighs_more() -> None:
    single = np.array([12.0, 11, 25, 3, 9])  # differences of 1: squares are fourth powers
    assert steady_pools(single, single, ordered=True).tolist() == [0, 1, 2, 3, 3]
    heavy = steady_pools(single * 16, single * 256, ordered=True)  # differences of 4
    # Too few for pools of 38 or so; but for two of 10, cut where half of them lie.
    assert heavy.tolist() == [0, 0, 1, 1, 1]


def test_two_pools_are_made_where_there_are_users_for_two() -> None:
    squares = np.array([100.0, 100, 100, 100])
    fourths = squares**2 / 8  # 8 effective users each
    assert steady_pools(squares, fourths, ordered=True).tolist() == [0, 0, 1, 1]
    assert steady_pools(squares, squares**2 / 2, ordered=True).tolist() == [0, 0, 0, 0]


def test_the_test_holds_its_level_where_one_model_favours_an_answer_per_user() -> None:
    """Users' differences are skewed then: E[d] = 0, but few users go far one way."""
    rng = np.random.default_rng(9)
    k, rejected = 10, []
    for _ in range(1500):
        apart = -rng.multinomial(10, np.full(k, 1 / k), size=150).astype(float)
        apart[np.arange(150), rng.integers(k, size=150)] += 10
        spread = apart.T @ apart
        pools = steady_pools(np.diag(spread), (apart**4).sum(axis=0), ordered=True)
        rejected.append(clustered_wald(apart.sum(axis=0), spread, 500, 150, pools).p_value)
    levels = np.array(rejected)
    assert (levels <= 0.05).mean() <= 0.08
    assert (levels <= 0.01).mean() <= 0.025
