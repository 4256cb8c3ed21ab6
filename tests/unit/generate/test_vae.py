"""The VAE: exact conditions, masks, learnt dependence, a latent at work, seeds, resuming."""

import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from rehearsal.errors import ModelError
from rehearsal.generate.models import vae
from rehearsal.generate.models.decoder import IMPOSSIBLE_NATS, Decoder, draw
from rehearsal.generate.models.generator import Fitted, Point, Rows, fit_generator, load_generator
from rehearsal.generate.models.layout import Layout, Mask
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.generate.models.schedule import Schedule, rebatched
from rehearsal.settings import Generator, Private

SETTINGS = Generator(hidden=48, latent=4, max_epochs=20, patience=3, batch_rows=64)
# Where the third column is 5, the fourth is 2: what an implied value comes to.
IMPLIED = Mask(2, 3, np.array([[True] * 5] * 5 + [[False, False, True, False, False]]))
LAYOUT = Layout((3, 4, 6, 5, 8), 2, 1, (IMPLIED,))


def truth(n: int, seed: int) -> np.ndarray:
    """Two conditions; the third column is their sum, the fourth follows the third, then noise.

    The first condition is never 2; of the third column 0, of the last one 7 never occurs.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 2, n), rng.integers(0, 4, n)
    third = 1 + (first + second) % 5
    fourth = np.where(third == 5, 2, (third + (rng.random(n) < 0.1)) % 5)
    return np.stack([first, second, third, fourth, rng.integers(0, 7, n)], axis=1)


def rows(n: int, seed: int) -> Rows:
    """Two segments; the last column is never above 3 in the one with the negative profile."""
    codes = truth(n, seed)
    segment = np.arange(n) % 2
    codes[segment == 0, 4] %= 4
    return Rows(codes, segment, np.array([[-1.0], [1.0]]))


def fit(settings: Generator = SETTINGS, seed: int = 5, **more: object) -> Fitted:
    feed = MemoryFeed(rows(1700, 1), 100)
    return fit_generator("vae", feed, rows(300, 2), LAYOUT, settings, seed, **more)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit()


def sample(fitted: Fitted, conditions: np.ndarray, seed: int, profile: float = 1.0) -> np.ndarray:
    return fitted.generator.sample(conditions, np.full((len(conditions), 1), profile), seed)


@pytest.mark.parametrize("column", [0, 1])
def test_a_condition_asked_for_is_the_condition_of_every_row(fitted: Fitted, column: int) -> None:
    for value in range(LAYOUT.sizes[column]):
        conditions = truth(400, 3)[:, :2]
        conditions[:, column] = value
        drawn = sample(fitted, conditions, seed=value + 1)
        assert np.array_equal(drawn[:, :2], conditions)


def test_dependence_on_conditions_and_between_columns_is_learnt(fitted: Fitted) -> None:
    drawn = sample(fitted, truth(4000, 4)[:, :2], seed=9)
    by_rule = drawn[:, 2] == 1 + (drawn[:, 0] + drawn[:, 1]) % 5
    assert by_rule.mean() > 0.95
    free = drawn[drawn[:, 2] != 5]
    # The truth is 0.9 and independent columns would give 0.2.
    assert (free[:, 3] == free[:, 2] % 5).mean() == pytest.approx(0.9, abs=0.05)


def test_a_condition_never_trained_on_gives_what_the_others_allow(fitted: Fitted) -> None:
    conditions = np.tile([2, 1], (2000, 1))
    drawn = sample(fitted, conditions, seed=3)
    # The first condition was 0 or 1, so that the sum is 1 or 2.
    assert np.isin(drawn[:, 2], [2, 3]).mean() > 0.9
    assert 0.1 < (drawn[:, 2] == 2).mean() < 0.9


def test_rows_follow_the_profile_also_one_between_those_trained_on(fitted: Fitted) -> None:
    conditions = truth(3000, 5)[:, :2]
    above = [(sample(fitted, conditions, 1, at)[:, 4] > 3).mean() for at in (-1.0, 0.0, 1.0)]
    assert above[0] < 0.02
    assert above[2] == pytest.approx(3 / 7, abs=0.06)
    assert above[0] < above[1] < above[2]


def test_a_mask_is_kept_by_every_row_and_counts_in_the_likelihood(fitted: Fitted) -> None:
    conditions = np.tile([1, 3], (3000, 1))
    drawn = sample(fitted, conditions, seed=6)
    assert set(drawn[drawn[:, 2] == 5, 3]) == {2}
    # A sum of 5 leaves one code: it costs nothing, and the others are impossible.
    decoder = fitted.generator.decoder
    codes = torch.tensor([[1, 3, 5, 2, 0], [1, 3, 5, 1, 0]])
    nats = decoder.nats(codes, torch.zeros((2, 5)))[:, 1]
    assert nats.tolist() == [0.0, IMPOSSIBLE_NATS]


def test_codes_never_trained_on_are_never_sampled(fitted: Fitted) -> None:
    drawn = sample(fitted, truth(4000, 4)[:, :2], seed=10)
    assert (drawn[:, 2] > 0).all()
    assert (drawn[:, 4] < 7).all()


def test_missing_is_the_way_out_where_masks_leave_no_code_seen() -> None:
    allowed = np.array([[True, False, True], [False, True, True], [False, False, True]])
    decoder = Decoder(Layout((3, 3), 1, 0, (Mask(0, 1, allowed),)), 1, 8)
    decoder.seen.fill_(value=False)
    decoder.mark_seen(torch.tensor([[0, 1]]))
    possible = decoder.possible(1, torch.tensor([[0, 0], [1, 0], [2, 0]]))
    # Allowed beside 0: 0 and 2, of which none was seen: 0 is 'missing'. Beside 1: 1 was seen.
    # Beside 2: neither seen nor missing, so the mask alone decides.
    assert possible.int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_code_that_no_row_can_have_is_not_possible_even_where_it_was_seen() -> None:
    decoder = Decoder(Layout((2, 3), 1, never=((1, 2),)), 1, 8)
    assert decoder.possible(1, torch.tensor([[0, 0]])).tolist() == [True, True, False]


@given(
    size=st.integers(1, 6), blocked=st.integers(0, 5), seed=st.integers(1, 99), large=st.booleans()
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_blocked_code_is_never_drawn(size: int, blocked: int, seed: int, large: bool) -> None:
    logits = torch.zeros((500, size + 1))
    logits[:, 0] = 30.0 if large else 0.0
    logits[:, min(blocked, size)] = -1e9
    drawn = draw(logits, torch.Generator().manual_seed(seed))
    assert not (drawn == min(blocked, size)).any()
    assert int(drawn.max()) <= size


def test_codes_are_drawn_as_often_as_their_logits_say() -> None:
    odds = torch.tensor([0.1, 0.2, 0.3, 0.4])
    drawn = draw(odds.log().expand(40_000, 4), torch.Generator().manual_seed(1))
    shares = torch.bincount(drawn, minlength=4) / 40_000
    # Four standard errors of a share of 40,000 draws.
    assert shares.numpy() == pytest.approx(odds.numpy(), abs=4 * 0.5 / 200)


def test_a_column_does_not_depend_on_later_ones(fitted: Fitted) -> None:
    decoder, codes = fitted.generator.decoder, torch.tensor(truth(50, 1))
    changed = codes.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 5
    context = torch.zeros((50, 5))
    first, second = decoder.nats(codes, context), decoder.nats(changed, context)
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 2], second[:, 2])


def test_training_improves_stops_and_reports_in_nats(fitted: Fitted) -> None:
    curve = fitted.curve
    assert [point.epoch for point in curve] == list(range(1, len(curve) + 1))
    assert fitted.best.validation_nats == min(point.validation_nats for point in curve)
    assert fitted.best.validation_nats < curve[0].validation_nats
    # The entropy of the truth: ln 7 or ln 4 of the last column, and a 10% coin where the sum is
    # not 5, seven cases of eight.
    coin = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert 0 < fitted.best.validation_nats - (math.log(7 * 4) / 2 + coin * 7 / 8) < 0.3


def test_the_latent_holds_information(fitted: Fitted) -> None:
    # Column dropout is there for this: without it the KL falls to nothing.
    assert fitted.best.kl_nats > 0.02


def test_the_bound_of_the_rows_is_the_loss_reported(fitted: Fitted) -> None:
    held_out = rows(300, 2)
    bound = fitted.generator.log_likelihood(held_out.codes, held_out.profiles[held_out.segment])
    # Other noise, the same rows.
    assert -bound.mean() == pytest.approx(fitted.best.validation_nats, abs=0.05)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 2})
    first = fit(short).generator.to_bytes()
    assert fit(short).generator.to_bytes() == first
    assert fit(short, seed=6).generator.to_bytes() != first


class Kept:
    """A checkpoint in memory, which gives up after so many epochs."""

    def __init__(self, fails_at: int) -> None:
        self.fails_at, self.tensors = fails_at, None

    def load(self) -> Mapping[str, Tensor] | None:
        return self.tensors

    def save(self, tensors: Mapping[str, Tensor], curve: tuple[Point, ...]) -> None:
        self.tensors = tensors
        if len(curve) == self.fails_at:
            raise KeyboardInterrupt


def test_a_fit_that_was_cut_off_goes_on_to_the_very_same_bytes() -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 4})
    whole = fit(short)
    checkpoint = Kept(fails_at=2)
    with pytest.raises(KeyboardInterrupt):
        fit(short, checkpoint=checkpoint)
    reported: list[Point] = []
    resumed = fit(short, checkpoint=checkpoint, report=reported.append)
    assert [point.epoch for point in reported] == [3, 4]
    assert resumed.curve == whole.curve
    assert resumed.generator.to_bytes() == whole.generator.to_bytes()


def test_a_checkpoint_of_another_network_is_refused() -> None:
    short = SETTINGS.model_copy(update={"max_epochs": 1})
    checkpoint = Kept(fails_at=0)
    fit(short, checkpoint=checkpoint)
    with pytest.raises(ModelError, match="the checkpoint is not of this network"):
        fit(short.model_copy(update={"hidden": 16}), checkpoint=checkpoint)


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_a_network_is_not_trained_where_privacy_is_asked_for(kind: str) -> None:
    settings = SETTINGS.model_copy(update={"private": Private(epsilon=1.0)})
    feed = MemoryFeed(rows(170, 1), 100)
    with pytest.raises(ModelError, match="no network is trained with differential privacy"):
        fit_generator(kind, feed, rows(30, 2), LAYOUT, settings, 1)


def test_saved_weights_sample_as_the_network_they_came_from(fitted: Fitted) -> None:
    data = fitted.generator.to_bytes()
    again = load_generator("vae", LAYOUT, data)
    assert again.to_bytes() == data
    conditions, profiles = truth(200, 6)[:, :2], np.zeros((200, 1))
    draws = [g.sample(conditions, profiles, 1) for g in (fitted.generator, again)]
    assert np.array_equal(*draws)


@pytest.mark.parametrize(
    ("layout", "message"),
    [(Layout((3, 4, 9), 2, 1), "not of the same fit"), (Layout(LAYOUT.sizes, 2), "profile of 1")],
)
def test_weights_of_another_layout_are_refused(
    fitted: Fitted, layout: Layout, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_generator("vae", layout, fitted.generator.to_bytes())


@pytest.mark.parametrize("damage", [lambda d: d[:50], lambda d: d[:0], lambda d: d[:-100]])
def test_damaged_weights_are_refused(fitted: Fitted, damage: object) -> None:
    with pytest.raises(ModelError, match="not the weights of a VAE"):
        load_generator("vae", LAYOUT, damage(fitted.generator.to_bytes()))


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_the_weights_of_another_kind_are_refused(kind: str) -> None:
    feed, few = MemoryFeed(rows(100, 1), 100), SETTINGS.model_copy(update={"max_epochs": 1})
    mixture = fit_generator("mixture", feed, rows(30, 2), LAYOUT, few, 1).generator
    with pytest.raises(ModelError, match="not the weights of a VAE"):
        load_generator(kind, LAYOUT, mixture.to_bytes())


def test_without_conditions_and_profile_rows_are_drawn_all_the_same() -> None:
    layout = Layout((4, 3), 0)
    network = vae.ConditionalVAE(layout, vae.Shape(layout.sizes, 0, 0, 8, 2))
    network.initialise(torch.Generator().manual_seed(1))
    drawn = network.sample(np.zeros((5, 0), dtype=np.int64), np.zeros((5, 0)), seed=1)
    assert drawn.shape == (5, 2)
    assert network.sample(np.zeros((0, 0), dtype=np.int64), np.zeros((0, 0)), 1).shape == (0, 2)


@pytest.mark.parametrize(
    ("n_rows", "batch_rows"), [(100, 16), (1_000, 100), (30_000, 256), (10**6, 3906)]
)
def test_steps_have_more_rows_where_there_are_more(n_rows: int, batch_rows: int) -> None:
    assert Schedule.of(Generator(), n_rows).batch_rows == batch_rows


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    schedule = Schedule(256, 10, 1000)
    rates = [schedule.rate(step) for step in range(1001)]
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[500] == pytest.approx(0.5)
    assert rates[1000] == 0.0


@given(sizes=st.lists(st.integers(1, 9), max_size=6), n=st.integers(1, 7))
def test_batches_are_joined_and_split_without_losing_a_row(sizes: list[int], n: int) -> None:
    ends = np.cumsum([0, *sizes])
    batches = [np.arange(a, b)[:, None] for a, b in pairwise(ends)]
    made = list(rebatched(batches, n))
    assert all(len(batch) == n for batch in made[:-1])
    assert all(0 < len(batch) <= n for batch in made)
    assert [int(row) for batch in made for row in batch] == list(range(ends[-1]))
