"""What asks for a new fit, and whether it starts from the last one or from scratch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rehearsal.segments.adapt.change import Measures, choose_refit, decide, measure, psi, tally
from rehearsal.segments.adapt.evolve import evolve
from rehearsal.segments.cluster.centres import Panel, fit_centres, nearest
from rehearsal.settings import Adapt

CALM = Measures(
    psi=0.01, cost_ratio=1.01, far_share=0.012, silhouette_drop=-0.002, n_users=1_000_000,
    n_segments=12, n_fit_users=1_000_000, cost_error=0.001,
)  # fmt: skip
WARM = Panel(
    k=12, silhouette=0.40, davies_bouldin=1.0, calinski_harabasz=9.0, cost=2.0, smallest_share=0.05
)
MIXES = arrays(np.float64, 4, elements=st.integers(0, 99).map(float)).filter(lambda n: n.sum() > 0)


def test_psi_by_hand() -> None:
    found = psi(np.array([0.6, 0.4]), np.array([0.5, 0.5]), 10**9)
    assert found == pytest.approx(0.1 * np.log(1.2) - 0.1 * np.log(0.8), abs=1e-8)


def test_an_empty_segment_counts_as_half_a_user() -> None:
    # 100 users: (100.5, 0.5) / 101 now, (50.5, 50.5) / 101 then.
    now, then = np.array([100.5, 0.5]) / 101, np.array([0.5, 0.5])
    expected = ((now - then) * np.log(now / then)).sum()
    assert psi(np.array([1.0, 0.0]), then, 100) == pytest.approx(expected)


@given(MIXES, MIXES)
def test_psi_is_symmetric_never_negative_and_zero_for_one_mix(
    now: np.ndarray, then: np.ndarray
) -> None:
    now, then = now / now.sum(), then / then.sum()
    assert psi(now, then, 500) == pytest.approx(psi(then, now, 500))
    assert psi(now, then, 500) >= 0
    assert psi(now, now, 500) == 0


LABELS, FAR = np.array([0, 0, 1, 1]), np.array([1.5, 2.5])
SQUARED, SECOND = np.array([1.0, 4.0, 4.0, 9.0]), np.array([4.0, 16.0, np.inf, 9.0])


def test_a_tally_counts_users_their_distances_and_who_is_far() -> None:
    found = tally(LABELS, SQUARED, SECOND, FAR)
    assert list(found.users) == [2, 2]
    assert (found.squared, found.fourth, found.far) == (18, 114, 2)
    assert found.silhouette == pytest.approx(0.5 + 0.5 + 0 + 0)


def test_tallies_of_parts_add_up_to_that_of_the_whole() -> None:
    first, last = slice(0, 1), slice(1, 4)
    parts = [tally(LABELS[part], SQUARED[part], SECOND[part], FAR) for part in (first, last)]
    total, whole = parts[0] + parts[1], tally(LABELS, SQUARED, SECOND, FAR)
    assert (total.users == whole.users).all()
    assert replace(total, users=0) == replace(whole, users=0)


def test_measures_compare_a_tally_with_the_fit() -> None:
    now = tally(LABELS, SQUARED, SECOND, FAR)
    found = measure(now, np.array([0.5, 0.5]), cost=4.0, silhouette=0.6, n_fit_users=12)
    assert found.psi == 0
    assert found.cost_ratio == pytest.approx(4.5 / 4)
    assert found.far_share == 0.5
    assert found.silhouette_drop == pytest.approx(0.35)
    assert found.cost_error == pytest.approx(
        np.sqrt(1 / 4 + 1 / 12) * np.sqrt(114 / 4 - 4.5**2) / 4
    )


def test_users_all_on_their_centres_are_no_rise_and_any_distance_then_is() -> None:
    on = tally(LABELS, np.zeros(4), SECOND, FAR)
    assert measure(on, np.array([0.5, 0.5]), 0.0, 1.0, 4).cost_ratio == 1
    off = measure(tally(LABELS, SQUARED, SECOND, FAR), np.array([0.5, 0.5]), 0.0, 1.0, 4)
    assert decide(off, Adapt()).kind == "refit"


def test_a_point_on_two_centres_or_of_a_lone_segment_has_a_silhouette_of_0() -> None:
    zero, label = np.zeros(1), np.array([0])
    assert tally(label, zero, zero, FAR).silhouette == 0
    assert tally(label, zero, zero + np.inf, FAR).silhouette == 0


def test_many_users_of_one_kind_are_no_change_since_a_fit_of_few() -> None:
    random = np.random.default_rng(5)
    centres, far, refits = np.zeros((2, 8)), np.zeros(2), 0
    for _ in range(10):
        few, many = (
            np.where(random.random(n) < 0.5, 3.0, -3.0)[:, None] + random.normal(size=(n, 8))
            for n in (300, 20_000)
        )
        centres = fit_centres(few, 2, 1, 1, 20).centres
        labels, squared, second = nearest(few, centres)
        far = np.array([np.sqrt(np.quantile(squared[labels == i], 0.99)) for i in range(2)])
        then = tally(labels, squared, second, far)
        now = tally(*nearest(many, centres), far)
        shares = then.users / 300
        found = measure(now, shares, then.cost, then.mean_silhouette, 300)
        refits += decide(found, Adapt(cost_rise=0.02)).kind == "refit"
    assert refits == 0


def test_small_changes_are_no_reason_and_the_numbers_are_said() -> None:
    found = decide(CALM, Adapt())
    assert found.kind == "reassign"
    assert found.reason == (
        "psi 0.010; cost per user 1.010 x the fit's; 1.2% of users far out; silhouette +0.002: "
        "within limits"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"psi": 0.12}, "psi 0.120, above 0.1"),
        ({"cost_ratio": 1.08}, "cost per user 1.080 x the fit's, above 1.03"),
        ({"far_share": 0.06}, "6.0% of users far out, above 5.0%"),
        ({"silhouette_drop": 0.07}, "silhouette -0.070, below -0.05"),
    ],
)
def test_each_measure_beyond_its_limit_asks_for_a_refit_and_says_so(
    change: dict, reason: str
) -> None:
    found = decide(replace(CALM, **change), Adapt())
    assert (found.kind, found.reason) == ("refit", reason)


@pytest.mark.parametrize(
    "change", [{"psi": 0.12}, {"cost_ratio": 1.04}, {"far_share": 0.06}, {"silhouette_drop": 0.07}]
)
def test_what_chance_does_to_few_users_is_no_reason(change: dict) -> None:
    few = replace(CALM, n_fit_users=400, n_users=400, cost_error=0.05)
    assert decide(replace(few, **change), Adapt()).kind == "reassign"


def chosen(
    *cold: Panel, warm: Panel = WARM, measures: Measures = CALM, n: int = 50_000, **more: float
) -> tuple[str, int | None, str]:
    found = choose_refit(warm, cold, measures, Adapt(), n, **more)
    return found.kind, found.k, found.reason


def test_a_refit_is_warm_where_nothing_from_scratch_is_better() -> None:
    other = replace(WARM, k=13, silhouette=0.402)
    assert chosen(replace(WARM, cost=1.95), other)[:2] == ("warm_refit", 12)


def test_a_cheaper_fit_of_the_same_k_replaces_the_warm_one() -> None:
    assert chosen(replace(WARM, cost=1.9)) == (
        "cold_refit",
        12,
        "a fit from scratch costs 0.950 x the warm one",
    )


def test_a_higher_silhouette_at_another_k_changes_k() -> None:
    assert chosen(WARM, replace(WARM, k=13, silhouette=0.415)) == (
        "cold_refit",
        13,
        "silhouette 0.415 with 13 segments, 0.400 with 12",
    )


def test_the_gain_at_another_k_is_asked_of_the_users_concerned_and_beyond_chance() -> None:
    # 3% of 0.6 for 2 / 13 of the users is 0.0028; chance in 2,000 users is 0.9 sqrt(2/13 / 2000).
    better = replace(WARM, k=13, silhouette=0.405)
    assert chosen(WARM, better)[0] == "cold_refit"
    assert chosen(WARM, replace(better, silhouette=0.4025))[0] == "warm_refit"
    assert chosen(WARM, better, n=2_000)[0] == "warm_refit"


def test_a_great_change_of_the_mix_starts_from_scratch_but_keeps_k_without_a_reason() -> None:
    measures = replace(CALM, psi=0.3)
    kind, k, reason = chosen(WARM, replace(WARM, k=11, silhouette=0.401), measures=measures)
    assert (kind, k, reason) == ("cold_refit", 12, "psi 0.300, above 0.25")


def test_segments_a_bootstrap_does_not_find_again_are_fitted_from_scratch() -> None:
    assert chosen(WARM, stability=0.85)[0] == "warm_refit"
    assert chosen(WARM, stability=0.7) == (
        "cold_refit",
        12,
        "stability 0.70 over bootstrap fits, below 0.8",
    )


def test_a_k_outside_those_allowed_now_is_given_up() -> None:
    assert chosen(replace(WARM, k=8, silhouette=0.3))[:2] == ("cold_refit", 8)


def test_without_a_reason_the_centres_stay_and_nothing_is_fitted() -> None:
    centres = np.zeros((12, 2))
    found = evolve(np.zeros((0, 2)), centres, CALM, [12], Adapt(), 1, 1, 1)
    assert found.centres is centres
    assert (found.kind, found.panels) == ("reassign", ())
