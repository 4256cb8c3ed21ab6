"""What synthetic rows give away, by hand and by simulation."""

import numpy as np
import pandas as pd
import pytest

from rehearsal.generate.gate import distance
from rehearsal.generate.gate.distance import nearest, scale
from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.membership import membership_advantage
from rehearsal.generate.gate.privacy import (
    Distances,
    dcr_share,
    exact_matches,
    measure_distances,
    nndr_gap,
)
from rehearsal.generate.gate.table import Table, encode
from rehearsal.settings import Gate


def rows(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, 3)).round(2)
    numbers[rng.random((n, 3)) < 0.1] = np.nan
    made = pd.DataFrame(numbers, columns=["x", "y", "z"])
    made["c"] = rng.choice(["a", "b", "c", None], n)
    return made


def distances_of(training: pd.DataFrame, test: pd.DataFrame, made: pd.DataFrame) -> Distances:
    measured = measure_distances(*encode(training, test, made), seed=1)
    assert measured is not None
    return measured


def gower(one: pd.Series, other: pd.Series, basis: pd.DataFrame) -> float:
    """One pair at a time, column by column."""
    parts = []
    for name in basis:
        a, b = one[name], other[name]
        if pd.isna(a) or pd.isna(b):
            parts.append(float(pd.isna(a) != pd.isna(b)))
        elif name == "c":
            parts.append(float(a != b))
        else:
            low, high = np.nanquantile(basis[name], [0.01, 0.99])
            parts.append(abs(np.clip(a, low, high) - np.clip(b, low, high)) / (high - low))
    return float(np.mean(parts))


def test_distances_are_gowers_with_missing_as_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "_BLOCK_CELLS", 50)
    basis, made = rows(20, 1), rows(7, 2)
    table, other = encode(basis, made)
    queries, references = scale(table, other, table)
    found = nearest(queries, references)
    full = np.array([[gower(q, r, basis) for _, r in basis.iterrows()] for _, q in made.iterrows()])
    first, second = np.sort(full, axis=1)[:, :2].T
    lacking = np.bincount(full.argmin(axis=1), 1 - first / second, minlength=20) / 7
    np.testing.assert_allclose(found.lacking, lacking, atol=1e-12)
    np.testing.assert_allclose(found.to_reference, full.min(axis=0), atol=1e-12)
    counts = np.bincount(full.argmin(axis=1), minlength=20) / 7
    np.testing.assert_allclose(found.weights, counts, atol=1e-12)


def test_one_outlier_does_not_make_all_others_alike_and_a_constant_counts_nothing() -> None:
    values = pd.DataFrame({"x": [*np.arange(199.0), 1e9], "k": 5.0})
    (table,) = encode(values)
    (scaled,) = scale(table, table)
    assert 0.4 < scaled.whole[99, 0] < 0.6
    assert scaled.whole[-1, 0] == 1
    assert set(scaled.whole[:, 1]) == {0}


def test_copies_of_training_rows_are_all_nearer_to_them() -> None:
    training, test = rows(300, 1), rows(60, 2)
    assert dcr_share(distances_of(training, test, training.sample(100, random_state=0))).value == 1
    assert dcr_share(distances_of(training, test, test)).value == 0


def test_a_tie_is_split() -> None:
    same = pd.DataFrame({"c": ["a"] * 10})
    assert dcr_share(distances_of(same, same, same)).value == 0.5
    assert dcr_share(distances_of(pd.concat([same] * 3), same, same)).value == pytest.approx(0.5)


def test_more_training_rows_than_held_out_ones_do_not_count_as_memory() -> None:
    found = [
        dcr_share(distances_of(rows(240, 3 * i), rows(60, 3 * i + 1), rows(200, 3 * i + 2)))
        for i in range(40)
    ]
    values = np.array([measured.value for measured in found])
    errors = np.array([measured.error for measured in found])
    assert values.mean() == pytest.approx(0.5, abs=3 * values.std() / np.sqrt(40))
    assert errors.mean() == pytest.approx(values.std(), rel=0.3)


def test_the_ratio_of_the_nearest_two_counts_beside_training_rows_beyond_held_out_ones() -> None:
    training = pd.DataFrame({"x": [-9.0, 0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 11.0, 12.0, 13.0]})
    test = pd.DataFrame({"x": [6.0, 7.0, 7.0, 8.0, 8.5]})
    # 1.2 is .2 from 1 and .8 from 2: its ratio lacks 3/4. Only training rows are near.
    near = pd.DataFrame({"x": [1.2] * 5})
    assert nndr_gap(distances_of(training, test, near)).value == pytest.approx(3 / 4)
    # 5.8 is .2 from 6, held out, and .8 from 5; there are twice as many training rows.
    both = pd.DataFrame({"x": [1.2, 1.2, 1.2, 1.2, 5.8]})
    assert nndr_gap(distances_of(training, test, both)).value == pytest.approx(
        3 / 4 * (4 / 5 - 2 * 1 / 5)
    )
    # A copy of a row that the training rows have twice gives nobody away.
    twice = pd.concat([training, training])
    assert nndr_gap(distances_of(twice, test, training)).value == 0


def test_copies_are_counted_beyond_those_of_held_out_rows() -> None:
    training = pd.DataFrame({"x": [1.0, -0.0, np.nan], "c": ["a", "b", None]})
    test = pd.DataFrame({"x": [1.0, 1.0, 5.0, 6.0], "c": ["a", "a", "a", "a"]})
    made = pd.DataFrame({"x": [1.0, 0.0, np.nan, np.nan], "c": ["a", "b", None, "a"]})
    measured = exact_matches(*encode(training, test, made))
    assert measured is not None
    # The first equals one training and two held-out rows, which share it; the next two one each.
    weights = np.array([1 / 3, 1, 1, 1 / 3, 1 / 3, 0, 0]) / 4
    ratio = 3 / 4
    assert measured.value == pytest.approx(weights[:3].sum() - ratio * weights[3:].sum())
    # Three of the seven weights are drawn: 3 (1 - 3/7) times their variance; and one row's more.
    one = np.array([1, 0, 0, 0, 0, 0, 0]) / 4
    spread = weights.var(ddof=1) + one.var(ddof=1)
    assert measured.error == pytest.approx((1 + ratio) * np.sqrt(3 * 4 / 7 * spread))


SCORES = ("dcr_share", "nndr_gap", "exact", "membership")
N_TEST = 200


def users(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Users' attributes, by which requests are asked for; no two users are alike."""
    made = pd.DataFrame(rng.normal(size=(n, 4)), columns=["age", "income", "tenure", "spend"])
    return made.assign(country=rng.choice(list("abcdefgh"), n))


def requests_of(given: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One request of each user, drawn from the law that all requests follow."""
    n = len(given)
    price = (given["age"] + rng.normal(size=n)).round()
    return given.assign(price=price, kind=rng.choice(list("pqrs"), n))


def privacy_scores(seed: int, memory: float) -> dict[str, Measured]:
    """Scores of a generator of that law, which repeats a share of the training rows asked by."""
    rng = np.random.default_rng(seed)
    training, test = (requests_of(users(n, rng), rng) for n in (900, N_TEST))
    asked = pd.concat([training, test], ignore_index=True)
    made = requests_of(asked.drop(columns=["price", "kind"]), rng)
    known = np.flatnonzero(rng.random(len(training)) < memory)
    made.iloc[known] = asked.iloc[known]
    tables = encode(training, test, made)
    distances = measure_distances(*tables, seed)
    assert distances is not None
    found = (
        dcr_share(distances),
        nndr_gap(distances),
        exact_matches(*tables),
        membership_advantage([distances.attack], seed),
    )
    return {name: one for name, one in zip(SCORES, found, strict=True) if one is not None}


def test_a_perfect_generator_asked_by_real_rows_gives_nothing_away_on_average() -> None:
    found = [privacy_scores(seed, memory=0) for seed in range(24)]
    for name, ideal in zip(SCORES, (0.5, 0, 0, 0), strict=True):
        values = np.array([scores[name].value for scores in found])
        error = np.mean([scores[name].error for scores in found])
        assert abs(values.mean() - ideal) < 3 * error / np.sqrt(24), name
        assert error == pytest.approx(values.std(ddof=1), rel=0.45), name


def test_a_fifth_of_copies_is_above_the_limits_at_two_hundred_held_out_rows() -> None:
    copied = privacy_scores(1, memory=0.2)
    gate = Gate()
    for name in ("nndr_gap", "exact", "membership"):
        ideal_and_three_errors = 3 * privacy_scores(1, memory=0)[name].error
        limit = max(getattr(gate, f"max_{name}"), ideal_and_three_errors)
        assert copied[name].value > limit, name
    # That share of rows moves this one least: above it with certainty only at more rows.
    assert copied["dcr_share"].value > 0.5 + copied["dcr_share"].error


def test_a_memorising_model_is_found_out_by_its_likelihoods() -> None:
    rng = np.random.default_rng(0)
    sure, unsure = rng.normal(50, 1, 400), rng.normal(0, 1, 100)
    measured = membership_advantage([(sure, unsure)], seed=1)
    assert measured is not None
    assert measured.value == pytest.approx(1, abs=0.03)
    # Beside an attack that knows nothing, the better one is chosen.
    guess = (rng.normal(size=400), rng.normal(size=100))
    both = membership_advantage([guess, (sure, unsure)], seed=1)
    assert both is not None
    assert both.value == pytest.approx(1, abs=0.03)


def test_a_shift_of_one_deviation_gives_the_advantage_of_the_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    measured = membership_advantage([(rng.normal(1, 1, 20_000), rng.normal(size=20_000))], seed=1)
    # 2 Phi(1/2) - 1, at the threshold midway between the two means.
    assert measured is not None
    assert measured.value == pytest.approx(0.3829, abs=0.015)


def test_fresh_rows_have_no_advantage_on_average_and_vary_by_the_error_stated() -> None:
    rng = np.random.default_rng(0)
    values, errors = [], []
    for seed in range(300):
        attacks = [(rng.normal(size=80), rng.normal(size=40)) for _ in range(2)]
        measured = membership_advantage(attacks, seed)
        assert measured is not None
        values.append(measured.value)
        errors.append(measured.error)
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.15)


def test_undefined_likelihoods_are_no_members_and_too_few_rows_give_no_attack() -> None:
    nan = np.full(40, np.nan)
    measured = membership_advantage([(np.zeros(40), nan)], seed=1)
    assert measured is not None
    assert measured.value == 1
    assert membership_advantage([(np.zeros(9), np.zeros(40))], seed=1) is None
    assert membership_advantage([], seed=1) is None


def test_a_model_that_repeats_its_training_rows_is_found_out_by_the_distances() -> None:
    training, test = rows(200, 1), rows(100, 2)
    copied = distances_of(training, test, pd.concat([training, training]))
    found = membership_advantage([copied.attack], seed=1)
    fresh = membership_advantage([distances_of(training, test, rows(400, 3)).attack], seed=1)
    assert found is not None
    assert fresh is not None
    assert found.value > 0.9
    assert abs(fresh.value) < 3 * fresh.error


def test_too_few_rows_give_no_distance_and_none_gives_no_copies() -> None:
    few: Table
    few, many, none = encode(rows(4, 1), rows(50, 2), rows(0, 3))
    assert measure_distances(few, many, many, seed=1) is None
    assert exact_matches(many, many, none) is None
