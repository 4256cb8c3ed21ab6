"""Where each sum lies in a row of counts: the one place that knows."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np

SUMS = (
    "n", "production", "difference", "production_sq", "difference_sq", "distance", "absolute",
    "flips",
)  # fmt: skip
"""Per request: 1, x, y - x, their squares, a distance, |y - x|, and whether bins (or x, y) differ.

The difference itself, not y: a small one would drown in the rounding of squares of large x and y.
"""

N_SUMS = len(SUMS)
PLAIN = ("n_paired", *(f"sum_{name}" for name in SUMS[1:-1]), "n_flips")
"""The columns of `drift_counts` that hold them."""

DENOMINATORS = ("denominator", "denominator_difference")
"""Besides, of a ratio: production's denominator u, and v - u. Its numerators are x and y, and its
distance is (v - u) squared."""


@dataclass(frozen=True)
class Output:
    """One thing both models say of a request; `n_bins` 0: it has no bins, only numbers.

    A ratio is that of two sums over requests, so that a request has its numerator and denominator.
    """

    name: str
    n_bins: int = 0
    is_ratio: bool = False

    @property
    def sums(self) -> tuple[str, ...]:
        """What is summed of it."""
        return (*SUMS, *DENOMINATORS) if self.is_ratio else SUMS

    @property
    def held_by(self) -> list[int]:
        """Sums of which one is not 0 where a user counts.

        That is with a request that has it; of a ratio, with anything to divide or to divide by, so
        that as many users as are asked for stand behind it.
        """
        names = ("production", "difference", *DENOMINATORS) if self.is_ratio else ("n",)
        return [self.sums.index(name) for name in names]

    @property
    def moved_by(self) -> list[int]:
        """Sums of which one is not 0 where a user's numbers differ between the models."""
        names = ("difference", DENOMINATORS[1]) if self.is_ratio else ("difference",)
        return [self.sums.index(name) for name in names]


@dataclass(frozen=True)
class Layout:
    """Named slices of two kinds of rows of doubles, for outputs in order.

    A cell row (segment x window) has everything, `users` being those with the output, those with
    a difference of bins and those with a difference of numbers; a type row (segment x window
    x request type) has marginals and sums. Both begin with the number of requests.
    """

    outputs: tuple[Output, ...]

    @cached_property
    def cell(self) -> dict[tuple[str, str], slice]:
        """(output, part) -> where it lies in a cell row."""
        parts: list[tuple[str, str, int]] = []
        for output in self.outputs:
            k = output.n_bins
            parts += [
                (output.name, "missing", 2),
                (output.name, "users", 3),
                (output.name, "sums", len(output.sums)),
                (output.name, "user_sums", triangle(len(output.sums))),
                (output.name, "joint", k * k),
                (output.name, "user_bins", triangle(2 * k)),
                (output.name, "fourths", k),
            ]
        return _placed(parts)

    @cached_property
    def type(self) -> dict[tuple[str, str], slice]:
        """(output, part) -> where it lies in a type row."""
        parts: list[tuple[str, str, int]] = []
        for output in self.outputs:
            parts += [
                (output.name, "missing", 2),
                (output.name, "sums", len(output.sums)),
                (output.name, "bins", 2 * output.n_bins),
            ]
        return _placed(parts)

    @property
    def cell_width(self) -> int:
        """Doubles in a cell row."""
        return _width(self.cell)

    @property
    def type_width(self) -> int:
        """Doubles in a type row."""
        return _width(self.type)


N_REQUESTS, _HEAD = 0, 1
_PIECE = 500


def pieces_of(width: int) -> tuple[int, int]:
    """Return in how many pieces a row travels, and how many doubles each has.

    Spark hands workers so many rows at a time (`replay.batch_rows`), whatever their size: rows of
    many bins would be gigabytes. The last piece ends in zeros where the row is no multiple.
    """
    n = max(ceil(width / _PIECE), 1)
    return n, ceil(width / n)


def _placed(parts: list[tuple[str, str, int]]) -> dict[tuple[str, str], slice]:
    places, at = {}, _HEAD
    for output, part, width in parts:
        places[output, part] = slice(at, at + width)
        at += width
    return places


def _width(places: dict[tuple[str, str], slice]) -> int:
    return max((place.stop for place in places.values()), default=_HEAD)


def triangle(n: int) -> int:
    """Return how many entries the upper triangle of a symmetric (n, n) matrix has."""
    return n * (n + 1) // 2


def pack(matrices: np.ndarray) -> np.ndarray:
    """Return the upper triangles of symmetric matrices, (..., n, n) -> (..., n (n + 1) / 2)."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    return np.asarray(matrices[..., rows, columns])


def unpack(packed: np.ndarray, n: int) -> np.ndarray:
    """Return the symmetric matrices that `pack` was given, (..., n (n + 1) / 2) -> (..., n, n)."""
    rows, columns = np.triu_indices(n)
    matrices = np.zeros((*packed.shape[:-1], n, n))
    matrices[..., rows, columns] = packed
    matrices[..., columns, rows] = packed
    return matrices
