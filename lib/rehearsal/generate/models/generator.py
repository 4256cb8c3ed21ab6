"""The one interface of the generators of token columns, and the registry of their kinds.

A kind is a module of this folder with two functions, `fit` and `load`, of the signatures below.
Networks import torch, so a kind's module is imported only where it is used.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from rehearsal.errors import ModelError
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.settings import Generator as Settings

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("vae", "gan", "mixture")


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows held in memory.

    Args:
        codes: shape (n, token columns).
        segment: shape (n,), each row's place in `profiles`.
        profiles: shape (segments, n_profile), what describes each segment.
    """

    codes: Codes
    segment: Codes
    profiles: Floats


class Feed(Protocol):
    """Training rows, delivered whole once an epoch."""

    n_rows: int
    profiles: Floats

    def epoch(self, seed: int) -> Iterator[Codes]:
        """Yield every row once in an order of the seed: int64, shape (n, 1 + token columns).

        The first column is the row's segment, its place in `profiles`.
        """
        ...


@dataclass(frozen=True)
class Point:
    """Losses after one epoch, in nats per row.

    `membership` is the advantage of an attacker who goes by the loss; NaN where not measured.
    """

    epoch: int
    train_nats: float
    validation_nats: float
    kl_nats: float
    membership: float = float("nan")


class Generator(Protocol):
    """p(generated columns | condition columns, the segment's profile)."""

    kind: ClassVar[str]
    layout: Layout

    def sample(self, conditions: Codes, profiles: Floats, seed: int) -> Codes:
        """Return codes, shape (n, token columns), whose first columns are `conditions`, unchanged.

        Every row keeps the layout's masks. The same arguments give the same rows.

        Args:
            conditions: shape (n, n_conditions).
            profiles: shape (n, n_profile).
            seed: of everything drawn.
        """
        ...

    def log_likelihood(self, codes: Codes, profiles: Floats) -> Floats | None:
        """Return log p in nats per row, shape (n,), or a lower bound of it; None: not defined."""
        ...

    def to_bytes(self) -> bytes:
        """Return safetensors: numbers, and a shape as metadata; no training row, no code."""
        ...


@dataclass(frozen=True)
class Fitted:
    """The best generator met, and how training went."""

    generator: Generator
    curve: tuple[Point, ...]
    best: Point
    device: str


class Checkpoint(Protocol):
    """Where training under way is kept after every epoch, and found again."""

    def load(self) -> "Mapping[str, Tensor] | None":
        """Return the tensors last saved; None where training has not begun."""
        ...

    def save(self, tensors: "Mapping[str, Tensor]", curve: tuple[Point, ...]) -> None:
        """Keep the tensors in place of those kept before."""
        ...


Report = Callable[[Point], None]


def silent(point: Point) -> None:
    """Report nothing."""
    del point


def fit_generator(
    kind: str,
    feed: Feed,
    validation: Rows,
    layout: Layout,
    settings: Settings,
    seed: int,
    *,
    report: Report = silent,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Return the generator of a kind that has the lowest validation loss met.

    Args:
        kind: one of KINDS.
        feed: training rows.
        validation: rows held out, which decide when to stop.
        layout: of both.
        settings: the section `generator`.
        seed: of everything drawn; same seed and rows, same bytes.
        report: told of every epoch.
        checkpoint: training goes on from what it holds, to the same bytes as without a break.
    """
    fitted: Fitted = _module(kind).fit(feed, validation, layout, settings, seed, report, checkpoint)
    return fitted


def load_generator(kind: str, layout: Layout, data: bytes) -> Generator:
    """Return the generator of `to_bytes`, on the CPU.

    Raises:
        ModelError: the bytes are damaged, or not of this kind and layout.
    """
    loaded: Generator = _module(kind).load(layout, data)
    return loaded


def _module(kind: str) -> Any:
    if kind not in KINDS:
        raise ModelError(f"no generator of kind {kind!r}; there are {', '.join(KINDS)}")
    return import_module(f"rehearsal.generate.models.{kind}")
