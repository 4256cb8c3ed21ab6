"""Requests in an order that depends on their content alone, and where each belongs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_DENSE = 8_000_000


@dataclass(frozen=True)
class Sorted:
    """Requests in order of cell, then user; `cell`, `kind` and `user` number them from 0."""

    order: np.ndarray
    cell: np.ndarray
    kind: np.ndarray
    user: np.ndarray
    user_cell: np.ndarray  # cell of each user
    kind_cell: np.ndarray  # cell of each kind
    kind_type: np.ndarray  # request type of each kind
    keys: np.ndarray  # (segment, window) of each cell

    @cached_property
    def starts(self) -> np.ndarray:
        """First user of each cell."""
        return np.searchsorted(self.user_cell, np.arange(len(self.keys)))

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """First user of each cell, and the first of the next."""
        ends = [*self.starts[1:].tolist(), len(self.user_cell)]
        return list(zip(self.starts.tolist(), ends, strict=True))

    def blocks(self, n_cells: int) -> Iterator["Sorted"]:
        """Yield the requests of so many cells after another, numbered from 0 in each block."""
        bounds = np.append(np.arange(0, len(self.keys), n_cells), len(self.keys))
        rows, users, kinds = (
            np.searchsorted(cells, bounds).tolist()
            for cells in (self.cell, self.user_cell, self.kind_cell)
        )
        for i, first in enumerate(bounds[:-1].tolist()):
            of, who, what = (slice(at[i], at[i + 1]) for at in (rows, users, kinds))
            yield Sorted(
                self.order[of], self.cell[of] - first, self.kind[of] - what.start,
                self.user[of] - who.start, self.user_cell[who] - first,
                self.kind_cell[what] - first, self.kind_type[what],
                self.keys[first : bounds[i + 1]],
            )  # fmt: skip


def in_order(
    who: tuple[np.ndarray, np.ndarray, np.ndarray],
    kind: np.ndarray,
    n_kinds: int,
    numbers: Mapping[str, np.ndarray],
) -> Sorted:
    """Return the requests' places, by (segment, window, user) codes, request type and numbers."""
    segment, window, user = who
    first = int(window.min())
    span = int(window.max()) - first + 1
    cell, cell_keys = _dense(segment * span + (window - first))
    keys = np.column_stack([cell_keys // span, cell_keys % span + first])
    order = _order(cell, user, _content(numbers, len(user)))
    cell, user = cell[order], user[order]
    kind, kind_keys = _dense(cell * n_kinds + kind[order])
    new = np.empty(len(cell), bool)
    new[0] = True
    new[1:] = (cell[1:] != cell[:-1]) | (user[1:] != user[:-1])
    return Sorted(
        order, cell, kind, np.cumsum(new) - 1, cell[new], kind_keys // n_kinds,
        kind_keys % n_kinds, keys,
    )  # fmt: skip


def _order(cell: np.ndarray, user: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Return the order by cell, user, content; most users have one request in a cell.

    One fast sort by the cell and most bits of the user, then a stable one of the ties alone.
    """
    users = user.view(np.uint64)
    first = (cell.astype(np.uint64) << np.uint64(40)) | (users >> np.uint64(24))
    second = (users << np.uint64(40)) | (content >> np.uint64(24))
    order = np.argsort(first)
    ranked = first[order]
    same = ranked[1:] == ranked[:-1]
    tied = np.zeros(len(order), bool)
    tied[1:] |= same
    tied[:-1] |= same
    places = np.flatnonzero(tied)
    rows = order[places]
    order[places] = rows[np.lexsort((second[rows], first[rows]))]
    return np.asarray(order)


def _dense(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes numbered from 0 without gaps, in order, and what they stood for."""
    if codes.max() > _DENSE:
        keys, numbered = np.unique(codes, return_inverse=True)
        return numbered, keys
    present = np.bincount(codes) > 0
    return (np.cumsum(present) - 1)[codes], np.flatnonzero(present)


def _content(numbers: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """Return one integer per request made of all its numbers.

    Not of its request type: that is a code here, which depends on what else the partition holds.
    Requests with the same numbers may stand in any order: sums do not tell them apart.
    """
    mixed = np.zeros(n, np.uint64)
    for values in numbers.values():
        bits = values.view(np.uint64) if values.dtype == float else values.astype(np.uint64)
        mixed = (mixed ^ bits) * np.uint64(0x9E37_79B9_7F4A_7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed
