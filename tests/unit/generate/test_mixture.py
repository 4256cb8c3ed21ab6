"""The mixture: exact conditioning, likelihood, masks and EM, against brute force by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from rehearsal.errors import ModelError
from rehearsal.generate.models.em import Parameters, described, expect, maximise
from rehearsal.generate.models.em_start import distinct_rows
from rehearsal.generate.models.generator import (
    Fitted,
    Rows,
    fit_generator,
    load_generator,
)
from rehearsal.generate.models.layout import Codes, Floats, Layout, Mask
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.generate.models.product_mixture import Mixture
from rehearsal.settings import Generator as Settings

NONE = np.zeros((1, 0))


def _rows(codes: Codes, segment: Codes | None = None, profiles: Floats = NONE) -> Rows:
    place = np.zeros(len(codes), dtype=np.int64) if segment is None else segment
    return Rows(codes, place, profiles)


def _fit(rows: Rows, layout: Layout, seed: int = 1, **changes: int) -> Fitted:
    values = {"components": 8, "max_epochs": 20, **changes}
    held = Rows(rows.codes[::5], rows.segment[::5], rows.profiles)
    return fit_generator("mixture", MemoryFeed(rows, 256), held, layout, Settings(**values), seed)


def _mixture(layout: Layout, n_components: int, seed: int) -> Mixture:
    rng = np.random.default_rng(seed)
    tables = np.concatenate([rng.dirichlet(np.ones(size), n_components).T for size in layout.sizes])
    coefficients = rng.normal(size=(1 + layout.n_profile, n_components))
    p = layout.n_profile
    return Mixture(layout, Parameters(coefficients, tables), np.zeros(p), np.ones(p))


def _every_row(layout: Layout) -> Codes:
    return np.array(list(product(*map(range, layout.sizes))), dtype=np.int64)


MASK = Mask(1, 2, np.array([[True, False, True, False], [False, True, True, True], [True] * 4]))
LAYOUT = Layout((2, 3, 4), 1, 2, (MASK,))


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_likelihoods_of_all_possible_rows_sum_to_one_for_every_condition(seed: int) -> None:
    mixture, rows = _mixture(LAYOUT, 3, seed), _every_row(LAYOUT)
    rows = rows[MASK.allowed[rows[:, 1], rows[:, 2]]]
    profile = np.tile([0.5, -1.0], (len(rows), 1))
    p = np.exp(mixture.log_likelihood(rows, profile))
    for condition in (0, 1):
        assert p[rows[:, 0] == condition].sum() == pytest.approx(1, abs=1e-9)


def test_the_likelihood_is_that_of_the_formula_worked_out_by_hand() -> None:
    tables = np.array([[0.5, 0.1], [0.5, 0.9], [0.2, 0.6], [0.8, 0.4]])
    weights = np.log([[0.25, 0.75]])
    mixture = Mixture(Layout((2, 2), 1), Parameters(weights, tables), np.zeros(0), np.zeros(0))
    p = mixture.log_likelihood(np.array([[0, 1]]), np.zeros((1, 0)))
    both, given = 0.25 * 0.5 * 0.8 + 0.75 * 0.1 * 0.4, 0.25 * 0.5 + 0.75 * 0.1
    assert np.exp(p) == pytest.approx([both / given])


def test_samples_follow_the_likelihood_and_keep_conditions_and_masks() -> None:
    mixture, n = _mixture(LAYOUT, 3, 3), 40_000
    conditions = np.ones((n, 1), dtype=np.int64)
    profiles = np.tile([0.5, -1.0], (n, 1))
    drawn = mixture.sample(conditions, profiles, 5)
    assert (drawn[:, 0] == 1).all()
    assert MASK.allowed[drawn[:, 1], drawn[:, 2]].all()
    rows = _every_row(LAYOUT)
    rows = rows[(rows[:, 0] == 1) & MASK.allowed[rows[:, 1], rows[:, 2]]]
    expected = n * np.exp(mixture.log_likelihood(rows, profiles[: len(rows)]))
    found = [(drawn == row).all(axis=1).sum() for row in rows]
    assert chisquare(found, expected).pvalue > 1e-3


def test_a_code_nobody_had_is_not_drawn_unless_a_mask_leaves_no_other() -> None:
    tables = np.array([[0.5], [0.5], [1.0], [0.0], [0.0]])
    mask = Mask(0, 1, np.array([[True, True, True], [False, True, True]]))
    layout = Layout((2, 3), 1, 0, (mask,))
    mixture = Mixture(layout, Parameters(np.zeros((1, 1)), tables), np.zeros(0), np.zeros(0))
    conditions = np.repeat([[0], [1]], 500, axis=0)
    drawn = mixture.sample(conditions, np.zeros((1000, 0)), 1)[:, 1]
    assert set(drawn[:500]) == {0}
    assert set(drawn[500:]) == {1, 2}
    both = mixture.log_likelihood(np.array([[1, 1], [1, 2]]), np.zeros((2, 0)))
    assert np.exp(both) == pytest.approx([0.5, 0.5])


def test_a_component_without_any_code_a_mask_allows_draws_as_all_together_do() -> None:
    # The first component only knows code 0 of the second column, which the mask forbids beside 1.
    tables = np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [0.0, 0.25], [0.0, 0.75], [0.0, 0.0]])
    mask = Mask(0, 1, np.array([[True] * 4, [False, True, True, True]]))
    mixture = Mixture(
        Layout((2, 4), 1, 0, (mask,)),
        Parameters(np.zeros((1, 2)), tables),
        np.zeros(0),
        np.zeros(0),
    )
    rows = np.array([[1, 1], [1, 2], [1, 3]])
    p = np.exp(mixture.log_likelihood(rows, np.zeros((3, 0))))
    assert p == pytest.approx([0.25, 0.75, 0.0], abs=1e-12)
    drawn = mixture.sample(np.ones((4000, 1), dtype=np.int64), np.zeros((4000, 0)), 1)[:, 1]
    assert set(drawn) == {1, 2}
    assert (drawn == 2).mean() == pytest.approx(0.75, abs=0.03)


def test_a_condition_nobody_had_says_nothing_of_the_other_columns() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat((rng.random(600) < 0.15)[:, None], 2, axis=1).astype(np.int64)
    mixture = _fit(_rows(codes), Layout((3, 2), 1)).generator
    unseen = np.full((4000, 1), 2)
    share = mixture.sample(unseen, np.zeros((4000, 0)), 1)[:, 1].mean()
    assert share == pytest.approx(codes[:, 1].mean(), abs=0.05)


def test_em_finds_the_two_kinds_of_rows_that_were_planted() -> None:
    rng = np.random.default_rng(1)
    kind = rng.random(4000) < 0.3
    codes = (rng.random((4000, 6)) < np.where(kind, 0.9, 0.1)[:, None]).astype(np.int64)
    fitted = _fit(_rows(codes), Layout((2,) * 6, 0))
    # The entropy of the true mixture, summed over all 64 rows.
    ones = _every_row(Layout((2,) * 6, 0)).sum(axis=1)
    p = 0.3 * 0.9**ones * 0.1 ** (6 - ones) + 0.7 * 0.1**ones * 0.9 ** (6 - ones)
    entropy = -(p * np.log(p)).sum()
    assert fitted.best.validation_nats == pytest.approx(entropy, abs=0.06)
    # Far from what independent columns reach: 6 x 0.641 nats at a share of ones of 0.34.
    assert fitted.best.validation_nats < 6 * 0.641 - 0.5


def test_an_iteration_of_em_equals_one_computed_row_by_row() -> None:
    layout = Layout((2, 3), 0)
    before = _mixture(layout, 2, 1).parameters
    codes = np.array([[0, 0], [0, 2], [1, 1], [1, 2], [0, 0]])
    rows = np.column_stack([np.zeros(5, dtype=np.int64), codes])
    one = described(NONE, np.zeros(0), np.zeros(0))
    prior = np.full((5, 2), 0.5)
    after = maximise(expect(before, rows, one, layout), before, prior, 2.0, one, layout)
    weight = np.exp(before.log_weights(one))[0]
    joint = weight * before.tables[codes[:, 0]] * before.tables[2 + codes[:, 1]]
    share = joint / joint.sum(axis=1, keepdims=True)
    first = np.array([share[codes[:, 0] == code].sum(axis=0) for code in (0, 1)])
    assert after.tables[:2] == pytest.approx((first + 1) / (share.sum(axis=0) + 2), abs=1e-4)
    expected = np.log((share.sum(axis=0) + 1) / 7)
    assert after.log_weights(one)[0] == pytest.approx(expected, abs=1e-4)


def test_the_order_of_rows_and_where_they_are_cut_changes_no_bit_of_the_sums() -> None:
    layout = Layout((5, 700, 4), 1)
    parameters = _mixture(layout, 7, 2).parameters
    rng = np.random.default_rng(2)
    codes = np.column_stack([rng.integers(0, size, 1000) for size in layout.sizes])
    rows = np.column_stack([np.zeros(1000, dtype=np.int64), codes])
    one = described(NONE, np.zeros(0), np.zeros(0))
    whole = expect(parameters, rows, one, layout)
    mixed = rows[rng.permutation(1000)]
    parts = [
        expect(parameters, mixed[a:b], one, layout) for a, b in ((0, 33), (33, 999), (999, 1000))
    ]
    added = parts[0] + parts[1] + parts[2]
    assert (added.tables == whole.tables).all()
    assert (added.weights == whole.weights).all()
    assert added.nats == whole.nats


def test_a_segments_profile_moves_the_weights_and_a_new_profile_lies_between() -> None:
    rng = np.random.default_rng(4)
    profiles = np.linspace(-1, 1, 9)[:, None]
    segment = rng.integers(0, 9, 6000)
    odds = 1 / (1 + np.exp(-2 * profiles[segment, 0]))
    codes = rng.random((6000, 4)) < np.where(rng.random(6000) < odds, 0.95, 0.05)[:, None]
    layout = Layout((2,) * 4, 0, 1)
    mixture = _fit(_rows(codes.astype(np.int64), segment, profiles), layout).generator
    for profile in (-0.9, 0.1, 0.9):
        drawn = mixture.sample(np.zeros((8000, 0), dtype=np.int64), np.full((8000, 1), profile), 1)
        share = 1 / (1 + np.exp(-2 * profile))
        assert drawn.mean() == pytest.approx(0.05 + 0.9 * share, abs=0.04)


def test_the_same_seed_and_rows_give_the_same_bytes_and_a_file_loads_as_saved() -> None:
    codes = np.random.default_rng(5).integers(0, 3, (500, 3))
    layout = Layout((3, 3, 3), 1)
    first, again = (_fit(_rows(codes), layout).generator for _ in range(2))
    assert first.to_bytes() == again.to_bytes()
    loaded = load_generator("mixture", layout, first.to_bytes())
    assert loaded.to_bytes() == first.to_bytes()
    with pytest.raises(ModelError, match="not of the same fit"):
        load_generator("mixture", Layout((3, 3, 4), 1), first.to_bytes())
    with pytest.raises(ModelError, match="not the tables of a mixture"):
        load_generator("mixture", layout, first.to_bytes()[:-9])


@pytest.mark.parametrize("n", [1, 3, 30])
def test_a_handful_of_rows_or_a_constant_column_gives_a_model(n: int) -> None:
    codes = np.column_stack([np.zeros(n, dtype=np.int64), np.arange(n) % 2])
    fitted = _fit(_rows(codes), Layout((1, 2), 0))
    assert np.isfinite(fitted.best.validation_nats)
    assert fitted.generator.sample(np.zeros((5, 0)), np.zeros((5, 0)), 1)[:, 0].tolist() == [0] * 5


def test_the_rows_of_lowest_hash_are_found_from_parts() -> None:
    rows = np.random.default_rng(6).integers(0, 9, (400, 3))
    parts = [distinct_rows(part, 10, 3) for part in (rows[:7], rows[7:250], rows[250:])]
    whole = distinct_rows(rows, 10, 3)
    assert (distinct_rows(np.concatenate(parts), 10, 3) == whole).all()
    assert len(np.unique(whole, axis=0)) == 10
    assert (distinct_rows(rows, 10, 4) != whole).any()
