"""What a segment adds to the network of all segments: small, and only where held-out rows gain.

Shifts of the decoder's features and of its logits, weights being left as they are (BitFit, Ben
Zaken et al. 2021): held-out rows gain more by them than by low-rank updates or by scales, which
are larger. All segments of a call are trained at once in the same matrix products. Imports torch.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

from rehearsal.errors import ModelError
from rehearsal.generate.models.decoder import Decoder
from rehearsal.generate.models.generator import Point, Report, Rows
from rehearsal.generate.models.vae import ConditionalVAE, load
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

BATCH_ROWS = 32
STEPS_PER_ROUND = 20
MAX_ROUNDS = 60
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 0.01
EVALUATED_ROWS = 2048
# A gain counts from so many standard errors of the paired difference per held-out row on.
CLEAR_ERRORS = 2.0
MIN_HELD_OUT = 5


@dataclass(frozen=True)
class AdapterFit:
    """A segment's adapter, or None where held-out rows do not clearly gain by one.

    Args:
        data: for `with_adapter`.
        base_nats: mean over the held-out rows without it; NaN where there are none.
        adapted_nats: with the best one met, kept or not; NaN where none was trained.
        n_rows: training rows.
        curve: one point per round of steps, not per pass over the rows.
    """

    data: bytes | None
    base_nats: float
    adapted_nats: float
    n_rows: int
    curve: tuple[Point, ...]


@dataclass(frozen=True, eq=False)
class _Encoded:
    """Rows in order of their segment, and what the base's encoder says of them."""

    tokens: Tensor
    profiles: Tensor
    mean: Tensor
    deviation: Tensor
    kl: Tensor
    segment: Tensor
    counts: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, base: ConditionalVAE, rows: Rows) -> "_Encoded":
        order = np.argsort(rows.segment, kind="stable")
        device = base.decoder.offsets.device
        segment = torch.tensor(rows.segment[order], device=device)
        tokens = torch.tensor(rows.codes[order], device=device)
        described = torch.tensor(rows.profiles, dtype=torch.float, device=device)
        profiles = base.scaled(described)[segment]
        mean, deviation, kl = base.encode(tokens, profiles)
        counts = torch.bincount(segment, minlength=len(rows.profiles))
        return cls(tokens, profiles, mean, deviation, kl.sum(1), segment, counts)

    def context(self, at: Tensor, drawn: Tensor) -> Tensor:
        """Return a latent for each row of `at`, by its standard normal draw, and its profile."""
        return torch.cat([self.mean[at] + self.deviation[at] * drawn, self.profiles[at]], dim=1)

    def means(self, values: Tensor) -> Tensor:
        """Return means over each segment's rows of a value per row; NaN where it has none."""
        sums = torch.zeros(len(self.counts), dtype=torch.float64, device=values.device)
        return sums.index_add(0, self.segment, values.double()) / self.counts


def identity(decoder: Decoder, n: int) -> dict[str, Tensor]:
    """Return n adapters that change nothing, stacked."""
    columns, hidden = decoder.shift.shape
    device = decoder.shift.device
    return {
        "shift": torch.zeros((n, columns, hidden), device=device),
        "out_shift": torch.zeros((n, len(decoder.out_shift)), device=device),
    }


def adapted_nats(
    decoder: Decoder,
    own: Mapping[str, Tensor],
    segment: Tensor,
    tokens: Tensor,
    context: Tensor,
) -> Tensor:
    """Return -log p of each row under its own segment's adapter, shape (n,).

    Args:
        decoder: of the base.
        own: the stacked adapters.
        segment: each row's place among them, shape (n,).
        tokens: codes, shape (n, columns).
        context: shape (n, n_context).
    """
    before = decoder.before(tokens, context) + own["shift"][segment].transpose(0, 1)
    features = decoder.features(before)
    layout = decoder.layout
    sizes = list(layout.sizes[layout.n_conditions :])
    shifts = torch.split(own["out_shift"][segment], sizes, dim=1)
    parts = [
        decoder.column_nats(torch.addmm(shift, feature, weights.T) + extra, column, tokens)
        for column, feature, (weights, shift), extra in zip(
            layout.generated, features.unbind(0), decoder.outputs(), shifts, strict=True
        )
    ]
    return torch.stack(parts).sum(0)


class _Fitting:
    """All segments' adapters under way, and the best met of each."""

    def __init__(
        self, base: ConditionalVAE, training: Rows, validation: Rows, settings: Settings, seed: int
    ) -> None:
        self.decoder = base.decoder
        self.training, self.held = _Encoded.of(base, training), _Encoded.of(base, validation)
        device = self.held.mean.device
        self._noise = torch.Generator(device).manual_seed(derive_seed(seed, "adapters"))
        everything = torch.arange(len(self.held.tokens), device=device)
        self._context = self.held.context(everything, _drawn_apart(self.held, seed))
        n = len(training.profiles)
        self.own = identity(self.decoder, n)
        self.best = identity(self.decoder, n)
        self.base_nats = self._held_nats()
        self.best_nats = self.base_nats.clone()
        self.lowest = torch.full((n,), torch.inf, dtype=torch.float64, device=device)
        self.best_round = torch.zeros(n, dtype=torch.long, device=device)
        enough = self.training.counts + self.held.counts >= settings.min_rows
        self.active = enough & (self.held.counts >= MIN_HELD_OUT) & (self.training.counts > 0)
        self.curves: list[list[Point]] = [[] for _ in range(n)]
        self._patience = settings.patience
        self._optimiser = torch.optim.AdamW(
            [tensor.requires_grad_() for tensor in self.own.values()],
            lr=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
        )

    def round(self, number: int) -> Point:
        """Take some steps with every segment still training, and see what they brought."""
        active = self.active.nonzero()[:, 0]
        total = torch.zeros(len(active), device=active.device)
        for _ in range(STEPS_PER_ROUND):
            total += self._step(active)
        nats = self._held_nats()
        means, kl = self.held.means(nats), self.held.means(self.held.kl)
        better = self.active & (means < self.lowest)
        self.lowest = torch.where(better, means, self.lowest)
        self.best_round[better] = number
        self.best_nats = torch.where(better[self.held.segment], nats, self.best_nats)
        for name, tensor in self.own.items():
            self.best[name][better] = tensor.detach()[better]
        train = total / STEPS_PER_ROUND + self.training.means(self.training.kl)[active]
        for at, loss in zip(active.tolist(), train.tolist(), strict=True):
            self.curves[at].append(Point(number, loss, float(means[at]), float(kl[at])))
        self.active &= number - self.best_round < self._patience
        return Point(number, float(train.mean()), *(float(v[active].mean()) for v in (means, kl)))

    def _step(self, active: Tensor) -> Tensor:
        counts, device = self.training.counts, active.device
        starts = (counts.cumsum(0) - counts)[active]
        # As many rows of each segment, however few it has; and as many draws of each whether or not
        # it is active, so that no segment's training depends on another's.
        rows, latent = (len(counts), BATCH_ROWS), self.training.mean.shape[1]
        drawn = torch.rand(rows, generator=self._noise, device=device)[active]
        noise = torch.randn((*rows, latent), generator=self._noise, device=device)[active]
        at = (starts[:, None] + (drawn.double() * counts[active, None]).long()).flatten()
        segment = active.repeat_interleave(BATCH_ROWS)
        context = self.training.context(at, noise.flatten(0, 1))
        tokens = self.training.tokens[at]
        nats = adapted_nats(self.decoder, self.own, segment, tokens, context)
        means = nats.view(len(active), BATCH_ROWS).mean(1)
        self._optimiser.zero_grad()
        # A sum: every segment's gradient is as if it were alone.
        means.sum().backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return means.detach()

    @torch.no_grad()
    def _held_nats(self) -> Tensor:
        held = self.held
        parts = [
            adapted_nats(self.decoder, self.own, *chunk)
            for chunk in zip(
                torch.split(held.segment, EVALUATED_ROWS),
                torch.split(held.tokens, EVALUATED_ROWS),
                torch.split(self._context, EVALUATED_ROWS),
                strict=True,
            )
        ]
        return torch.cat(parts).double() + held.kl


def _drawn_apart(rows: _Encoded, seed: int) -> Tensor:
    """Return standard normal draws for each row, those of a segment as if it were alone."""
    device, latent = rows.mean.device, rows.mean.shape[1]
    parts = [
        torch.randn(
            (n, latent), device=device,
            generator=torch.Generator(device).manual_seed(derive_seed(seed, "held out", place)),
        )
        for place, n in enumerate(rows.counts.tolist())
    ]  # fmt: skip
    return torch.cat(parts)


def fit_adapters(
    base: ConditionalVAE,
    training: Rows,
    validation: Rows,
    settings: Settings,
    seed: int,
    report: Report,
) -> list[AdapterFit]:
    """Return what each segment of `training.profiles` adds to the base, in their order.

    An adapter is kept where the held-out rows' mean gain is above CLEAR_ERRORS times its standard
    error, that of the difference row by row. Segments of fewer than `settings.min_rows` rows,
    or of fewer than MIN_HELD_OUT held out, add nothing. What a segment adds depends on its place
    among them, and not on the others' rows.

    Args:
        base: the network of all segments, left as it is.
        training: rows of the segments.
        validation: held-out rows, of the same profiles.
        settings: the section `generator`.
        seed: of everything drawn.
        report: told of every round: means over the segments still training.
    """
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    frozen = copy.deepcopy(base).to(device).requires_grad_(requires_grad=False)
    fitting = _Fitting(frozen, training, validation, settings, seed)
    for number in range(1, MAX_ROUNDS + 1):
        if not bool(fitting.active.any()):
            break
        report(fitting.round(number))
    return _outcomes(fitting)


def _outcomes(fitting: _Fitting) -> list[AdapterFit]:
    gains = fitting.base_nats - fitting.best_nats
    base = fitting.held.means(fitting.base_nats)
    made = []
    for place, curve in enumerate(fitting.curves):
        own = gains[fitting.held.segment == place]
        clear = bool(curve) and bool(own.mean() > CLEAR_ERRORS * own.std() / len(own) ** 0.5)
        adapter = {name: tensor[place].cpu() for name, tensor in fitting.best.items()}
        data = save({k: v.clone() for k, v in adapter.items()}) if clear else None
        adapted = float(fitting.lowest[place]) if curve else float("nan")
        n_rows = int(fitting.training.counts[place])
        made.append(AdapterFit(data, float(base[place]), adapted, n_rows, tuple(curve)))
    return made


@torch.no_grad()
def with_adapter(base: ConditionalVAE, data: bytes) -> ConditionalVAE:
    """Return a network of its own with the adapter in its weights; the base is left as it is.

    Raises:
        ModelError: the adapter is damaged, or of another network.
    """
    network = load(base.layout, base.to_bytes())
    decoder = network.decoder
    try:
        own = load_tensors(data)
        decoder.shift.add_(own["shift"])
        decoder.out_shift.add_(own["out_shift"])
    except (RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise ModelError(f"the adapter is not one of this network: {error}") from error
    return network
