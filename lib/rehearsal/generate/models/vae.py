"""A conditional VAE over token columns whose decoder predicts each column from the earlier ones.

Condition columns come first and are given, never predicted, so that conditioning is exact.
Imports torch: import this module only where the work runs.
"""

import json
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, linear, silu, softplus

from rehearsal.errors import ModelError
from rehearsal.generate.models.decoder import Decoder
from rehearsal.generate.models.generator import (
    Checkpoint,
    Feed,
    Fitted,
    Report,
    Rows,
)
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.generate.models.loop import Network, held_out, train
from rehearsal.generate.models.parallel import summed
from rehearsal.generate.models.stored import check_layout, stored_shape
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

COLUMN_DROPOUT = 0.15
# How often a condition is not shown, so that the network knows what to make of an unknown one.
CONDITION_DROPOUT = 0.02
ROWS_PER_UNIT, LEAST_HIDDEN = 300, 32
FREE_NATS = 0.05
# A segment unlike all that were trained on is taken as the last of its kind, not beyond.
PROFILE_LIMIT = 4.0
# softplus of it is one.
UNIT = 0.5413
SAMPLED_ROWS = 4096


@dataclass(frozen=True)
class Shape:
    """Layer sizes a network is rebuilt from, beside its layout."""

    sizes: tuple[int, ...]
    n_conditions: int
    n_profile: int
    hidden: int
    latent: int


class Gaussian(nn.Module):
    """Mean and deviation of the latent given codes and a profile, as one hidden layer has it."""

    def __init__(self, n_rows: int, n_profile: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(n_rows, hidden))
        self.profile = nn.Parameter(torch.zeros(hidden, n_profile))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Parameter(torch.zeros(hidden, hidden))
        self.second_shift = nn.Parameter(torch.zeros(hidden))
        self.last = nn.Parameter(torch.zeros(2 * latent, hidden))
        self.last_shift = nn.Parameter(torch.zeros(2 * latent))

    def initialise(self, generator: torch.Generator, n_columns: int) -> None:
        """Draw all weights from `generator`, for so many columns a row."""
        with torch.no_grad():
            self.table.normal_(0.0, max(1, n_columns) ** -0.5, generator=generator)
            for layer, gain in ((self.profile, 1.0), (self.second, 1.0), (self.last, 0.5)):
                width = max(1, layer.shape[1])
                layer.normal_(0.0, gain * width**-0.5, generator=generator)
            for shift in (self.shift, self.second_shift, self.last_shift):
                shift.zero_()

    def forward(self, rows: Tensor, profiles: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation, shape (n, latent), of table rows, shape (n, columns)."""
        first = linear(profiles, self.profile, self.shift)
        if rows.shape[1]:
            first = first + embedding_bag(rows, self.table, mode="sum")
        first = silu(first)
        second = first + silu(linear(first, self.second, self.second_shift))
        mean, raw = linear(second, self.last, self.last_shift).float().chunk(2, dim=1)
        # Near a standard normal at first.
        return mean, softplus(raw + UNIT) + 1e-3


class ConditionalVAE(Network):
    """p(generated | conditions, profile): a latent, then each column given earlier ones and it."""

    kind: ClassVar[str] = "vae"
    profile_mean: Tensor
    profile_scale: Tensor

    def __init__(self, layout: Layout, shape: Shape) -> None:
        super().__init__()
        self.layout, self.shape = layout, shape
        n_rows = sum(layout.sizes) + len(layout.sizes)
        self.encoder = Gaussian(n_rows, shape.n_profile, shape.hidden, shape.latent)
        self.prior = Gaussian(n_rows, shape.n_profile, shape.hidden // 2, shape.latent)
        self.decoder = Decoder(layout, shape.latent + shape.n_profile, shape.hidden)
        self.register_buffer("profile_mean", torch.zeros(shape.n_profile))
        self.register_buffer("profile_scale", torch.ones(shape.n_profile))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`, which torch's own initialisation cannot be given."""
        self.encoder.initialise(generator, len(self.layout.sizes))
        self.prior.initialise(generator, self.layout.n_conditions)
        self.decoder.initialise(generator)

    def scale_profiles(self, profiles: Tensor) -> None:
        """Take mean and deviation of the segments' profiles, shape (segments, n_profile)."""
        self.profile_mean.copy_(profiles.mean(0))
        deviation = (profiles - self.profile_mean).square().mean(0).sqrt()
        self.profile_scale.copy_(torch.where(deviation > 0, deviation, 1.0))

    def scaled(self, profiles: Tensor) -> Tensor:
        """Return profiles as the network has them, shape (n, n_profile)."""
        units = (profiles - self.profile_mean) / self.profile_scale
        return units.clamp(-PROFILE_LIMIT, PROFILE_LIMIT)

    def losses(
        self, tokens: Tensor, profiles: Tensor, generator: torch.Generator, *, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return per row what is minimised, the negative evidence bound in nats, and the KL.

        Args:
            tokens: codes, shape (n, columns).
            profiles: shape (n, n_profile).
            generator: draws the latent and what is not shown.
            training: hide columns and conditions, and count codes as seen.
        """
        profiles = self.scaled(profiles)
        hide, known = None, None
        if training:
            self.decoder.mark_seen(tokens)
            hide = self._hidden(tokens, generator)
            known = hide.clone()
            known[:, self.layout.n_conditions :] = False
        mean, deviation, kl = self.encode(tokens, profiles, known)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        context = torch.cat([mean + deviation * noise, profiles], dim=1)
        reconstruction = self.decoder.nats(tokens, context, hide).sum(1)
        # Free bits (Kingma et al. 2016): a dimension below the floor is not pushed further down.
        charged = kl * (kl.detach().mean(0) > FREE_NATS)
        return reconstruction + charged.sum(1), reconstruction + kl.sum(1), kl.sum(1)

    def encode(
        self, tokens: Tensor, profiles: Tensor, hide: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and deviation of the latent, and KL to the prior, all shape (n, latent).

        Args:
            tokens: codes, shape (n, columns).
            profiles: as `scaled` returns them, shape (n, n_profile).
            hide: conditions not shown, shape (n, columns).
        """
        rows = self.decoder.shown(tokens, hide)
        mean, deviation = self.encoder(rows, profiles)
        prior_mean, prior_deviation = self.prior(rows[:, : self.layout.n_conditions], profiles)
        # KL of two normal distributions, per dimension.
        ratio = deviation / prior_deviation
        kl = 0.5 * (ratio**2 + ((mean - prior_mean) / prior_deviation) ** 2 - 1) - ratio.log()
        return mean, deviation, kl

    def _hidden(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device)
        hide = drawn < COLUMN_DROPOUT
        given = self.layout.n_conditions
        hide[:, :given] = drawn[:, :given] < CONDITION_DROPOUT
        return hide

    @torch.no_grad()
    def sample(self, conditions: Codes, profiles: Floats, seed: int) -> Codes:
        """Return codes, shape (n, columns), whose first columns are `conditions`, unchanged."""
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(seed)
        parts = [np.zeros((0, len(self.layout.sizes)), dtype=np.int64)]
        for start in range(0, len(conditions), SAMPLED_ROWS):
            part = slice(start, start + SAMPLED_ROWS)
            given = torch.tensor(conditions[part], dtype=torch.long)
            described = self.scaled(torch.tensor(profiles[part], dtype=torch.float))
            mean, deviation = self.prior(self.decoder.shown(given), described)
            latent = mean + deviation * torch.randn(mean.shape, generator=generator)
            context = torch.cat([latent, described], dim=1)
            parts.append(self.decoder.sample(given, context, generator).numpy())
        return np.concatenate(parts)

    def log_likelihood(self, codes: Codes, profiles: Floats) -> Floats:
        """Return the evidence lower bound in nats per row, shape (n,)."""
        torch.set_num_threads(1)
        nats, _ = held_out(self, Rows(codes, np.arange(len(codes)), profiles), 1)
        return -nats.numpy()

    def to_bytes(self) -> bytes:
        """Return the weights as safetensors, which hold numbers only and run no code on loading."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}
        return save(tensors, {"shape": json.dumps(asdict(self.shape), sort_keys=True)})


def load(layout: Layout, data: bytes) -> ConditionalVAE:
    """Return the network of `to_bytes`, on the CPU, ready to sample.

    Raises:
        ModelError: the weights are damaged, or not those of a network of this layout.
    """
    try:
        values = stored_shape(data)
        shape = Shape(**{**values, "sizes": tuple(values["sizes"])})
        check_layout("network", shape.sizes, shape.n_conditions, shape.n_profile, layout)
        network = ConditionalVAE(layout, shape)
        network.load_state_dict(load_tensors(data))
    except (RuntimeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(f"these are not the weights of a VAE: {error}") from error
    return network.eval()


def fit(
    feed: Feed,
    validation: Rows,
    layout: Layout,
    settings: Settings,
    seed: int,
    report: Report,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Return the network with the lowest validation loss before `patience` epochs without gain.

    Raises:
        ArithmeticError: the loss is no longer finite.
        ModelError: the training is to be private, which no network's is.
    """
    if settings.private is not None:
        raise ModelError(
            "no network is trained with differential privacy: fit the kind 'mixture', or leave "
            "generator.private out"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    network = _first(feed, layout, settings, seed)
    network.decoder.mark_seen(torch.tensor(validation.codes))
    network.to(device)
    trained = train(network, feed, validation, settings, seed, report, checkpoint)
    network.load_state_dict(trained.weights)
    return Fitted(network.cpu().eval(), trained.curve, trained.best, device)


def _first(feed: Feed, layout: Layout, settings: Settings, seed: int) -> ConditionalVAE:
    # A wide network learns a small table by heart before it has learnt what the rows share.
    n_rows = int(summed(torch.tensor(feed.n_rows)))
    hidden = min(settings.hidden, max(LEAST_HIDDEN, n_rows // ROWS_PER_UNIT))
    shape = Shape(layout.sizes, layout.n_conditions, layout.n_profile, hidden, settings.latent)
    network = ConditionalVAE(layout, shape)
    network.initialise(torch.Generator().manual_seed(derive_seed(seed, "weights")))
    network.decoder.seen.fill_(value=False)
    network.scale_profiles(torch.tensor(feed.profiles, dtype=torch.float))
    return network
