"""What every kind of generator must show; `CHECKS` are run for each of them.

Each check fits what it needs, small and short, and raises AssertionError. A new kind is done when
it passes all of them.
"""

import json
import pickle
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from generator_truth import (
    FOLLOWS_SHARE,
    LAYOUT,
    MASKED,
    PROFILES,
    RULE_SHARE,
    UNSEEN_PROFILE,
    by_rule,
    fifth_share,
    masked_truth,
    plain_rows,
    profiles_of,
    truth,
)
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from rehearsal.errors import ModelError
from rehearsal.generate.models.generator import (
    Fitted,
    Generator,
    Point,
    Rows,
    fit_generator,
    load_generator,
)
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.settings import Generator as Settings

SETTINGS = Settings(hidden=32, latent=4, max_epochs=15, patience=4, batch_rows=64)
SHORT = SETTINGS.model_copy(update={"max_epochs": 2})
EXACT, UNDEFINED = frozenset({"mixture"}), frozenset({"gan"})
"""Kinds whose log_likelihood is log p itself, and kinds that have none; else it is a bound."""


def fit(
    kind: str, rows: Rows, layout: Layout, settings: Settings = SHORT, seed: int = 1
) -> Generator:
    return fit_fully(kind, rows, layout, settings, seed).generator


def fit_fully(kind: str, rows: Rows, layout: Layout, settings: Settings, seed: int) -> Fitted:
    """Fit on all rows but a seventh, which decides when to stop."""
    held_out = np.arange(len(rows.codes)) % 7 == 0
    training, validation = (
        Rows(rows.codes[part], rows.segment[part], rows.profiles) for part in (~held_out, held_out)
    )
    feed = MemoryFeed(training, settings.batch_rows)
    return fit_generator(kind, feed, validation, layout, settings, seed)


@cache
def trained(kind: str) -> Generator:
    """Return what several checks look at: a generator of 3,500 rows of the truth."""
    return fit(kind, truth(3500, 1), LAYOUT, SETTINGS)


def sample(made: Generator, rows: Rows, seed: int = 5) -> Codes:
    """Draw as many rows with the same conditions and segments."""
    return made.sample(rows.codes[:, : made.layout.n_conditions], profiles_of(rows), seed)


def check_every_condition_value_is_given_exactly(kind: str) -> None:
    for column in range(LAYOUT.n_conditions):
        for value in range(LAYOUT.sizes[column]):
            rows = truth(300, 2)
            rows.codes[:, column] = value
            drawn = sample(trained(kind), rows)
            assert drawn.shape == rows.codes.shape
            assert (drawn[:, column] == value).all()
            assert np.array_equal(drawn[:, :2], rows.codes[:, :2])


def check_shares_of_codes_are_recovered(kind: str) -> None:
    """Each code's share within .03 of that of 20,000 rows of the truth."""
    rows = truth(20_000, 3)
    drawn = sample(trained(kind), rows)
    for column in LAYOUT.generated:
        expected, found = (
            np.bincount(codes[:, column], minlength=LAYOUT.sizes[column]) / len(codes)
            for codes in (rows.codes, drawn)
        )
        assert np.abs(expected - found).max() < 0.03, (column, expected, found)


def check_dependence_is_recovered(kind: str) -> None:
    """A rule between two columns, and what the conditions do: shares within .06 of the truth."""
    drawn = sample(trained(kind), truth(6000, 4))
    follows = float((drawn[:, 3] == drawn[:, 2] % 5).mean())
    assert follows == pytest.approx(FOLLOWS_SHARE, abs=0.06)
    for first, second in product(range(3), range(2)):
        cell = drawn[(drawn[:, 0] == first) & (drawn[:, 1] == second)]
        share = float((cell[:, 2] == by_rule(cell)).mean())
        assert share == pytest.approx(RULE_SHARE, abs=0.06), (first, second)


def check_the_profile_tells_segments_apart(kind: str) -> None:
    """Profiles trained on, and one between them that was not: within .06 of the truth."""
    for profile in (*PROFILES, UNSEEN_PROFILE):
        rows = truth(3000, 5, profile[None])
        share = float((sample(trained(kind), rows)[:, 4] == 1).mean())
        assert share == pytest.approx(fifth_share(profile), abs=0.06), profile


def check_the_seed_decides_everything(kind: str) -> None:
    rows = truth(500, 6)
    first, same, other = (fit(kind, rows, LAYOUT, SHORT, seed) for seed in (1, 1, 2))
    assert first.to_bytes() == same.to_bytes()
    assert first.to_bytes() != other.to_bytes()
    assert np.array_equal(sample(first, rows, 7), sample(same, rows, 7))
    assert not np.array_equal(sample(first, rows, 7), sample(first, rows, 8))


def check_masks_are_never_violated(kind: str) -> None:
    # Too short a training to learn them: they must hold by construction.
    rows = masked_truth(500, 7)
    drawn = sample(fit(kind, rows, MASKED), masked_truth(5000, 8))
    for mask in MASKED.masks:
        assert mask.allowed[drawn[:, mask.earlier], drawn[:, mask.later]].all()


def check_codes_never_trained_on_are_never_sampled(kind: str) -> None:
    drawn = sample(fit(kind, truth(500, 9), LAYOUT), truth(8000, 10))
    assert (drawn[:, 2] != 0).all()
    assert (drawn[:, 5] != 3).all()


def check_true_rows_are_likelier_than_shuffled_ones(kind: str) -> None:
    rows = truth(2000, 11)
    made = trained(kind)
    known = made.log_likelihood(rows.codes, profiles_of(rows))
    assert (known is None) == (kind in UNDEFINED)
    if known is None:
        return
    random = np.random.default_rng(1)
    shuffled = rows.codes.copy()
    for column in LAYOUT.generated:
        shuffled[:, column] = random.permutation(shuffled[:, column])
    unlikely = made.log_likelihood(shuffled, profiles_of(rows))
    assert known.shape == (2000,)
    assert unlikely is not None
    # Independent columns lose over a nat to each of the two rules.
    assert known.mean() - np.maximum(unlikely, -100).mean() > 1.0


def check_likelihoods_of_all_rows_there_can_be_sum_to_one(kind: str) -> None:
    """To 1 within 1e-6 where exact; a bound's sum stays below 1, and is of use: above .5."""
    layout = Layout((2, 3, 2), n_conditions=1)
    random = np.random.default_rng(1)
    rows = np.stack([random.integers(0, size, 700) for size in layout.sizes], axis=1)
    made = fit(kind, plain_rows(rows), layout)
    space = np.array(list(product(*map(range, layout.sizes))))
    # A bound is a mean over noise, which differs by row.
    repeated = np.repeat(space, 500, axis=0)
    known = made.log_likelihood(repeated, np.zeros((len(repeated), 0)))
    if known is None:
        assert kind in UNDEFINED
        return
    odds = np.exp(known.reshape(len(space), 500).mean(axis=1))
    for condition in range(2):
        total = odds[space[:, 0] == condition].sum()
        if kind in EXACT:
            assert total == pytest.approx(1.0, abs=1e-6)
        else:
            assert 0.5 < total < 1.01


def check_no_training_row_is_in_the_file(kind: str) -> None:
    """Neither rows nor stretches of a column, in any width of number."""
    layout = Layout((2, *[250] * 8), n_conditions=1)
    random = np.random.default_rng(1)
    rows = np.stack([random.integers(0, size, 300) for size in layout.sizes], axis=1)
    planted = np.array([1, 11, 203, 7, 99, 154, 31, 248, 66])
    rows[200:205] = planted
    data = fit(kind, plain_rows(rows), layout).to_bytes()
    stretches = [planted[1:], *rows[:, 1:9:2][:300:50], rows[:8, 4], rows[100:108, 5]]
    for form, stretch in product(("u1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"), stretches):
        assert stretch.astype(form).tobytes() not in data


def check_the_file_is_safetensors_and_samples_alike(kind: str) -> None:
    made, rows = trained(kind), truth(400, 12)
    data = made.to_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    spans = sorted(part["data_offsets"] for key, part in header.items() if key != "__metadata__")
    # The numbers fill the file: nothing stands between or behind them.
    assert [end for _, end in spans] == [start for start, _ in spans[1:]] + [len(data) - 8 - length]
    again = load_generator(kind, LAYOUT, data)
    assert again.kind == kind
    assert again.to_bytes() == data
    assert np.array_equal(sample(again, rows), sample(made, rows))


def check_damaged_and_foreign_files_are_refused(kind: str) -> None:
    data = trained(kind).to_bytes()
    foreign = save_tensors({"x": np.zeros(3, dtype=np.float32)})
    tensors = load_tensors(data)
    stripped = save_tensors(tensors)
    for broken in (b"", data[:20], data[:-1], foreign, stripped, pickle.dumps({"x": 1})):
        with pytest.raises(ModelError):
            load_generator(kind, LAYOUT, broken)


def check_a_file_of_another_layout_is_refused(kind: str) -> None:
    data = trained(kind).to_bytes()
    for other in (
        Layout((3, 2, 6, 5, 3, 9), 2, 2),
        Layout(LAYOUT.sizes, 1, 2),
        Layout(LAYOUT.sizes, 2, 3),
    ):
        with pytest.raises(ModelError):
            load_generator(kind, other, data)


def check_odd_tables_are_fitted(kind: str) -> None:
    """Few rows, a constant column, one with no value but 'missing', no condition at all."""
    random = np.random.default_rng(1)
    for n, n_conditions in product((3, 10, 200), (0, 1)):
        free = random.integers(0, 4, (n, 2))
        codes = np.column_stack([free[:, 0], np.full(n, 2), np.zeros(n), free[:, 1]]).astype(int)
        layout = Layout((4, 5, 1, 4), n_conditions)
        made = fit(kind, plain_rows(codes), layout)
        drawn = sample(made, plain_rows(codes[np.arange(50) % n]))
        assert (drawn[:, 1:3] == [2, 0]).all()
        assert set(drawn[:, 3]) <= set(codes[:, 3])


def check_no_rows_and_conditions_never_trained_on_are_answered(kind: str) -> None:
    made = fit(kind, plain_rows(np.tile([[0, 1], [1, 2]], (40, 1))), Layout((4, 3), 1))
    empty: Floats = np.zeros((0, 0))
    assert made.sample(np.zeros((0, 1), dtype=np.int64), empty, 1).shape == (0, 2)
    drawn = made.sample(np.full((30, 1), 3), np.zeros((30, 0)), 1)
    assert (drawn[:, 0] == 3).all()
    assert set(drawn[:, 1]) <= {1, 2}


def check_training_is_reported_and_the_best_is_kept(kind: str) -> None:
    rows, told = truth(500, 13), list[Point]()
    feed = MemoryFeed(rows, SHORT.batch_rows)
    fitted = fit_generator(kind, feed, truth(100, 14), LAYOUT, SHORT, 1, report=told.append)
    # What was trained before it, to start from, may have been reported too.
    assert tuple(told[-len(fitted.curve) :]) == fitted.curve
    assert all(later.epoch > earlier.epoch for earlier, later in pairwise(fitted.curve))
    assert fitted.best in fitted.curve
    if kind not in UNDEFINED:
        # Of the epochs that know their training rows no better than the kept one does.
        rivals = [p for p in fitted.curve if not p.membership > fitted.best.membership]
        assert fitted.best.validation_nats == min(p.validation_nats for p in rivals)


CHECKS = tuple(check for name, check in list(globals().items()) if name.startswith("check_"))
