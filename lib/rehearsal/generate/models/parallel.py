"""Training by several processes as if by one: what they share at every step.

Without a process group everything here does nothing, so one training loop serves both.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed

from rehearsal.generate.models.layout import Codes


def n_processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_leader() -> bool:
    """Return whether this is the process that reports and saves."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def steps(batches: Iterable[Codes]) -> Iterator[tuple[Codes, int]]:
    """Yield each own batch and the rows of all processes' batches of this step.

    A process whose rows are used up goes on with empty batches until the last one is done, since
    every step needs all of them.
    """
    own = iter(batches)
    batch = next(own, None)
    width = 0 if batch is None else batch.shape[1]
    while True:
        rows = 0 if batch is None else len(batch)
        total = int(summed(torch.tensor(rows)))
        if total == 0:
            return
        yield (
            (torch.zeros((0, width), dtype=torch.int64).numpy() if batch is None else batch),
            total,
        )
        batch = next(own, None)


def summed(value: Tensor) -> Tensor:
    """Return the value summed over all processes."""
    if distributed.is_initialized():
        distributed.all_reduce(value)
    return value


def share_gradients(parameters: Iterable[Tensor]) -> None:
    """Sum the gradients of all processes, in one message."""
    if not distributed.is_initialized():
        return
    own = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in own]
    flat = summed(torch.cat([gradient.flatten() for gradient in gradients]))
    for parameter, part in zip(own, flat.split([p.numel() for p in own]), strict=True):
        parameter.grad = part.view_as(parameter).clone()
