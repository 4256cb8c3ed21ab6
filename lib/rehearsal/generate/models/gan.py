"""A conditional GAN over token columns: the VAE's decoder, trained on against a critic.

Likelihood weighs all of a row's columns alike and lets a model spread beyond what is real; the
critic looks for what still gives a sample away, and the decoder gives it up. Imports torch.
"""

import copy
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rehearsal.generate.models import vae
from rehearsal.generate.models.adversarial import Duel, steps_of_epoch
from rehearsal.generate.models.divergence import pair_divergence
from rehearsal.generate.models.generator import (
    Checkpoint,
    Feed,
    Fitted,
    Point,
    Report,
    Rows,
)
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.generate.models.loop import (
    EVALUATED_ROWS,
    held_out,
    learnt_by_heart,
)
from rehearsal.generate.models.membership import best_of, most_learnt
from rehearsal.generate.models.parallel import is_leader, summed
from rehearsal.generate.models.schedule import rebatched
from rehearsal.generate.models.vae import ConditionalVAE
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

# Of the epochs and of the rest, at most so many steps, against the critic.
ADVERSARIAL_SHARE = 0.25
ADVERSARIAL_STEPS = 600


class ConditionalGAN:
    """A latent of the prior, then each column, as the VAE draws them; the encoder is not used."""

    kind: ClassVar[str] = "gan"

    def __init__(self, network: ConditionalVAE) -> None:
        self.network = network
        self.layout = network.layout

    def sample(self, conditions: Codes, profiles: Floats, seed: int) -> Codes:
        """Return codes, shape (n, columns), whose first columns are `conditions`, unchanged."""
        return self.network.sample(conditions, profiles, seed)

    def log_likelihood(self, codes: Codes, profiles: Floats) -> None:
        """Return None: the encoder stayed behind the decoder, so its bound understates log p."""

    def to_bytes(self) -> bytes:
        """Return the weights as safetensors, which hold numbers only and run no code on loading."""
        return self.network.to_bytes()


def load(layout: Layout, data: bytes) -> ConditionalGAN:
    """Return the generator of `to_bytes`, on the CPU, ready to sample.

    Raises:
        ModelError: the weights are damaged, or not those of a generator of this layout.
    """
    return ConditionalGAN(vae.load(layout, data))


def fit(
    feed: Feed,
    validation: Rows,
    layout: Layout,
    settings: Settings,
    seed: int,
    report: Report,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Return a VAE of most of the epochs, trained on against a critic for the rest: see `oppose`.

    The VAE's epochs are reported as its own, in nats of its bound. A killed fit goes on from the
    VAE's last epoch; the adversarial ones, few, are trained again.

    Raises:
        ArithmeticError: a loss is no longer finite.
        ModelError: the training is to be private, which no network's is.
    """
    n_rows = int(summed(torch.tensor(feed.n_rows)))
    n_left = settings.max_epochs - adversarial_epochs(settings, n_rows)
    rest = settings.model_copy(update={"max_epochs": max(1, n_left)})
    first = vae.fit(feed, validation, layout, rest, seed, report, checkpoint)
    start = vae.load(layout, first.generator.to_bytes())
    return oppose(start, feed, validation, settings, seed, report, len(first.curve))


def oppose(
    network: ConditionalVAE,
    feed: Feed,
    validation: Rows,
    settings: Settings,
    seed: int,
    report: Report,
    n_before: int,
) -> Fitted:
    """Return the generator whose sample is nearest to the held-out rows; the start is one of them.

    The curve is of the adversarial epochs: `validation_nats` is `pair_divergence`, `train_nats`
    how far the critic tells packs apart, ln 2 - its loss; its first point is the start's, and
    where that stays the best nothing the critic taught is kept.

    Epochs that learnt rows by heart are passed over as the VAE's are, by the evidence bound: with
    any encoder it is one, and told members as well as 32 latents of the prior a row did, at a
    twentieth of the time.

    Args:
        network: the start, trained in place; it has met the codes of these rows.
        feed: training rows of this process.
        validation: rows held out.
        settings: the section `generator`.
        seed: of everything drawn.
        report: told of every epoch.
        n_before: epochs that the start was trained for.

    Raises:
        ArithmeticError: the critic's loss is no longer finite.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    n_rows = int(summed(torch.tensor(feed.n_rows)))
    duel = Duel(network.to(device), settings, n_rows, derive_seed(seed, "adversarial"))
    members = _some_rows(feed, network.layout, seed)
    curve: list[Point] = []
    weights = _copy(network)
    duel.warm_up(feed)
    for number in range(n_before, n_before + 1 + adversarial_epochs(settings, n_rows)):
        told_apart = duel.epoch(feed, number) if curve else 0.0
        curve.append(_point(number, told_apart, duel.averaged, members, validation, seed))
        if is_leader():
            report(curve[-1])
        best = best_of(curve, most_learnt(settings))
        if best is curve[-1]:
            weights = _copy(duel.averaged)
        elif number - best.epoch >= settings.patience:
            break
    network.load_state_dict(weights)
    return Fitted(ConditionalGAN(network.cpu().eval()), tuple(curve), best, device)


def _some_rows(feed: Feed, layout: Layout, seed: int) -> Codes:
    none = np.zeros((0, 1 + len(layout.sizes)), dtype=np.int64)
    return next(rebatched(feed.epoch(derive_seed(seed, "members")), EVALUATED_ROWS), none)


def _point(
    number: int,
    told_apart: float,
    network: ConditionalVAE,
    members: Codes,
    validation: Rows,
    seed: int,
) -> Point:
    noise = derive_seed(seed, "evaluate")
    nats, _ = held_out(network, validation, noise)
    learnt = learnt_by_heart(network, members, validation.profiles, nats, noise)
    return Point(number, told_apart, sample_divergence(network, validation, seed), 0.0, learnt)


def adversarial_epochs(settings: Settings, n_rows: int) -> int:
    """Return how many epochs are trained against a critic, at most."""
    share = max(1, math.floor(ADVERSARIAL_SHARE * settings.max_epochs))
    return min(share, max(1, -(-ADVERSARIAL_STEPS // steps_of_epoch(n_rows))))


def _copy(network: ConditionalVAE) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def sample_divergence(network: ConditionalVAE, rows: Rows, seed: int) -> float:
    """Return `pair_divergence` of held-out rows and a sample under the same conditions.

    The same seed draws the same noise, so that networks differ by their weights only.
    """
    given = rows.codes[:, : network.layout.n_conditions]
    own = copy.deepcopy(network).cpu()
    sample = own.sample(given, rows.profiles[rows.segment], derive_seed(seed, "held out"))
    return pair_divergence(rows.codes, sample, network.layout)
