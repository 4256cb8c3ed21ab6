"""A conditional VAE over token columns whose decoder predicts each column from the earlier ones.

Condition columns come first and are given, never predicted, so that conditioning is exact.
Imports torch: import this module only where the work runs.
"""

import json
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu, softplus

from rehearsal.errors import ModelError


@dataclass(frozen=True)
class NetworkShape:
    """What a network is rebuilt from: codes per token column, and layer sizes."""

    sizes: tuple[int, ...]
    n_conditions: int
    hidden: int
    latent: int
    embedding: int = 16

    def to_json(self) -> str:
        """Return the shape as text; `from_json` gives an equal one back."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "NetworkShape":
        """Return the shape of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "sizes": tuple(values["sizes"])})


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

    offsets: Tensor
    seen: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        width, size, hidden = len(shape.sizes), shape.embedding, shape.hidden
        starts = [sum(shape.sizes[:j]) for j in range(width)]
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)
        self.register_buffer("seen", torch.ones(sum(shape.sizes), dtype=torch.bool))
        self.embed = nn.Embedding(sum(shape.sizes), size)
        # Stands in for a column the decoder is not shown.
        self.hidden_column = nn.Parameter(torch.zeros(width, size))
        self.encoder = nn.Sequential(
            nn.Linear(width * size, hidden), nn.SiLU(), nn.Linear(hidden, 2 * shape.latent)
        )
        self.decoders = nn.ModuleList(
            ColumnDecoder(j * size + shape.latent, hidden, shape.sizes[j])
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
        self, tokens: Tensor, generator: torch.Generator, dropout: float
    ) -> tuple[Tensor, Tensor]:
        """Return reconstruction loss, shape (n,), and KL to the prior, shape (n, latent), in nats.

        Args:
            tokens: codes, shape (n, columns).
            generator: draws the latent and the columns hidden from the decoder.
            dropout: probability that a generated column is hidden from those after it, without
                which the decoder would leave the latent unused.
        """
        shape, n = self.shape, len(tokens)
        embedded = self.embed(tokens + self.offsets)  # (n, columns, embedding)
        mean, raw = self.encoder(embedded.flatten(1)).chunk(2, dim=1)
        deviation = softplus(raw) + 1e-3
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        latent = mean + deviation * noise
        kl = 0.5 * (mean**2 + deviation**2 - 1) - deviation.log()
        if dropout > 0:
            drawn = torch.rand((n, len(shape.sizes)), generator=generator, device=mean.device)
            drawn[:, : shape.n_conditions] = 1.0
            hide = (drawn < dropout)[:, :, None]
            embedded = torch.where(hide, self.hidden_column, embedded)
        parts = [
            cross_entropy(self._logits(j, embedded, latent), tokens[:, j], reduction="none")
            for j in range(shape.n_conditions, len(shape.sizes))
        ]
        return torch.stack(parts).sum(0), kl

    def _logits(self, column: int, embedded: Tensor, latent: Tensor) -> Tensor:
        given = torch.cat([embedded[:, :column].flatten(1), latent], dim=1)
        logits: Tensor = self.decoders[column - self.shape.n_conditions](given)
        start = int(self.offsets[column])
        return logits.masked_fill(~self.seen[start : start + logits.shape[1]], -1e9)

    @torch.no_grad()
    def sample(self, conditions: Tensor, generator: torch.Generator) -> Tensor:
        """Return codes, shape (n, columns), whose first columns are `conditions`, unchanged.

        Args:
            conditions: codes of the condition columns, shape (n, n_conditions).
            generator: decides everything else.
        """
        shape, n = self.shape, len(conditions)
        tokens = torch.zeros((n, len(shape.sizes)), dtype=torch.long)
        tokens[:, : shape.n_conditions] = conditions
        embedded = torch.zeros((n, len(shape.sizes), shape.embedding))
        given = slice(0, shape.n_conditions)
        embedded[:, given] = self.embed(conditions + self.offsets[given])
        latent = torch.randn((n, shape.latent), generator=generator)
        for j in range(shape.n_conditions, len(shape.sizes)):
            odds = self._logits(j, embedded, latent).softmax(dim=1)
            tokens[:, j] = torch.multinomial(odds, 1, generator=generator)[:, 0]
            embedded[:, j] = self.embed(tokens[:, j] + self.offsets[j])
        return tokens


def to_bytes(network: ConditionalVAE) -> bytes:
    """Return the weights as safetensors, which hold numbers only and run no code on loading."""
    return save({name: tensor.cpu() for name, tensor in network.state_dict().items()})


def from_bytes(shape: NetworkShape, weights: bytes) -> ConditionalVAE:
    """Return the network of `to_bytes`, on the CPU, ready to sample.

    Raises:
        ModelError: the weights are not those of a network of this shape.
    """
    network = ConditionalVAE(shape)
    try:
        network.load_state_dict(load(weights))
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"these weights are not of a network of shape {shape}: {error}") from error
    return network.eval()
