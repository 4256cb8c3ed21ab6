"""Train one segment's network with early stopping. Imports torch: use where the work runs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rehearsal.generate.feed import Files, count_rows, epoch
from rehearsal.generate.vae import ConditionalVAE, NetworkShape, to_bytes
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator

COLUMN_DROPOUT = 0.15
FREE_NATS = 0.05
WEIGHT_DECAY = 0.01
STEPS_PER_EPOCH = 64
MAX_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Point:
    """Losses after one epoch, in nats per row."""

    epoch: int
    train_nats: float
    validation_nats: float
    kl_nats: float


@dataclass(frozen=True)
class Trained:
    """The best weights met, and how training went."""

    weights: bytes
    curve: tuple[Point, ...]
    best: Point
    device: str


def train(
    training: Files, validation: Files, shape: NetworkShape, settings: Generator, seed: int
) -> Trained:
    """Return the network with the lowest validation loss before `patience` epochs without gain.

    The loss is the negative evidence bound per row, with free bits in training only.

    Raises:
        FeedError: the reader lost rows.
        ArithmeticError: the loss is no longer finite.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    n_rows = count_rows(training)
    held_out = _read_all(validation, settings, derive_seed(seed, "validation"), device)
    network = _network(training, shape, settings, n_rows, seed)
    network.mark_seen(held_out.cpu())
    network.to(device)
    decayed = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY
    )
    noise = torch.Generator(device).manual_seed(derive_seed(seed, "noise"))
    curve: list[Point] = []
    best, weights = None, b""
    for number in range(1, settings.max_epochs + 1):
        shuffle = derive_seed(seed, "epoch", number)
        batches = epoch(training, batch_rows(settings, n_rows), shuffle, n_rows)
        train_nats = _one_epoch(network, decayed, batches, noise, device)
        point = _evaluate(network, held_out, derive_seed(seed, "evaluate"), number, train_nats)
        curve.append(point)
        if best is None or point.validation_nats < best.validation_nats:
            best, weights = point, to_bytes(network)
        elif number - best.epoch >= settings.patience:
            break
    if best is None:
        raise ArithmeticError("no epoch was trained")
    return Trained(weights, tuple(curve), best, device)


def batch_rows(settings: Generator, n_rows: int) -> int:
    """Return the rows per step: `batch_rows`, and more where an epoch would have over 64 steps.

    Large batches cost half as much per row, and a large segment needs no more steps than a small
    one to learn the same.
    """
    return max(settings.batch_rows, min(n_rows // STEPS_PER_EPOCH, MAX_BATCH_ROWS))


def _network(
    training: Files, shape: NetworkShape, settings: Generator, n_rows: int, seed: int
) -> ConditionalVAE:
    network = ConditionalVAE(shape)
    network.initialise(torch.Generator().manual_seed(derive_seed(seed, "weights")))
    network.seen.fill_(value=False)
    for rows in epoch(training, settings.batch_rows, derive_seed(seed, "seen"), n_rows):
        network.mark_seen(rows)
    return network


def _read_all(files: Files, settings: Generator, seed: int, device: str) -> Tensor:
    # Bounded: validation_share of max_rows.
    batches = epoch(files, settings.batch_rows, seed, count_rows(files))
    return torch.cat(list(batches)).to(device)


def _one_epoch(
    network: ConditionalVAE,
    optimiser: torch.optim.Optimizer,
    batches: Iterable[Tensor],
    noise: torch.Generator,
    device: str,
) -> float:
    total, n = 0.0, 0
    for batch in batches:
        rows = batch.to(device)
        reconstruction, kl = network.losses(rows, noise, COLUMN_DROPOUT)
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
    network: ConditionalVAE, rows: Tensor, seed: int, number: int, train_nats: float
) -> Point:
    # The same noise after every epoch, so that epochs differ by their weights only.
    noise = torch.Generator(rows.device).manual_seed(seed)
    parts = [network.losses(chunk, noise, 0.0) for chunk in torch.split(rows, MAX_BATCH_ROWS)]
    nats = torch.cat([reconstruction + kl.sum(1) for reconstruction, kl in parts]).mean()
    kl_nats = torch.cat([kl.sum(1) for _, kl in parts]).mean()
    return Point(number, train_nats, float(nats), float(kl_nats))
