"""Adapters: kept only where held-out rows gain, the same each time, plain weights in the end."""

import math

import numpy as np
import pytest
import torch

from rehearsal.errors import ModelError
from rehearsal.generate.models.adapter import AdapterFit, fit_adapters, with_adapter
from rehearsal.generate.models.generator import Point, Rows, fit_generator, silent
from rehearsal.generate.models.layout import Layout, Mask
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.generate.models.vae import ConditionalVAE, load
from rehearsal.settings import Generator

SETTINGS = Generator(hidden=32, latent=2, max_epochs=5, batch_rows=64, min_rows=60, patience=4)
# Beside code 4 of the second column only code 1 of the third may stand.
ALLOWED = np.array([[True] * 3] * 4 + [[False, True, False]])
LAYOUT = Layout((2, 5, 3), 1, 1, (Mask(1, 2, ALLOWED),))
# Rows of five segments. All have the same profile; the third one has a way of its own, of which
# the base knows nothing, and so has the fourth, whose rows are too few to tell.
COUNTS, ODD = (400, 400, 400, 40, 0), (2, 3)


def rows(counts: tuple[int, ...], odd: tuple[int, ...], seed: int) -> Rows:
    """The second column is uniform on 0 to 3; in odd segments it is 3 in seven cases of ten."""
    rng = np.random.default_rng(seed)
    segment = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    second = rng.integers(0, 4, len(segment))
    second[np.isin(segment, odd) & (rng.random(len(segment)) < 0.6)] = 3
    codes = [rng.integers(0, 2, len(segment)), second, rng.integers(0, 3, len(segment))]
    return Rows(np.stack(codes, axis=1), segment, np.zeros((len(counts), 1)))


TRAINING, VALIDATION = rows(COUNTS, ODD, 1), rows((150, 150, 150, 10, 0), ODD, 2)


@pytest.fixture(scope="module")
def base() -> ConditionalVAE:
    feed = MemoryFeed(rows((2000,), (), 3), 100)
    fitted = fit_generator("vae", feed, rows((300,), (), 4), LAYOUT, SETTINGS, 1)
    return load(LAYOUT, fitted.generator.to_bytes())


@pytest.fixture(scope="module")
def fits(base: ConditionalVAE) -> list[AdapterFit]:
    return fit_adapters(base, TRAINING, VALIDATION, SETTINGS, 1, silent)


def test_only_a_segment_whose_held_out_rows_clearly_gain_has_an_adapter(
    fits: list[AdapterFit],
) -> None:
    assert [fit.n_rows for fit in fits] == list(COUNTS)
    assert [fit.data is not None for fit in fits] == [False, False, True, False, False]
    # Of a row with a 3, log(.7 / .25); of any other, log(.1 / .25).
    share = (VALIDATION.codes[VALIDATION.segment == 2, 1] == 3).mean()
    gain = share * math.log(0.7 / 0.25) + (1 - share) * math.log(0.1 / 0.25)
    assert fits[2].base_nats - fits[2].adapted_nats == pytest.approx(gain, abs=0.05)


def test_a_segment_of_too_few_rows_or_none_is_not_trained(fits: list[AdapterFit]) -> None:
    assert fits[3].curve == fits[4].curve == ()
    assert math.isnan(fits[3].adapted_nats)
    assert math.isfinite(fits[3].base_nats)
    assert math.isnan(fits[4].base_nats)


def test_a_segment_stops_by_its_own_held_out_rows(fits: list[AdapterFit]) -> None:
    for fit in fits[:3]:
        best = min(fit.curve, key=lambda point: point.validation_nats)
        assert best.validation_nats == fit.adapted_nats
        assert len(fit.curve) - best.epoch <= SETTINGS.patience
    assert len({len(fit.curve) for fit in fits[:3]}) > 1


def test_the_merged_network_is_as_good_as_was_measured(
    base: ConditionalVAE, fits: list[AdapterFit]
) -> None:
    held = VALIDATION.codes[VALIDATION.segment == 2], np.zeros((150, 1))
    adapted = with_adapter(base, fits[2].data)
    gain = adapted.log_likelihood(*held) - base.log_likelihood(*held)
    measured = fits[2].base_nats - fits[2].adapted_nats
    # The latents are drawn anew.
    assert gain.mean() == pytest.approx(measured, abs=0.02)


def test_a_merged_network_is_just_a_network(base: ConditionalVAE, fits: list[AdapterFit]) -> None:
    before = base.to_bytes()
    adapted = with_adapter(base, fits[2].data)
    assert base.to_bytes() == before
    assert len(adapted.to_bytes()) == len(before)
    conditions = np.ones((3000, 1), dtype=np.int64)
    drawn = load(LAYOUT, adapted.to_bytes()).sample(conditions, np.zeros((3000, 1)), 1)
    assert (drawn[:, 0] == 1).all()
    assert (drawn[:, 1] == 3).mean() == pytest.approx(0.7, abs=0.08)
    assert (drawn[:, 1] < 4).all()


def test_the_same_seed_gives_the_same_bytes(base: ConditionalVAE, fits: list[AdapterFit]) -> None:
    again = fit_adapters(base, TRAINING, VALIDATION, SETTINGS, 1, silent)
    assert [fit.data for fit in again] == [fit.data for fit in fits]
    other = fit_adapters(base, TRAINING, VALIDATION, SETTINGS, 2, silent)
    assert other[2].data != fits[2].data


def test_the_order_of_the_rows_given_tells_nothing(
    base: ConditionalVAE, fits: list[AdapterFit]
) -> None:
    by_segment = np.argsort(TRAINING.segment, kind="stable")
    ordered = Rows(TRAINING.codes[by_segment], TRAINING.segment[by_segment], TRAINING.profiles)
    assert fit_adapters(base, ordered, VALIDATION, SETTINGS, 1, silent)[2].data == fits[2].data


def test_rounds_are_reported_as_means_over_the_segments_under_way(base: ConditionalVAE) -> None:
    reported: list[Point] = []
    fits = fit_adapters(base, TRAINING, VALIDATION, SETTINGS, 1, reported.append)
    assert [point.epoch for point in reported] == list(range(1, len(reported) + 1))
    first = np.mean([fit.curve[0].validation_nats for fit in fits[:3]])
    assert reported[0].validation_nats == pytest.approx(first)


def test_a_segments_training_loss_is_of_its_own_training_rows(
    base: ConditionalVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The latent costs 1,000 nats where the condition is 1: in all rows of the second segment.
    encode = ConditionalVAE.encode

    def costly(self: ConditionalVAE, tokens: torch.Tensor, *more: torch.Tensor) -> object:
        mean, deviation, _ = encode(self, tokens, *more)
        return mean, deviation, 1000.0 * tokens[:, :1]

    monkeypatch.setattr(ConditionalVAE, "encode", costly)
    made = [rows(counts, (), seed) for counts, seed in (((300, 100), 1), ((100, 300), 2))]
    training, held = (
        Rows(np.c_[one.segment, one.codes[:, 1:]], one.segment, one.profiles) for one in made
    )
    one_round = SETTINGS.model_copy(update={"patience": 1})
    fits = fit_adapters(base, training, held, one_round, 1, silent)
    assert fits[0].curve[0].train_nats < 10
    assert 1000 < fits[1].curve[0].train_nats < 1010


@pytest.mark.parametrize("damage", [lambda d: d[:40], lambda d: d[:-8]])
def test_a_damaged_adapter_is_refused(
    base: ConditionalVAE, fits: list[AdapterFit], damage: object
) -> None:
    with pytest.raises(ModelError, match="not one of this network"):
        with_adapter(base, damage(fits[2].data))


def test_an_adapter_of_another_network_is_refused(
    base: ConditionalVAE, fits: list[AdapterFit]
) -> None:
    other = ConditionalVAE(LAYOUT, type(base.shape)(LAYOUT.sizes, 1, 1, 16, 2))
    other.initialise(torch.Generator().manual_seed(1))
    with pytest.raises(ModelError, match="not one of this network"):
        with_adapter(other, fits[2].data)
