"""Divergences and paired tests against scipy, statsmodels, and cases computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, false_discovery_control
from statsmodels.stats.contingency_tables import SquareTable

from rehearsal.stats.divergence import divergence, paired_variance, smoothed_marginals
from rehearsal.stats.multiple import q_values
from rehearsal.stats.paired import marginal_difference, mean_z, stuart_maxwell

JOINT = np.array([[30.0, 5, 1], [12, 40, 3], [2, 9, 20]])
joints = arrays(np.float64, (4, 4), elements=st.integers(0, 500).map(float)).filter(
    lambda joint: joint.sum() > 0
)


def test_kl_is_the_relative_entropy_of_smoothed_marginals() -> None:
    p, q = smoothed_marginals(JOINT)
    assert divergence("kl_nats", JOINT).raw == pytest.approx(entropy(p, q))
    assert p == pytest.approx((JOINT.sum(axis=1) + 0.5) / (JOINT.sum() + 1.5))


def test_js_is_scipys_distance_squared_and_psi_is_kl_both_ways() -> None:
    p, q = smoothed_marginals(JOINT)
    assert divergence("js_nats", JOINT).raw == pytest.approx(jensenshannon(p, q) ** 2)
    assert divergence("psi", JOINT).raw == pytest.approx(entropy(p, q) + entropy(q, p))


def test_kl_by_hand_for_two_bins() -> None:
    joint = np.array([[0.0, 99.5], [0.0, 0.0]])
    # p = (100, .5) / 100.5, q = (.5, 100) / 100.5
    expected = (99.5 / 100.5) * np.log(200)
    assert divergence("kl_nats", joint).raw == pytest.approx(expected)


@given(joints, st.sampled_from(["kl_nats", "js_nats", "psi"]))
def test_divergences_are_finite_and_never_negative(joint: np.ndarray, metric: str) -> None:
    found = divergence(metric, joint)
    assert np.isfinite([found.raw, found.corrected, found.low, found.high]).all()
    assert found.raw >= -1e-12
    assert 0 <= found.low <= found.high
    assert 0 <= found.corrected <= found.raw + 1e-12


@given(joints)
def test_identical_models_have_no_divergence_no_bias_and_no_interval(joint: np.ndarray) -> None:
    found = divergence("kl_nats", np.diag(joint.sum(axis=1)) + np.eye(4))
    assert (found.raw, found.corrected, found.low, found.high) == (0, 0, 0, 0)


@given(joints)
def test_js_is_symmetric_and_bounded_by_ln_2(joint: np.ndarray) -> None:
    forward, back = divergence("js_nats", joint), divergence("js_nats", joint.T)
    assert forward.raw == pytest.approx(back.raw, abs=1e-12)
    assert forward.raw <= np.log(2)


def test_unknown_divergence_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no divergence 'kl'; there are js_nats, kl_nats, psi"):
        divergence("kl", JOINT)


def test_paired_variance_is_that_of_resampled_requests() -> None:
    rng = np.random.default_rng(1)
    n = int(JOINT.sum())
    draws = rng.multinomial(n, (JOINT / n).ravel(), size=20_000).reshape(-1, 3, 3) / n
    differences = draws.sum(axis=2) - draws.sum(axis=1)
    assert paired_variance(JOINT) == pytest.approx(differences.var(axis=0), rel=0.05)


@pytest.mark.parametrize("agreement", [0.0, 0.8])
def test_bias_correction_centres_kl_whether_or_not_the_models_agree(agreement: float) -> None:
    rng = np.random.default_rng(2)
    k, n = 10, 400
    truth = agreement * np.eye(k) / k + (1 - agreement) * np.ones((k, k)) / k**2
    draws = rng.multinomial(n, truth.ravel(), size=2000).reshape(-1, k, k).astype(float)
    p = [smoothed_marginals(joint) for joint in draws]
    raw = np.mean([entropy(a, b) for a, b in p])
    curve = [paired_variance(j) / ((a + b) / 2) for j, (a, b) in zip(draws, p, strict=True)]
    # The true divergence is 0; what is left of the mean after correction is small beside it.
    assert raw > 0.003
    assert abs(raw - np.mean([c.sum() for c in curve]) / 2) < 0.1 * raw


def test_delta_interval_covers_the_true_kl() -> None:
    rng = np.random.default_rng(3)
    truth = JOINT / JOINT.sum()
    target = entropy(truth.sum(axis=1), truth.sum(axis=0))
    n = 4000
    hits = 0
    for _ in range(400):
        draw = rng.multinomial(n, truth.ravel()).reshape(3, 3).astype(float)
        found = divergence("kl_nats", draw)
        hits += found.low <= target <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_stuart_maxwell_is_statsmodels_homogeneity_test() -> None:
    ours = stuart_maxwell(JOINT)
    theirs = SquareTable(JOINT, shift_zeros=False).homogeneity(method="stuart_maxwell")
    assert ours.statistic == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.df == theirs.df


def test_stuart_maxwell_of_two_bins_is_mcnemar_by_hand() -> None:
    found = stuart_maxwell(np.array([[50.0, 25], [9, 16]]))
    assert found.statistic == pytest.approx((25 - 9) ** 2 / (25 + 9))
    assert found.df == 1


def test_bins_no_request_moves_between_do_not_count_as_degrees_of_freedom() -> None:
    joint = np.zeros((5, 5))
    joint[:2, :2] = [[50, 25], [9, 16]]
    joint[4, 4] = 100
    assert stuart_maxwell(joint).df == 1


def test_the_same_model_twice_has_p_value_one() -> None:
    found = stuart_maxwell(np.diag([10.0, 20, 30]))
    assert (found.statistic, found.df, found.p_value) == (0, 0, 1)


def test_stuart_maxwell_holds_its_level_when_marginals_agree() -> None:
    rng = np.random.default_rng(4)
    symmetric = JOINT + JOINT.T
    draws = rng.multinomial(500, (symmetric / symmetric.sum()).ravel(), size=2000)
    rejected = [stuart_maxwell(draw.reshape(3, 3)).p_value < 0.05 for draw in draws]
    assert 0.035 <= np.mean(rejected) <= 0.065


@given(joints)
def test_marginal_differences_sum_to_zero(joint: np.ndarray) -> None:
    difference, _, df = marginal_difference(joint)
    assert difference.sum() == pytest.approx(0)
    assert 0 <= df <= 3


def test_mean_z_by_hand() -> None:
    numbers = np.array([1.0, 2, 3, 6])
    found = mean_z(numbers.sum(), (numbers**2).sum(), 4)
    assert found.statistic == pytest.approx(3 / (numbers.std(ddof=1) / 2))
    assert mean_z(8.0, 16.0, 4, null=1.0, sided=1).p_value == 0
    assert mean_z(8.0, 16.0, 4, null=3.0, sided=1).p_value == 1


def test_q_values_are_benjamini_hochberg_over_what_was_tested() -> None:
    p = np.array([0.01, np.nan, 0.02, 0.5])
    tested = false_discovery_control(p[[0, 2, 3]])
    assert q_values(p)[[0, 2, 3]] == pytest.approx(tested)
    assert np.isnan(q_values(p)[1])
