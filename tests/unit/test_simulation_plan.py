import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from rehearsal.simulate.outputs import SIDES, output_arrays
from rehearsal.simulate.plan import (
    REQUEST_TYPES,
    TYPE_PERCENTS,
    Simulation,
    make_plan,
    spread,
)


def test_same_settings_give_the_same_plan_and_another_seed_another() -> None:
    first = make_plan(Simulation(n_users=10, seed=1))
    make_plan.cache_clear()
    assert make_plan(Simulation(n_users=10, seed=1)) == first
    assert make_plan(Simulation(n_users=10, seed=2)) != first


def test_groups_differ_in_profile_and_types_hold_whole_percents() -> None:
    plan = make_plan(Simulation(n_users=10, seed=1))
    assert len({(group.country, group.plan) for group in plan.groups}) == len(plan.groups) == 12
    assert len({group.country for group in plan.groups}) < 12
    assert len({group.plan for group in plan.groups}) < 12
    for group in plan.groups:
        counts = np.bincount(group.types, minlength=len(REQUEST_TYPES))
        assert sorted(counts, reverse=True) == list(TYPE_PERCENTS)


def test_mean_of_requests_over_users_is_what_was_asked() -> None:
    plan = make_plan(Simulation(n_users=10, seed=3, requests_per_user=20))
    rates = [plan.groups[g].rate for g in plan.group_of_draw]
    assert np.mean(rates) == pytest.approx(20)
    assert max(rates) - min(rates) > 6


def test_drift_is_planted_in_two_or_three_types_of_the_asked_number_of_groups() -> None:
    simulation = Simulation(n_users=10, seed=1)
    drifting = [group for group in make_plan(simulation).groups if group.drifting]
    assert sorted(len(group.drifting) for group in drifting) == [2, 2, 3]
    assert len({group.new_version_at for group in drifting}) == 3
    assert all(simulation.replay_start <= g.new_version_at < simulation.end for g in drifting)
    quiet = make_plan(Simulation(n_users=10, seed=1, n_drifting=0))
    assert not any(group.drifting or group.size for group in quiet.groups)


def test_spread_gives_the_largest_rests_the_missing_draws() -> None:
    # exact shares of 10: 3.75, 3.75, 2.5 -> floors 3, 3, 2 -> the first two get one more
    assert spread(np.array([3.0, 3.0, 2.0]), 10) == (0,) * 4 + (1,) * 4 + (2,) * 2


def test_more_drifting_than_segments_is_refused() -> None:
    with pytest.raises(ValidationError, match="n_drifting"):
        Simulation(n_users=1, seed=1, n_segments=2, n_drifting=3)


def _requests(simulation: Simulation, n: int) -> pd.DataFrame:
    """Requests of the first drifting group, all of its first drifting type."""
    group = next(g for g in make_plan(simulation).groups if g.drifting)
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "request_type": REQUEST_TYPES[group.drifting[0]],
            "amount": np.round(rng.uniform(1, 100, n), 2),
            "duration_s": np.round(rng.exponential(30, n), 3),
            "channel": "app",
            "app_version": "2",
            "age": 40.0,
            "country": group.country,
            "plan": group.plan,
        }
    )


def _logits(simulation: Simulation, rows: pd.DataFrame) -> np.ndarray:
    values = [output_arrays(simulation, side, rows)["value"].to_numpy() for side in SIDES]
    production, experimental = (np.log(v / (1 - v)) for v in values)
    return np.asarray(experimental - production)


def test_planted_size_is_the_mean_shift_in_logits_in_its_cell_alone() -> None:
    simulation = Simulation(n_users=10, seed=1)
    group = next(g for g in make_plan(simulation).groups if g.drifting)
    rows = _requests(simulation, 20_000)
    # noise of sd 0.3 in each model: standard error 0.3 * sqrt(2 / 20000) = 0.003
    assert _logits(simulation, rows).mean() == pytest.approx(group.size, abs=0.012)
    quiet_type = REQUEST_TYPES[next(t for t in group.types if t not in group.drifting)]
    other_plan = "basic" if group.plan == "free" else "free"
    for change in (
        {"app_version": "1"}, {"request_type": quiet_type}, {"plan": other_plan}, {"plan": None},
    ):  # fmt: skip
        assert abs(_logits(simulation, rows.assign(**change)).mean()) < 0.012, change


def test_without_drift_outputs_differ_but_their_distributions_do_not() -> None:
    simulation = Simulation(n_users=10, seed=1)
    rows = _requests(simulation, 20_000).assign(app_version="1")
    differences = _logits(simulation, rows)
    assert (differences != 0).mean() > 0.99
    assert differences.std() == pytest.approx(0.3 * np.sqrt(2), rel=0.05)


def test_missing_and_unknown_inputs_still_get_an_output() -> None:
    simulation = Simulation(n_users=10, seed=1)
    rows = pd.DataFrame([dict.fromkeys(_requests(simulation, 1).columns)])
    for side in SIDES:
        outputs = output_arrays(simulation, side, rows)
        assert np.isfinite(outputs.to_numpy()).all()
        assert outputs.drop(columns="value").sum(axis=1).iloc[0] == pytest.approx(1)
