"""How many rows a training step has, how many steps there are, and at which rate they learn."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rehearsal.generate.models.layout import Codes
from rehearsal.settings import Generator as Settings

MAX_BATCH_ROWS = 4096
MIN_BATCH_ROWS = 16
# Steps after which more training no longer pays; the learning rate falls to nothing by then.
STEPS = 1000
WARM_STEPS = 50


@dataclass(frozen=True)
class Schedule:
    """How many rows a step has and how many epochs there are at most."""

    batch_rows: int
    epochs: int
    n_steps: int

    @classmethod
    def of(cls, settings: Settings, n_rows: int) -> "Schedule":
        """Return the schedule for so many training rows in all."""
        many = min(max(settings.batch_rows, n_rows // 256), MAX_BATCH_ROWS)
        batch_rows = min(many, max(MIN_BATCH_ROWS, n_rows // 10))
        per_epoch = max(1, -(-n_rows // batch_rows))
        epochs = min(settings.max_epochs, max(1, -(-STEPS // per_epoch)))
        return cls(batch_rows, epochs, epochs * per_epoch)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step as a share of the highest: warm-up, then a cosine."""
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.n_steps)))
        return falling * min(1.0, (step + 1) / WARM_STEPS)


def rebatched(batches: Iterable[Codes], n: int) -> Iterator[Codes]:
    """Yield the same rows in the same order, n at a time, the last time fewer."""
    held: list[Codes] = []
    n_held = 0
    for batch in batches:
        held.append(batch)
        n_held += len(batch)
        while n_held >= n:
            rows = held[0] if len(held) == 1 else np.concatenate(held)
            yield rows[:n]
            held, n_held = [rows[n:]], n_held - n
    if n_held:
        yield np.concatenate(held)
