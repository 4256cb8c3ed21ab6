"""A gate: models that nobody can tell apart raise no more alarms than stated."""

from functools import cache

import numpy as np
import pytest
from benchmarks.paired_world import Replays, alike, all_types, count, segment_name, swapped
from scipy.stats import binom

from rehearsal.drift.cells import build_cells
from rehearsal.drift.measure_bins import distribution_test
from rehearsal.drift.measure_sums import change_measures
from rehearsal.drift.score import score_counts
from rehearsal.settings import Drift, Thresholds

ALPHA, DATA_SETS, CELLS = 0.05, 20, 1000
SETTINGS = Drift.model_validate({
    "window": "day", "alpha": ALPHA, "min_requests": 20, "min_users": 5,
    "thresholds": {"kl_nats": 1e-9, "mean_change": 1e-9},
})  # fmt: skip
SKEWED = (50, 100, 200, 1500)
WORLDS = [(SKEWED, 1, 1), (SKEWED, 10, 1), ((3000,), 10, 1), ((100, 400), 1, 4)]


def most(n: int, level: float) -> int:
    """How many of n a true rate of `level` exceeds once in a thousand gates."""
    return int(binom.isf(0.001, n, level))


def drawn(seed: list[int], sizes: tuple[int, ...], per_user: int, looks: int = 1) -> Replays:
    """Exchangeable by construction; swapping whole users once more must change nothing."""
    random = np.random.default_rng(seed)
    replays = alike(random, np.array(sizes), per_user, looks)
    return swapped(replays, (random.random(int(replays.user.max()) + 1) < 0.5)[replays.user])


def alarmed(replays: Replays) -> bool:
    """Whether anything is significant, whatever its size."""
    names = [segment_name(i) for i in range(int(replays.segment.max()) + 1)]
    scores = score_counts(all_types(count(replays)), replays.bins, SETTINGS, names).scores
    return bool((scores["q_value"] <= ALPHA).any())


def test_data_sets_without_drift_raise_an_alarm_no_more_often_than_stated() -> None:
    alarms = [
        alarmed(drawn([3, seed, place], *world))
        for place, world in enumerate(WORLDS)
        for seed in range(DATA_SETS)
    ]
    assert sum(alarms) <= most(len(alarms), ALPHA)


def test_users_whom_one_model_alone_answers_alike_raise_no_more_alarms() -> None:
    """Shares agree, but users' differences are skewed: far one way for few, a little for most."""
    sizes = np.array([200, 1000])
    alarms = [
        alarmed(alike(np.random.default_rng([7, seed]), sizes, 10, 1, one_sided=True))
        for seed in range(2 * DATA_SETS)
    ]
    assert sum(alarms) <= most(len(alarms), ALPHA)


@cache
def p_values(n: int, per_user: int) -> dict[str, np.ndarray]:
    """Every test's p-values over many segments of n requests; NaN is never below a level."""
    replays = drawn([5, n, per_user], (n,) * CELLS, per_user)
    stacks = build_cells(all_types(count(replays)), replays.bins, []).stacks
    stacks = {name: stack for name, stack in stacks.items() if stack.n_bins}
    level = np.full(CELLS, ALPHA)
    change = next(change_measures(stacks["value"], Thresholds(), level, relative=False))
    found = {name: distribution_test(stack).p_value for name, stack in stacks.items()}
    return {"mean": change.p_value} | found


@pytest.mark.parametrize("per_user", [1, 10])
@pytest.mark.parametrize("n", [50, 200, 600])
def test_no_test_rejects_more_often_than_its_level(n: int, per_user: int) -> None:
    for name, p in p_values(n, per_user).items():
        for level in (0.05, 0.005, 0.0005):
            assert (p <= level).sum() <= most(CELLS, level), (name, level)


@pytest.mark.parametrize("n", [200, 600])
def test_the_level_is_used_where_there_are_users_to_tell_by(n: int) -> None:
    for name, p in p_values(n, 1).items():
        assert (p <= ALPHA).sum() >= binom.ppf(0.001, CELLS, ALPHA), name


def test_the_gates_would_shut_on_tests_that_err_much_more_often() -> None:
    assert binom.cdf(most(CELLS, 0.05), CELLS, 0.1) < 0.01
    n = DATA_SETS * len(WORLDS)
    assert binom.cdf(most(n, ALPHA), n, 0.25) < 0.05
