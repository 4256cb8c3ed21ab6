"""The training loop of a network: schedule, averaged weights, early stopping, resuming.

Imports torch.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn

from rehearsal.errors import ModelError
from rehearsal.generate.models.generator import Checkpoint, Feed, Point, Report, Rows
from rehearsal.generate.models.layout import Codes, Floats
from rehearsal.generate.models.membership import best_of, membership_advantage, most_learnt
from rehearsal.generate.models.parallel import (
    is_leader,
    n_processes,
    rank,
    share_flags,
    share_gradients,
    steps,
    summed,
)
from rehearsal.generate.models.schedule import Schedule, rebatched
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

WEIGHT_DECAY = 0.01
EVALUATED_ROWS = 4096
AVERAGED = 0.995


class Network(nn.Module, ABC):
    """What the loop trains."""

    @abstractmethod
    def losses(
        self, tokens: Tensor, profiles: Tensor, generator: torch.Generator, *, training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return per row what is minimised, -log p or its bound in nats, and KL; shape (n,)."""


@dataclass(frozen=True)
class Trained:
    """The best weights met, by name, and how training went."""

    weights: dict[str, Tensor]
    curve: tuple[Point, ...]
    best: Point


class Training:
    """One training under way: weights, their running average, the best of those, the optimiser.

    Args:
        network: trained in place.
        rate: the highest learning rate.
        schedule: of the steps.
        seed: of everything drawn.
        most_learnt: membership advantage up to which an epoch's weights may be kept.
    """

    def __init__(
        self, network: Network, rate: float, schedule: Schedule, seed: int, most_learnt: float
    ) -> None:
        self.network, self.schedule, self.seed, self._rate = network, schedule, seed, rate
        self._most_learnt = most_learnt
        # Some training rows of this process, to be held against those held out.
        self.members = torch.zeros((0, 0), dtype=torch.int64)
        # Averaged weights are as good as those of a lower learning rate, at once.
        self.averaged = copy.deepcopy(network)
        self.best: dict[str, Tensor] = {}
        self.curve: list[Point] = []
        self.step = 0
        self.device = next(network.parameters()).device
        self._noise = torch.Generator(self.device)
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY, fused=True
        )

    @property
    def best_point(self) -> Point:
        """The epoch whose weights are kept."""
        return best_of(self.curve, self._most_learnt)

    def epoch(self, feed: Feed, profiles: Tensor) -> float:
        """Train on every row once; return the mean loss in nats per row."""
        total, n = 0.0, 0
        order = derive_seed(self.seed, "epoch", len(self.curve) + 1)
        # Of the epoch and the process alone, so that a resumed training draws the same.
        self._noise.manual_seed(derive_seed(self.seed, "noise", len(self.curve) + 1, rank()))
        own_rows = max(1, self.schedule.batch_rows // n_processes())
        for batch, n_rows in steps(rebatched(feed.epoch(order), own_rows)):
            self._remember(batch)
            total += self._step(torch.tensor(batch).to(self.device), profiles, n_rows)
            n += n_rows
        # Which codes have been seen: each process has met those of its own rows.
        share_flags(self.network.buffers())
        for own, averaged in zip(self.network.buffers(), self.averaged.buffers(), strict=True):
            averaged.copy_(own)
        total = float(summed(torch.tensor(total, dtype=torch.float64)))
        if not math.isfinite(total):
            raise ArithmeticError(f"the training loss is {total}; lower generator.learning_rate")
        return total / n

    def _remember(self, batch: Codes) -> None:
        # The first ones of the first epoch: its order is random.
        if not self.curve and len(self.members) < EVALUATED_ROWS:
            held = self.members if len(self.members) else torch.zeros((0, batch.shape[1])).long()
            self.members = torch.cat([held, torch.tensor(batch)])[:EVALUATED_ROWS]

    def _step(self, rows: Tensor, profiles: Tensor, n_rows: int) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * self.schedule.rate(self.step)
        nats = 0.0
        self._optimiser.zero_grad()
        if len(rows):
            with automatic_precision(self.device):
                objective, losses, _ = self.network.losses(
                    rows[:, 1:], profiles[rows[:, 0]], self._noise, training=True
                )
            (objective.sum() / n_rows).backward()  # type: ignore[no-untyped-call]
            nats = float(losses.detach().sum())
        share_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimiser.step()
        self.step += 1
        # A short memory at first, when the weights still change a lot.
        kept = min(AVERAGED, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for own, averaged in zip(
                self.network.parameters(), self.averaged.parameters(), strict=True
            ):
                averaged.lerp_(own, 1 - kept)
        return nats

    def evaluate(self, rows: Rows, train_nats: float) -> Point:
        """Add an epoch's losses to the curve and keep the averaged weights if they are the best."""
        seed = derive_seed(self.seed, "evaluate")
        nats, kl = held_out(self.averaged, rows, seed)
        learnt = learnt_by_heart(self.averaged, self.members.numpy(), rows.profiles, nats, seed)
        losses = (train_nats, float(nats.mean()), float(kl.mean()), learnt)
        point = Point(len(self.curve) + 1, *losses)
        self.curve.append(point)
        if self.best_point is point:
            self.best = {k: v.detach().clone() for k, v in self.averaged.state_dict().items()}
        return point

    def finished(self, patience: int) -> bool:
        """Return whether the schedule is at its end or `patience` epochs brought no gain."""
        n = len(self.curve)
        return n > 0 and (n >= self.schedule.epochs or n - self.best_point.epoch >= patience)

    def state(self) -> dict[str, Tensor]:
        """Return everything that `resume` needs to go on as if nothing had happened."""
        parts = {
            "weights": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
        }
        tensors = {f"{part}.{k}": v for part, values in parts.items() for k, v in values.items()}
        for number, moments in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{key}": value for key, value in moments.items()}
        tensors["step"] = torch.tensor(self.step)
        tensors["members"] = self.members
        tensors["curve"] = torch.tensor([astuple(p) for p in self.curve], dtype=torch.float64)
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    def resume(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a `state`.

        Raises:
            ModelError: the state is not one of this network.
        """
        try:
            self.network.load_state_dict(_part(tensors, "weights"))
            self.averaged.load_state_dict(_part(tensors, "averaged"))
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _part(tensors, "optimiser").items():
                number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = tensor
            known = self._optimiser.state_dict()
            self._optimiser.load_state_dict({**known, "state": moments})
            self.step, self.members = int(tensors["step"]), tensors["members"]
            self.curve = [Point(int(row[0]), *row[1:]) for row in tensors["curve"].tolist()]
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"the checkpoint is not of this network: {error}") from error
        self.best = {k: v.to(self.device) for k, v in _part(tensors, "best").items()}


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    found = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
    if not found:
        raise KeyError(part)
    return found


def automatic_precision(device: torch.device) -> torch.autocast:
    """Return the context in which matrix products are in bfloat16 where that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@torch.no_grad()
def held_out(network: Network, rows: Rows, seed: int) -> tuple[Tensor, Tensor]:
    """Return negative evidence bound and KL in nats, both shape (n,), on the CPU in float64.

    The same seed draws the same noise, so that networks differ by their weights only.
    """
    device = next(network.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    codes = torch.split(torch.tensor(rows.codes), EVALUATED_ROWS)
    described = torch.tensor(rows.profiles[rows.segment], dtype=torch.float)
    profiles = torch.split(described, EVALUATED_ROWS)
    parts = [
        network.losses(part.to(device), its.to(device), noise, training=False)[1:]
        for part, its in zip(codes, profiles, strict=True)
    ]
    nats, kl = (torch.cat(kind).double().cpu() for kind in zip(*parts, strict=True))
    return nats, kl


def learnt_by_heart(
    network: Network, members: Codes, profiles: Floats, others: Tensor, seed: int
) -> float:
    """Return the membership advantage of an attacker who goes by the evidence bound.

    Args:
        network: the one attacked.
        members: training rows of this process, the segment first, shape (n, 1 + columns).
        profiles: what describes each segment.
        others: the bound of rows held out, of `held_out` and the same seed.
        seed: draws the noise.
    """
    known, _ = held_out(network, Rows(members[:, 1:], members[:, 0], profiles), seed)
    own = torch.tensor(membership_advantage(known.numpy(), others.numpy()))
    return float(summed(own) / n_processes())


def train(
    network: Network,
    feed: Feed,
    validation: Rows,
    settings: Settings,
    seed: int,
    report: Report,
    checkpoint: Checkpoint | None,
) -> Trained:
    """Return the averaged weights with the lowest validation loss.

    Args:
        network: trained in place.
        feed: training rows of this process.
        validation: rows held out.
        settings: the section `generator`.
        seed: of everything drawn.
        report: told of every epoch.
        checkpoint: where training under way is kept and found again.

    Raises:
        ArithmeticError: the loss is no longer finite.
    """
    n_rows = int(summed(torch.tensor(feed.n_rows)))
    training = Training(
        network, settings.learning_rate, Schedule.of(settings, n_rows), seed, most_learnt(settings)
    )
    kept = checkpoint.load() if checkpoint is not None else None
    if kept is not None:
        training.resume(kept)
    profiles = torch.tensor(feed.profiles, dtype=torch.float).to(training.device)
    while not training.finished(settings.patience):
        train_nats = training.epoch(feed, profiles)
        point = training.evaluate(validation, train_nats)
        if is_leader():
            report(point)
            if checkpoint is not None:
                checkpoint.save(training.state(), tuple(training.curve))
    return Trained(training.best, tuple(training.curve), training.best_point)
