"""Training by several processes as if by one: what they share at every step.

Without a process group everything here does nothing, so one training loop serves both.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed

from rehearsal.generate.models.layout import Codes


class PeerLostError(RuntimeError):
    """Another process of the group ended before its time; why, that one knows."""


def n_processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return this process's number among them, from 0; each draws its own noise by it."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_leader() -> bool:
    """Return whether this is the process that reports and saves."""
    return rank() == 0


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
    """Return the value summed over all processes, on the value's device.

    Raises:
        PeerLostError: another process is gone.
    """
    if not distributed.is_initialized():
        return value
    # NCCL knows the GPU's memory only.
    shared = value.cuda() if distributed.get_backend() == "nccl" else value
    try:
        distributed.all_reduce(shared)
    except RuntimeError as error:
        raise PeerLostError(f"another training process ended: {error}") from error
    return shared.to(value.device)


def share_gradients(parameters: Iterable[Tensor]) -> None:
    """Sum the gradients of all processes, in one message."""
    if not distributed.is_initialized():
        return
    own = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in own]
    flat = summed(torch.cat([gradient.flatten() for gradient in gradients]))
    for parameter, part in zip(own, torch.split(flat, [p.numel() for p in own]), strict=True):
        parameter.grad = part.view_as(parameter).clone()


@torch.no_grad()
def share_flags(tensors: Iterable[Tensor]) -> None:
    """Set every element of the boolean tensors that is set in any process; leave the others."""
    if not distributed.is_initialized():
        return
    own = [tensor for tensor in tensors if tensor.dtype == torch.bool]
    if own:
        counts = summed(torch.cat([tensor.flatten() for tensor in own]).int())
        for tensor, part in zip(own, torch.split(counts, [t.numel() for t in own]), strict=True):
            tensor.copy_(part.view_as(tensor) > 0)
