"""The GAN: exact conditions and masks, dependence it improves on, its critic, its averages."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from rehearsal.errors import ModelError
from rehearsal.generate.models import adversarial, gan, vae
from rehearsal.generate.models.adversarial import Duel, step_rows
from rehearsal.generate.models.critic import Critic, packed
from rehearsal.generate.models.divergence import pair_divergence
from rehearsal.generate.models.generator import (
    Fitted,
    Point,
    Rows,
    fit_generator,
    load_generator,
    silent,
)
from rehearsal.generate.models.layout import Layout, Mask
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.generate.models.vae import ConditionalVAE
from rehearsal.settings import Gate, Generator

SETTINGS = Generator(
    hidden=48, latent=4, max_epochs=72, patience=60, batch_rows=64, learning_rate=0.01
)
# Where the third column is 4, the fourth is 1.
IMPLIED = Mask(2, 3, np.array([[True] * 4] * 4 + [[False, True, False, False]]))
LAYOUT = Layout((3, 4, 5, 4), 2, 1, (IMPLIED,))


def rows(n: int, seed: int) -> Rows:
    """The third column is the sum of both conditions, the fourth nearly always follows it."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 2, n), rng.integers(0, 4, n)
    third = first + second
    fourth = np.where(third == 4, 1, (third + (rng.random(n) < 0.1)) % 4)
    codes = np.stack([first, second, third, fourth], axis=1)
    return Rows(codes, np.arange(n) % 2, np.array([[-1.0], [1.0]]))


def feed() -> MemoryFeed:
    return MemoryFeed(rows(1700, 1), 100)


def share_by_rule(generator: object) -> float:
    asked = rows(4000, 3)
    drawn = generator.sample(asked.codes[:, :2], asked.profiles[asked.segment], 9)
    return float((drawn[:, 2] == drawn[:, 0] + drawn[:, 1]).mean())


def opposed(start: ConditionalVAE, own: MemoryFeed, settings: Generator, seed: int = 5) -> Fitted:
    network = vae.load(LAYOUT, start.to_bytes())
    return gan.oppose(network, own, rows(300, 2), settings, seed, silent, 0)


@pytest.fixture(scope="module")
def start() -> ConditionalVAE:
    few = SETTINGS.model_copy(update={"max_epochs": 2})
    return fit_generator("vae", feed(), rows(300, 2), LAYOUT, few, 5).generator


@pytest.fixture(scope="module")
def fitted(start: ConditionalVAE) -> Iterator[Fitted]:
    with pytest.MonkeyPatch.context() as patch:
        # The start is far from the truth: faster steps, and a critic that does not run ahead.
        patch.setattr(adversarial, "GENERATOR_RATE", 0.2)
        patch.setattr(adversarial, "CRITIC_RATE", 0.4)
        patch.setattr(adversarial, "PENALTY", 0.1)
        patch.setattr(adversarial, "PACKS", 32)
        yield opposed(start, feed(), SETTINGS)


def test_the_critic_teaches_an_undertrained_decoder_what_depends_on_what(
    start: ConditionalVAE, fitted: Fitted
) -> None:
    assert share_by_rule(start) < 0.6
    assert share_by_rule(fitted.generator) > share_by_rule(start) + 0.2
    assert fitted.best.validation_nats < 0.6 * fitted.curve[0].validation_nats


@pytest.mark.parametrize("column", [0, 1])
def test_a_condition_asked_for_is_the_condition_of_every_row(fitted: Fitted, column: int) -> None:
    for value in range(LAYOUT.sizes[column]):
        conditions = rows(300, 3).codes[:, :2]
        conditions[:, column] = value
        drawn = fitted.generator.sample(conditions, np.zeros((300, 1)), value + 1)
        assert np.array_equal(drawn[:, :2], conditions)


def test_every_row_keeps_the_mask_and_has_only_codes_that_were_seen(fitted: Fitted) -> None:
    drawn = fitted.generator.sample(np.tile([1, 3], (3000, 1)), np.ones((3000, 1)), 6)
    assert set(drawn[drawn[:, 2] == 4, 3]) == {1}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    start: ConditionalVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adversarial, "CRITIC_ALONE", 0)
    short = SETTINGS.model_copy(update={"max_epochs": 24})
    few = MemoryFeed(rows(200, 1), 50)
    made = [opposed(start, few, short, seed) for seed in (1, 1, 2)]
    data = [one.generator.to_bytes() for one in made]
    assert made[0].curve == made[1].curve
    assert data[0] == data[1]
    assert made[0].curve != made[2].curve


def test_a_vae_takes_three_quarters_of_the_epochs() -> None:
    reported: list[Point] = []
    settings = SETTINGS.model_copy(update={"max_epochs": 8})
    small = MemoryFeed(rows(200, 1), 50)
    made = fit_generator("gan", small, rows(100, 2), LAYOUT, settings, 1, report=reported.append)
    # The last of the VAE's own is where the critic starts.
    assert [point.epoch for point in reported] == [*range(1, 7), 6, 7, 8]
    assert [point.epoch for point in made.curve] == [6, 7, 8]
    assert made.generator.log_likelihood(rows(5, 1).codes, np.zeros((5, 1))) is None


def test_what_the_critic_taught_is_dropped_where_the_start_was_better(
    start: ConditionalVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adversarial, "GENERATOR_RATE", 50.0)
    monkeypatch.setattr(adversarial, "CRITIC_ALONE", 0)
    settings = SETTINGS.model_copy(update={"max_epochs": 12})
    made = opposed(start, feed(), settings)
    assert made.best == made.curve[0]
    assert made.generator.to_bytes() == start.to_bytes()


def test_epochs_that_learnt_rows_by_heart_are_passed_over(
    start: ConditionalVAE, fitted: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(abs(point.membership) < 0.2 for point in fitted.curve)
    monkeypatch.setattr(adversarial, "GENERATOR_RATE", 0.2)
    monkeypatch.setattr(adversarial, "CRITIC_ALONE", 0)
    one = SETTINGS.model_copy(update={"max_epochs": 4, "gate": Gate(max_membership=0.03)})
    # 0.67 x 0.03 is what is let through; the second epoch is just below it.
    for learnt, kept in (([0.0, 0.021], 0), ([0.021, 0.020], 1), ([0.04, 0.03], 1)):
        told, away = iter(learnt), iter((0.5, 0.1))
        monkeypatch.setattr(gan, "learnt_by_heart", lambda *_, told=told: next(told))
        monkeypatch.setattr(gan, "sample_divergence", lambda *_, away=away: next(away))
        made = opposed(start, feed(), one)
        assert [point.membership for point in made.curve] == learnt
        assert made.best is made.curve[kept]
        assert (made.generator.to_bytes() == start.to_bytes()) == (kept == 0)


def test_a_saved_generator_samples_the_same_rows(fitted: Fitted) -> None:
    again = load_generator("gan", LAYOUT, fitted.generator.to_bytes())
    conditions, profiles = rows(50, 3).codes[:, :2], np.zeros((50, 1))
    ours, theirs = (g.sample(conditions, profiles, 4) for g in (fitted.generator, again))
    assert np.array_equal(ours, theirs)


def test_damaged_weights_are_refused(fitted: Fitted) -> None:
    with pytest.raises(ModelError):
        load_generator("gan", LAYOUT, fitted.generator.to_bytes()[:-7])


def test_a_pack_shares_segment_and_request_type() -> None:
    # Segment, request type, another condition, a generated code.
    batch = np.array(
        [[1, 0, 5, 0], [0, 1, 5, 1], [1, 0, 4, 2], [0, 1, 4, 3], [0, 0, 9, 4], [0, 1, 4, 5]]
    )
    packs = packed(batch, 2, 2)
    assert packs[:, :, 3].tolist() == [[4, 3], [5, 1], [2, 0]]
    # Four rows a pack leave the last two out; a batch smaller than a pack is one.
    assert packed(batch, 4, 2)[:, :, 3].tolist() == [[3, 1, 2, 0]]
    assert packed(batch, 8, 2).shape == (1, 6, 4)
    assert packed(batch[:0], 8, 2).shape == (0, 1, 4)
    # What a process without any row has of every step.
    assert packed(np.zeros((0, 0), dtype=np.int64), 8, 2).shape == (0, 1, 0)


def test_a_condition_of_few_rows_is_packed_as_often_as_the_others() -> None:
    # Steps of 39 rows, in packs of 4: 3 rows of each step are left out. One row in 20 is rare.
    shown, met = np.zeros(2), np.zeros(2)
    for seed in range(50):
        batch = np.zeros((39, 3), dtype=np.int64)
        batch[:, 1] = np.random.default_rng(seed).random(39) < 0.05
        met += np.bincount(batch[:, 1], minlength=2)
        shown += np.bincount(packed(batch, 4, 1)[:, :, 1].flatten(), minlength=2)
    assert (shown / met).tolist() == pytest.approx([36 / 39] * 2, abs=0.06)


@given(st.integers(0, 60), st.integers(1, 9), st.integers(0, 2**16))
@hypothesis_settings(max_examples=30, deadline=None)
def test_packs_hold_every_row_once_but_for_a_last_few(n: int, size: int, seed: int) -> None:
    batch = np.random.default_rng(seed).integers(0, 3, (n, 4))
    batch[:, 3] = np.arange(n)
    packs = packed(batch, size, 1)
    held = packs[:, :, 3].flatten()
    assert len(set(held.tolist())) == len(held)
    assert n - len(held) < max(1, min(size, n))


def critic(seed: int = 1) -> Critic:
    made = Critic(LAYOUT, 6)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(seed))
    return made


def test_the_penalty_of_a_linear_critic_is_the_squared_norm_of_its_weights() -> None:
    made = Critic(Layout((2, 1), 0), 2)
    with torch.no_grad():
        made.table.copy_(torch.tensor([[1.0, 2.0], [0.0, 3.0], [-1.0, 1.0]]))
    first = made.first(torch.tensor([[0, 0], [1, 0]]), torch.zeros((2, 0)))
    scores = (first @ torch.tensor([2.0, 1.0])).view(1, 2).mean(1)
    # By the one-hots: 4, 3 and -1, halved by the mean over two rows; both rows alike.
    assert first.tolist() == [[0.0, 3.0], [-1.0, 4.0]]
    expected = 2 * (4**2 + 3**2 + 1**2) / 2**2
    assert float(made.penalty(scores, first.requires_grad_())) == pytest.approx(expected)


def test_the_penalty_is_autograds_gradient_by_the_one_hots() -> None:
    made, tokens = critic(), torch.from_numpy(rows(12, 1).codes)
    profiles = torch.ones((12, 1))
    scores, first, _ = made.judge(tokens, profiles, 4)
    hot = torch.zeros((12, sum(LAYOUT.sizes)))
    hot = hot.scatter(1, tokens + made.offsets, 1.0).requires_grad_()
    dense = hot @ made.table + profiles @ made.profile.T + made.shift
    features = made.features(dense, tokens, profiles).unflatten(0, (-1, 4))
    again = made.score(features.mean(1))
    torch.testing.assert_close(again, scores)
    (slope,) = torch.autograd.grad(again.sum(), hot)
    torch.testing.assert_close(made.penalty(scores, first), slope.square().sum())


def test_a_pack_has_no_order_and_its_score_without_a_row_is_that_of_the_others() -> None:
    made, tokens = critic(), torch.from_numpy(rows(5, 1).codes)
    profiles = torch.ones((5, 1))
    score, _, features = made.judge(tokens, profiles, 5)
    turned, _, _ = made.judge(tokens.flip(0), profiles, 5)
    torch.testing.assert_close(score, turned)
    others, _, _ = made.judge(tokens[1:], profiles[1:], 4)
    torch.testing.assert_close(made.without_each(features)[0, 0], others[0])


def test_the_condition_enters_as_an_inner_product_with_the_features() -> None:
    made, tokens = critic(), torch.from_numpy(rows(1, 1).codes)
    profiles = torch.tensor([[2.0]])
    first = made.first(tokens, profiles)
    features = made.features(first, tokens, profiles)[0]
    towards = made.direct + made.type_projection[tokens[0, 0]] + 2 * made.profile_projection[:, 0]
    assert float(features[-1].detach()) == pytest.approx(
        float((towards * features[:-1]).sum().detach()), rel=1e-5
    )


def test_averaged_weights_follow_those_trained_by_a_hundredth_each_step(
    start: ConditionalVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adversarial, "CRITIC_ALONE", 0)
    network = gan.load(LAYOUT, start.to_bytes()).network
    # One step: as many rows as it takes.
    few = rows(8, 1)
    assert step_rows(8) == 8
    duel = Duel(network, SETTINGS, 8, 3)
    duel.epoch(MemoryFeed(Rows(few.codes, few.segment, few.profiles), 8), 1)
    old, own, averaged = (n.decoder.out for n in (start, duel.network, duel.averaged))
    assert not torch.equal(old, own)
    torch.testing.assert_close(averaged, 0.99 * old + 0.01 * own)


def test_the_critic_learns_alone_first_and_the_generator_from_the_first_epoch_on_however_small(
    start: ConditionalVAE,
) -> None:
    few = MemoryFeed(rows(80, 1), 80)
    duel = Duel(gan.load(LAYOUT, start.to_bytes()).network, SETTINGS, 80, 3)
    knows_nothing = duel.critic.table.detach().clone()
    duel.warm_up(few)
    assert torch.equal(start.decoder.out, duel.network.decoder.out)
    assert not torch.equal(knows_nothing, duel.critic.table)
    duel.epoch(few, 1)
    assert not torch.equal(start.decoder.out, duel.network.decoder.out)


def test_each_of_several_processes_draws_noise_of_its_own(
    start: ConditionalVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for process in (0, 1, 1):
        monkeypatch.setattr(adversarial, "rank", lambda process=process: process)
        duel = Duel(gan.load(LAYOUT, start.to_bytes()).network, SETTINGS, 80, 3)
        told.append(duel.epoch(MemoryFeed(rows(80, 1), 80), 1))
    assert told[1] == told[2]
    assert told[0] != told[1]


def test_pair_divergence_is_scipys_over_pairs_with_a_generated_column() -> None:
    layout = Layout((2, 3, 3), 1)
    real, drawn = (np.random.default_rng(s).integers(0, 2, (50, 3)) for s in (1, 2))
    pairs = []
    for one, other in ((0, 1), (0, 2), (1, 2)):
        cells = [np.bincount(r[:, one] * 3 + r[:, other], minlength=9) for r in (real, drawn)]
        pairs.append(jensenshannon(*cells) ** 2)
    assert pair_divergence(real, drawn, layout) == pytest.approx(np.mean(pairs))
    assert pair_divergence(real, real, layout) == 0
    single = Layout((2,), 0)
    assert pair_divergence(np.zeros((4, 1), int), np.ones((4, 1), int), single) == pytest.approx(
        math.log(2)
    )
