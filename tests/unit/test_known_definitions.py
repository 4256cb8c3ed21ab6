"""Measures equal their documented definitions elsewhere; and where others' verdicts go wrong."""

import numpy as np
import pandas as pd
import pytest
from benchmarks.paired_world import (
    EDGES,
    K,
    Replays,
    alike,
    all_types,
    count,
    drifting,
    segment_name,
)
from benchmarks.rivals import FIXED_KL_NATS, joints, plain_kl, stuart_maxwell, unpaired_g
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, wasserstein_distance

from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import build_cells
from rehearsal.drift.measure_bins import distribution_test
from rehearsal.drift.score import score_counts
from rehearsal.settings import Drift
from rehearsal.stats.distance import (
    kolmogorov_smirnov,
    l_infinity,
    total_variation,
    wasserstein,
)
from rehearsal.stats.divergence import divergence, js_distance, shares

RANDOM = np.random.default_rng(7)
PAIRS = RANDOM.dirichlet(np.full(K, 1.0), size=(40, 2))
SETTINGS = Drift.model_validate({
    "window": "day", "min_requests": 20, "min_users": 5,
    "thresholds": {"kl_nats": 1e-9, "mean_change": 1e-9},
})  # fmt: skip


def counted(p: np.ndarray, q: np.ndarray, n: int) -> dict[str, float]:
    """Our raw divergences of two histograms of n requests."""
    joint = np.outer(p, q)[None] * n
    found = shares(joint, np.zeros((1, 2 * len(p), 2 * len(p))), np.array([n]))
    sizes = {name: divergence(name, found) for name in ("kl_nats", "js_nats", "psi")}
    return {name: float(size.raw[0]) for name, size in sizes.items()} | {
        "js_distance": float(js_distance(sizes["js_nats"]).raw[0])
    }


def smoothed(p: np.ndarray, n: int) -> np.ndarray:
    return np.asarray((p * n + 0.5) / (n + len(p) / 2))


def test_js_distance_is_scipys_in_base_2_as_nannyml_and_databricks_have_it() -> None:
    for p, q in PAIRS:
        ours = counted(p, q, 500)["js_distance"]
        assert ours == pytest.approx(jensenshannon(smoothed(p, 500), smoothed(q, 500), 2), abs=1e-9)
        # Evidently leaves the base out: nats, smaller by sqrt(ln 2).
        theirs = jensenshannon(smoothed(p, 500), smoothed(q, 500))
        assert theirs == pytest.approx(ours * np.sqrt(np.log(2)), abs=1e-9)


def test_psi_is_kl_both_ways_and_that_of_others_but_for_half_a_request() -> None:
    for p, q in PAIRS:
        theirs = ((p - q) * np.log(p / q)).sum()  # Evidently's sum, no bin being empty
        assert counted(p, q, 10**12)["psi"] == pytest.approx(theirs, rel=1e-6)
        both = entropy(smoothed(p, 500), smoothed(q, 500))
        both += entropy(smoothed(q, 500), smoothed(p, 500))
        assert counted(p, q, 500)["psi"] == pytest.approx(both, abs=1e-9)


def test_an_empty_bin_is_half_a_request_to_us_and_one_in_ten_thousand_to_evidently() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.4, 0.1])
    floored = np.where(p > 0, p, 1e-4)
    theirs = ((floored - q) * np.log(floored / q)).sum()
    assert counted(p, q, 100)["psi"] < theirs / 2
    assert counted(p, q, 100)["psi"] == pytest.approx(counted(q, p, 100)["psi"])
    held = np.outer(q, p)[None] * 1000
    assert plain_kl(held)[0] == pytest.approx(entropy(q, floored), abs=1e-9)


def test_distances_are_those_of_scipy_and_databricks_on_bins() -> None:
    middles = (np.arange(K) + 0.5) / K
    for p, q in PAIRS:
        apart = (q - p)[None]
        theirs = wasserstein_distance(middles, middles, p, q)
        assert wasserstein(EDGES)(apart)[0] == pytest.approx(theirs, abs=1e-9)
        assert kolmogorov_smirnov(apart)[0] == pytest.approx(np.abs(np.cumsum(p - q)).max())
        assert total_variation(apart)[0] == pytest.approx(np.abs(p - q).sum() / 2)
        assert l_infinity(apart)[0] == pytest.approx(np.abs(p - q).max())


def replays_of(x: list[float], y: list[float]) -> Replays:
    n = len(x)
    zeros = np.zeros(n, int)
    return Replays(zeros, zeros, zeros, np.arange(n), np.array(x, float), np.array(y, float))


def value_row(x: list[float], y: list[float], edges: tuple[float, ...], metric: str) -> dict:
    """The row of `drift_scores` of one segment whose users have one request each."""
    replays, bins = replays_of(x, y), Bins(edges, ())
    settings = Drift.model_validate({"min_requests": 2, "min_users": 2, "window": "day"})
    scores = score_counts(all_types(count(replays, bins)), bins, settings, ["s0000"]).scores
    own = scores[(scores["segment_id"] == "s0000") & (scores["output"] == "value")]
    return dict(own[own["metric"] == metric].iloc[0])


# TFDV's list of what a Jensen-Shannon divergence meets.


def test_js_of_answers_without_overlap_nears_one() -> None:
    row = value_row([0.1] * 4000, [0.9] * 4000, (0.5,), "js_distance")
    assert 0.98 < row["score"] <= 1
    assert row["p_value"] < 1e-6


def test_js_of_equal_answers_is_0_also_at_a_single_point() -> None:
    assert value_row([3.0] * 50, [3.0] * 50, (1.0, 2.0), "js_distance")["score"] == 0


def test_a_point_on_an_edge_lies_in_the_bin_above_for_both_models() -> None:
    row = value_row([0.5] * 50, [0.5000001] * 50, (0.5,), "js_distance")
    assert row["score"] == 0
    below = value_row([0.4999999] * 50, [0.5] * 50, (0.5,), "tv_distance")
    assert below["score"] == 1


def test_nan_and_infinities_are_counted_apart_and_move_no_measure() -> None:
    good = [0.1, 0.3, 0.6, 0.8] * 20
    bad = [np.nan, np.inf, 0.2, -np.inf]
    x, y = good + bad, [*good[1:], good[0], 0.2, 0.2, np.nan, 0.2]
    bins = Bins((0.25, 0.5), ())
    counts = all_types(count(replays_of(x, y), bins)).iloc[0]
    assert (counts["n_requests"], counts["n_paired"]) == (84, 80)
    assert counts["n_nan"] + counts["n_null"] == 4
    with_them = value_row(x, y, bins.edges, "js_distance")["score"]
    assert with_them == value_row(x[:80], y[:80], bins.edges, "js_distance")["score"]


def test_a_segment_whose_answers_are_all_nan_is_unknown_not_0() -> None:
    row = value_row([np.nan] * 50, [0.5] * 50, (0.5,), "js_distance")
    assert np.isnan(row["score"])
    assert row["status"] == "insufficient_data"


def test_an_empty_segment_is_unknown_not_0() -> None:
    bins = Bins((0.5,), ())
    counts = all_types(count(replays_of([0.1] * 50, [0.9] * 50), bins))
    scores = score_counts(counts, bins, SETTINGS, ["s0000", "empty"]).scores
    empty = scores[scores["segment_id"] == "empty"]
    assert set(empty["status"]) == {"insufficient_data"}
    assert empty["score"].isna().all()


# Where others' verdicts go wrong.


def test_an_unpaired_test_is_blind_to_drift_that_pairs_show() -> None:
    world = drifting(np.random.default_rng(1), np.full(20, 3000), np.full(20, 0.03))
    counts = all_types(count(world.replays))
    joint = joints(counts, "value")
    names = [segment_name(i) for i in range(20)]
    scores = score_counts(counts, world.replays.bins, SETTINGS, names).scores
    red = set(scores.loc[scores["status"] == "red", "segment_id"].dropna())
    assert (unpaired_g(joint) <= 0.05).sum() <= 2
    assert len(red) >= 18


def test_requests_as_units_are_false_where_users_cluster() -> None:
    replays = alike(np.random.default_rng(2), np.full(400, 2000), per_user=10)
    counts = all_types(count(replays))
    theirs = stuart_maxwell(joints(counts, "value")) <= 0.05
    ours = p_values(counts, replays.bins) <= 0.05
    assert theirs.mean() >= 0.2
    assert ours.mean() <= 0.08


def test_one_request_a_user_makes_our_test_stuart_maxwells() -> None:
    replays = alike(np.random.default_rng(3), np.full(5, 5000))
    counts = all_types(count(replays))
    cells = build_cells(counts, replays.bins, [])
    ours = distribution_test(cells.stacks["value"]).p_value
    theirs = stuart_maxwell(joints(counts, "value"))
    assert ours == pytest.approx(theirs, rel=0.05)


def p_values(counts: pd.DataFrame, bins: Bins) -> np.ndarray:
    return distribution_test(build_cells(counts, bins, []).stacks["value"]).p_value


def test_a_fixed_threshold_on_raw_kl_flags_small_segments_without_drift() -> None:
    replays = alike(np.random.default_rng(4), np.full(100, 50))
    counts = all_types(count(replays))
    names = [segment_name(i) for i in range(100)]
    scores = score_counts(counts, replays.bins, SETTINGS, names).scores
    assert (plain_kl(joints(counts, "class")) >= FIXED_KL_NATS).mean() >= 0.2
    assert (scores["status"] == "red").sum() == 0
