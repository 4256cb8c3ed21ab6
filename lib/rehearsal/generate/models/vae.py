"""A conditional VAE over token columns whose decoder predicts each column from the earlier ones.

Condition columns come first and are given, never predicted, so that conditioning is exact.
Imports torch: import this module only where the work runs.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu, softplus

from rehearsal.errors import ModelError
from rehearsal.generate.models.generator import Feed, Fitted, Generator, Point, Report, Rows
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

COLUMN_DROPOUT = 0.15
FREE_NATS = 0.05
WEIGHT_DECAY = 0.01
EVALUATED_ROWS = 4096
EMBEDDING = 16


@dataclass(frozen=True)
class Shape:
    """Layer sizes a network is rebuilt from, beside its layout."""

    sizes: tuple[int, ...]
    n_conditions: int
    n_profile: int
    hidden: int
    latent: int
    embedding: int = EMBEDDING


class ColumnDecoder(nn.Module):
    """Logits of one column from the embeddings of those before it and the latent."""

    def __init__(self, width: int, hidden: int, size: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, size)

    def forward(self, given: Tensor) -> Tensor:
        """Return logits, shape (n, size), of inputs, shape (n, width)."""
        hidden = silu(self.first(given))
        logits: Tensor = self.last(hidden + silu(self.second(hidden)))
        return logits


class ConditionalVAE(nn.Module):
    """p(generated | conditions) = integral of p(z) x product of p(column | earlier ones, z) dz.

    `seen` says which codes the training rows had: only those are ever sampled.
    """

    kind: ClassVar[str] = "vae"
    offsets: Tensor
    seen: Tensor

    def __init__(self, layout: Layout, shape: Shape) -> None:
        super().__init__()
        self.layout, self.shape = layout, shape
        width, size, hidden = len(shape.sizes), shape.embedding, shape.hidden
        starts = [sum(shape.sizes[:j]) for j in range(width)]
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)
        self.register_buffer("seen", torch.ones(sum(shape.sizes), dtype=torch.bool))
        self.embed = nn.Embedding(sum(shape.sizes), size)
        # Stands in for a column the decoder is not shown.
        self.hidden_column = nn.Parameter(torch.zeros(width, size))
        extra = shape.n_profile
        self.encoder = nn.Sequential(
            nn.Linear(width * size + extra, hidden), nn.SiLU(), nn.Linear(hidden, 2 * shape.latent)
        )
        self.decoders = nn.ModuleList(
            ColumnDecoder(j * size + shape.latent + extra, hidden, shape.sizes[j])
            for j in range(shape.n_conditions, width)
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`, which torch's own initialisation cannot be given."""
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    scale = parameter.shape[1] ** -0.5
                    parameter.normal_(0.0, scale, generator=generator)
                else:
                    parameter.zero_()

    def mark_seen(self, tokens: Tensor) -> None:
        """Add the codes of `tokens`, shape (n, columns), to those that may be sampled."""
        self.seen[(tokens + self.offsets).flatten()] = True

    def losses(
        self, tokens: Tensor, profiles: Tensor, generator: torch.Generator, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """Return reconstruction loss, shape (n,), and KL to the prior, shape (n, latent), in nats.

        Args:
            tokens: codes, shape (n, columns).
            profiles: shape (n, n_profile).
            generator: draws the latent and the columns hidden from the decoder.
            dropout: probability that a generated column is hidden from those after it, without
                which the decoder would leave the latent unused.
        """
        shape, n = self.shape, len(tokens)
        embedded = self.embed(tokens + self.offsets)  # (n, columns, embedding)
        shown = torch.cat([embedded.flatten(1), profiles], dim=1)
        mean, raw = self.encoder(shown).chunk(2, dim=1)
        deviation = softplus(raw) + 1e-3
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        latent = mean + deviation * noise
        kl = 0.5 * (mean**2 + deviation**2 - 1) - deviation.log()
        if dropout > 0:
            drawn = torch.rand((n, len(shape.sizes)), generator=generator, device=mean.device)
            drawn[:, : shape.n_conditions] = 1.0
            hide = (drawn < dropout)[:, :, None]
            embedded = torch.where(hide, self.hidden_column, embedded)
        context = torch.cat([latent, profiles], dim=1)
        parts = [
            cross_entropy(self._logits(j, embedded, context), tokens[:, j], reduction="none")
            for j in self.layout.generated
        ]
        return torch.stack(parts).sum(0), kl

    def _logits(self, column: int, embedded: Tensor, context: Tensor) -> Tensor:
        given = torch.cat([embedded[:, :column].flatten(1), context], dim=1)
        logits: Tensor = self.decoders[column - self.shape.n_conditions](given)
        start = int(self.offsets[column])
        return logits.masked_fill(~self.seen[start : start + logits.shape[1]], -1e9)

    @torch.no_grad()
    def sample(self, conditions: Codes, profiles: Floats, seed: int) -> Codes:
        """Return codes, shape (n, columns), whose first columns are `conditions`, unchanged."""
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(seed)
        shape, n = self.shape, len(conditions)
        tokens = torch.zeros((n, len(shape.sizes)), dtype=torch.long)
        given = slice(0, shape.n_conditions)
        tokens[:, given] = torch.from_numpy(np.ascontiguousarray(conditions, dtype=np.int64))
        embedded = torch.zeros((n, len(shape.sizes), shape.embedding))
        embedded[:, given] = self.embed(tokens[:, given] + self.offsets[given])
        latent = torch.randn((n, shape.latent), generator=generator)
        context = torch.cat([latent, torch.from_numpy(profiles).float()], dim=1)
        for j in self.layout.generated:
            odds = self._logits(j, embedded, context).softmax(dim=1)
            tokens[:, j] = torch.multinomial(odds, 1, generator=generator)[:, 0]
            embedded[:, j] = self.embed(tokens[:, j] + self.offsets[j])
        return tokens.numpy()

    @torch.no_grad()
    def log_likelihood(self, codes: Codes, profiles: Floats) -> Floats:
        """Return the evidence lower bound in nats per row, shape (n,)."""
        noise = torch.Generator().manual_seed(1)
        rows = torch.from_numpy(codes), torch.from_numpy(profiles).float()
        reconstruction, kl = self.losses(*rows, noise, 0.0)
        return -(reconstruction + kl.sum(1)).double().numpy()

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
        length = int.from_bytes(data[:8], "little")
        values = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["shape"])
        shape = Shape(**{**values, "sizes": tuple(values["sizes"])})
        if shape.sizes != layout.sizes:
            raise ModelError(
                f"the network was trained on token columns of sizes {shape.sizes}, "
                f"the codec makes {layout.sizes}; they are not of the same fit"
            )
        network = ConditionalVAE(layout, shape)
        network.load_state_dict(load_tensors(data))
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelError(f"these are not the weights of a VAE: {error}") from error
    return network.eval()


def fit(
    feed: Feed,
    validation: Rows,
    layout: Layout,
    settings: Settings,
    seed: int,
    start: Generator | None,
    report: Report,
) -> Fitted:
    """Return the network with the lowest validation loss before `patience` epochs without gain.

    The loss is the negative evidence bound per row, with free bits in training only.

    Raises:
        ArithmeticError: the loss is no longer finite.
    """
    del start
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    shape = Shape(
        layout.sizes, layout.n_conditions, layout.n_profile, settings.hidden, settings.latent
    )
    network = ConditionalVAE(layout, shape)
    network.initialise(torch.Generator().manual_seed(derive_seed(seed, "weights")))
    network.seen.fill_(value=False)
    for rows in feed.epoch(derive_seed(seed, "seen")):
        network.mark_seen(torch.from_numpy(rows[:, 1:]))
    network.mark_seen(torch.from_numpy(validation.codes))
    network.to(device)
    profiles = torch.from_numpy(feed.profiles).float().to(device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY
    )
    noise = torch.Generator(device).manual_seed(derive_seed(seed, "noise"))
    curve: list[Point] = []
    best, weights = None, b""
    for number in range(1, settings.max_epochs + 1):
        batches = feed.epoch(derive_seed(seed, "epoch", number))
        train_nats = _one_epoch(network, optimiser, batches, profiles, noise, device)
        point = _evaluate(network, validation, derive_seed(seed, "evaluate"), number, train_nats)
        curve.append(point)
        report(point)
        if best is None or point.validation_nats < best.validation_nats:
            best, weights = point, network.to_bytes()
        elif number - best.epoch >= settings.patience:
            break
    if best is None:
        raise ArithmeticError("no epoch was trained")
    return Fitted(load(layout, weights), tuple(curve), best, device)


def _one_epoch(
    network: ConditionalVAE,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[Codes],
    profiles: Tensor,
    noise: torch.Generator,
    device: str,
) -> float:
    total, n = 0.0, 0
    for batch in batches:
        rows = torch.from_numpy(batch).to(device)
        reconstruction, kl = network.losses(
            rows[:, 1:], profiles[rows[:, 0]], noise, COLUMN_DROPOUT
        )
        # Free bits: a dimension below the floor is not pushed further towards the prior.
        loss = reconstruction.mean() + kl.mean(0).clamp(min=FREE_NATS).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        total += float((reconstruction + kl.sum(1)).sum().detach())
        n += len(rows)
    if not math.isfinite(total):
        raise ArithmeticError(f"the training loss is {total}; lower generator.learning_rate")
    return total / n


@torch.no_grad()
def _evaluate(
    network: ConditionalVAE, rows: Rows, seed: int, number: int, train_nats: float
) -> Point:
    # The same noise after every epoch, so that epochs differ by their weights only.
    device = network.embed.weight.device
    noise = torch.Generator(device).manual_seed(seed)
    codes = torch.from_numpy(rows.codes).to(device)
    profiles = torch.from_numpy(rows.profiles[rows.segment]).float().to(device)
    parts = [
        network.losses(chunk, described, noise, 0.0)
        for chunk, described in zip(
            codes.split(EVALUATED_ROWS), profiles.split(EVALUATED_ROWS), strict=True
        )
    ]
    nats = torch.cat([reconstruction + kl.sum(1) for reconstruction, kl in parts]).mean()
    kl_nats = torch.cat([kl.sum(1) for _, kl in parts]).mean()
    return Point(number, train_nats, float(nats), float(kl_nats))
