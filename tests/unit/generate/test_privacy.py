"""Differential privacy: the account against opacus and simulation, and an audit by attack."""

from math import exp, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import beta, norm

from rehearsal.generate.codec.fit_codec import fields_of
from rehearsal.generate.codec.numeric import Floats
from rehearsal.generate.codec.private import Cells, Release, fit_private_codec, private_numeric
from rehearsal.generate.models import private_em
from rehearsal.generate.models.em import QUANTUM, Parameters, Source, Sums, described, expect
from rehearsal.generate.models.layout import Codes, Layout
from rehearsal.generate.models.privacy import (
    Spend,
    cut_above,
    delta_of,
    epsilon_of,
    leak_of,
    spend,
)
from rehearsal.settings import Generator, Private

NONE = np.zeros((1, 0))


@pytest.mark.parametrize(("leak", "epsilon"), [(0.3, 0.5), (1.0, 1.0), (2.5, 4.0)])
def test_delta_is_the_probability_mass_that_exceeds_the_bound(leak: float, epsilon: float) -> None:
    # delta = integral of max(0, p - e^epsilon q) for p = N(leak, 1), q = N(0, 1).
    start = epsilon / leak + leak / 2
    excess, _ = quad(lambda x: norm.pdf(x, leak) - exp(epsilon) * norm.pdf(x), start, start + 12)
    assert delta_of(leak, epsilon) == pytest.approx(excess, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 10.0])
def test_the_releases_together_cost_the_budget_and_no_more(epsilon: float) -> None:
    private = Private(epsilon=epsilon, delta=1e-6)
    budget = spend(private, 8)
    assert len(budget.releases) == 9
    assert budget.epsilon <= epsilon
    assert budget.epsilon == pytest.approx(epsilon, rel=1e-5)
    # One step less noise would not keep it.
    assert delta_of(1.001 * leak_of(epsilon, 9e-7), epsilon) > 9e-7


def test_the_account_is_below_opacus_and_close_to_it() -> None:
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp")
    orders = [1 + x / 10 for x in range(1, 1000)]
    for epsilon in (1.0, 3.0, 10.0):
        budget = spend(Private(epsilon=epsilon), 8)
        spent = sum(
            rdp.compute_rdp(q=1.0, noise_multiplier=noise, steps=1, orders=orders)
            for noise in budget.releases
        )
        bound, _ = rdp.get_privacy_spent(orders=orders, rdp=spent, delta=9e-7)
        assert budget.epsilon <= bound <= 1.15 * budget.epsilon


def test_less_epsilon_or_more_passes_mean_more_noise() -> None:
    noises = [spend(Private(epsilon=epsilon), 8).pass_noise for epsilon in (10, 3, 1, 0.1)]
    assert noises == sorted(noises)
    assert spend(Private(epsilon=1), 16).pass_noise == pytest.approx(
        sqrt(2) * spend(Private(epsilon=1), 8).pass_noise
    )
    assert epsilon_of([0.0, 5.0], 1e-6) == float("inf")


def test_one_user_moves_the_sums_by_no_more_than_the_sensitivity() -> None:
    layout = Layout((2, 3, 4), 1, 1)
    rng = np.random.default_rng(0)
    segments = described(np.array([[0.0], [1.0]]), np.zeros(1), np.ones(1))
    bound = private_em.sensitivity(layout, 3, 5)
    reached = []
    for sharp in (0.01, 1.0):
        tables = np.concatenate([rng.dirichlet(np.full(n, sharp), 5).T for n in layout.sizes])
        parameters = Parameters(rng.normal(size=(2, 5)) / sharp, tables)
        # One user's three equal rows, the worst there is.
        for row in np.ndindex(2, *layout.sizes):
            sums = expect(parameters, np.tile(row, (3, 1)), segments, layout)
            reached.append(sqrt((sums.tables**2).sum() + (sums.weights**2).sum()))
    assert max(reached) <= bound
    assert max(reached) == pytest.approx(3 * sqrt(4), rel=1e-3)


def _attacked(rows: Codes, layout: Layout, budget: Spend, seed: int) -> float:
    """Return what an attacker who knows all rows but the last user's reads off the released sums.

    The smallest fit: one component, one pass; the log likelihood ratio of the code that only that
    user has is linear in its count.
    """
    released: list[Floats] = []
    placed = np.column_stack([np.zeros(len(rows), dtype=np.int64), rows])
    source = Source(
        NONE,
        lambda parameters, segments: expect(parameters, placed, segments, layout),
        lambda n, _: rows[:n],
    )
    noise = np.random.default_rng(seed)
    spied = private_em.noisy

    def spy(values: Floats, deviation: float, generator: np.random.Generator) -> Floats:
        released.append(spied(values, deviation, generator))
        return released[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_em, "noisy", spy)
        private_em.fit_private(source, layout, 1, budget, lambda _: None, noise)
    codes = np.asarray(layout.starts) + np.asarray(layout.sizes) - 1
    return float(sum(table[codes, 0].sum() for table in released))


def _epsilon_shown(inside: Floats, outside: Floats, delta: float) -> float:
    """Return the epsilon that an attack proves with 99% confidence (Clopper and Pearson)."""
    cut, n = np.median(np.concatenate([inside, outside])), len(inside)
    hits, alarms = int((inside > cut).sum()), int((outside > cut).sum())
    low = beta.ppf(0.005, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.995, alarms + 1, n - alarms) if alarms < n else 1.0
    return float(np.log(max(low - delta, 1e-12) / high))


@pytest.mark.parametrize(("noisy", "proves"), [(True, False), (False, True)])
def test_an_attack_shows_no_more_than_epsilon_unless_the_noise_is_off(
    *, noisy: bool, proves: bool
) -> None:
    layout, private = Layout((2, 2), 0), Private(epsilon=1.0, delta=1e-6, max_user_rows=3)
    budget = spend(private, 2)
    if not noisy:
        budget = Spend(private, 0.0, 0.0, 2, budget.cut_delta)
    without = np.zeros((20, 2), dtype=np.int64)
    extreme = np.concatenate([without, np.ones((3, 2), dtype=np.int64)])
    inside, outside = (
        np.array([_attacked(rows, layout, budget, 2 * run + side) for run in range(400)])
        for side, rows in enumerate((extreme, without))
    )
    shown = _epsilon_shown(inside, outside, private.delta)
    assert (shown > private.epsilon) == proves


def test_the_attack_is_strong_enough_to_catch_noise_that_forgets_the_users_rows() -> None:
    layout, private = Layout((2, 2), 0), Private(epsilon=1.0, delta=1e-6, max_user_rows=30)
    careless = spend(private.model_copy(update={"max_user_rows": 1}), 2)
    without = np.zeros((20, 2), dtype=np.int64)
    extreme = np.concatenate([without, np.ones((30, 2), dtype=np.int64)])
    inside, outside = (
        np.array([_attacked(rows, layout, careless, 2 * run + side) for run in range(200)])
        for side, rows in enumerate((extreme, without))
    )
    assert _epsilon_shown(inside, outside, private.delta) > private.epsilon


def test_the_nearest_possible_sums_are_those_of_a_quadratic_programme() -> None:
    from scipy.optimize import minimize

    values = np.array([5.0, -2.0, 1.0, 0.5])
    found = private_em.project(values[:, None], np.array([4.0]))[:, 0]
    best = minimize(
        lambda x: ((x - values) ** 2).sum(), np.ones(4), bounds=[(0, None)] * 4,
        constraints={"type": "eq", "fun": lambda x: x.sum() - 4},
    ).x  # fmt: skip
    assert found == pytest.approx(best, abs=1e-5)


def test_released_sums_lie_on_a_grid_that_knows_nothing_of_the_rows() -> None:
    values = private_em.noisy(np.array([3.0, 0.25]), 1.7, np.random.default_rng(1))
    assert (values / QUANTUM == np.round(values / QUANTUM)).all()
    assert (values != [3.0, 0.25]).all()


def test_a_private_fit_shows_no_loss_and_differs_every_time() -> None:
    rows = np.random.default_rng(0).integers(0, 2, (500, 2))
    layout, budget = Layout((2, 2), 0), spend(Private(epsilon=1.0, max_user_rows=1), 3)
    placed = np.column_stack([np.zeros(500, dtype=np.int64), rows])

    def sums(parameters: Parameters, segments: Floats) -> Sums:
        return expect(parameters, placed, segments, layout)

    source = Source(NONE, sums, lambda n, _: rows[:n])
    fits = [private_em.fit_private(source, layout, 5, budget, lambda _: None) for _ in range(2)]
    assert fits[0].generator.to_bytes() != fits[1].generator.to_bytes()
    assert np.isnan([fits[0].best.train_nats, fits[0].best.validation_nats]).all()


def test_a_value_that_one_user_has_reaches_the_cut_as_rarely_as_delta_says() -> None:
    cut = cut_above(deviation=2.0, user_rows=5, places=1, delta=0.01)
    rng = np.random.default_rng(0)
    release = Release(2.0, cut, rng)
    shown = np.mean([bool(release.counts(["own"] * 5)) for _ in range(20_000)])
    assert shown == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 3.7, -1e300, 1e-300, 255.99, 256.0])
def test_every_number_lies_in_the_cell_it_is_counted_in(value: float) -> None:
    cells = Cells()
    low, high = cells.ends(float(cells.at(np.array([value]))[0]))
    assert low <= value <= high
    assert high - low <= abs(value) / 16


def test_cells_of_a_declared_range_are_equal_and_numbers_outside_join_its_ends() -> None:
    cells = Cells(-10.0, 10.0)
    assert cells.at(np.array([-99.0, -10.0, 0.0, 10.0, 99.0])).tolist() == [0, 0, 128, 255, 255]
    assert cells.ends(128.0) == (0.0, 10 / 128)


def test_numbers_become_atoms_and_bins_that_end_at_the_grid_not_at_a_value() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(3000), rng.uniform(100.3, 199.7, 20_000), [1e9]])
    numeric = private_numeric(values, Cells(), 8, Release(10.0, 60.0, rng))
    assert numeric.atoms == (0.0,)
    assert numeric.decimals is None
    assert 2 <= len(numeric.lows) <= 8
    ends = {Cells().ends(float(cell))[0] for cell in Cells().at(values)}
    assert set(numeric.lows) <= ends
    assert not set(numeric.lows) & set(values)
    # Nobody learns of the one row far out.
    assert max(numeric.highs) < 1000


def test_whole_numbers_stay_whole_though_one_row_is_not() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(20, 60, 30_000).astype(float), [33.5]])
    numeric = private_numeric(values, Cells(), 8, Release(10.0, 2000.0, rng))
    drawn = numeric.decode(np.arange(numeric.size).repeat(50), rng.random(50 * numeric.size))
    assert numeric.decimals == 0
    assert (drawn[~np.isnan(drawn)] % 1 == 0).all()


def test_a_private_codec_keeps_common_categories_only_and_covers_every_kind_of_column() -> None:
    n, rng = 3000, np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "kind": ["a", "b", "c"] * (n // 3 - 1) + ["secret"] * 3,
            "amount": rng.integers(0, 5, n).astype(float),
            "at": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 864_000, n), "s"),
            "empty": np.full(n, np.nan),
        }
    )
    budget = spend(Private(epsilon=10, max_user_rows=1), 8)
    codec = fit_private_codec(frame, fields_of(frame, ["kind"]), Generator(), budget, {}, rng)
    assert "secret" not in codec.to_json()
    assert codec.conditions[0].sizes == (5,)
    made = codec.decode(codec.encode(frame), rng)
    assert made["amount"].dropna().isin(range(5)).all()
    assert made["at"].between("2025-12-25", "2026-01-20").mean() > 0.9
    assert made["empty"].isna().all()
