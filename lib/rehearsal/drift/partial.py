"""Sums over the requests of one partition: per cell, per request type, and over whole users."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rehearsal.drift.in_order import Sorted
from rehearsal.drift.layout import N_REQUESTS, Layout, Output, pack

_NUMBERS_AT_ONCE = 4_000_000


def partial_sums(
    layout: Layout, edges: Sequence[float], rows: Sorted, numbers: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of cells, (cells, width), and of their request types, as `layout` has them.

    Args:
        layout: what is summed, and where it lies.
        edges: inner bin edges of the value.
        rows: the requests in order.
        numbers: x{i}, y{i}, b{i}, d{i}, u{i}, v{i} of `Spread`, in the order they came.
    """
    sums = _Sums(
        layout,
        rows,
        np.zeros((len(rows.keys), layout.cell_width)),
        np.zeros((len(rows.kind_cell), layout.type_width)),
    )
    sums.types[:, N_REQUESTS] = np.bincount(rows.kind, minlength=len(sums.types))
    sums.cells[:, N_REQUESTS] = sums.of_cells(sums.types[:, N_REQUESTS])
    for i, output in enumerate(layout.outputs):
        pair = _pair(i, output, numbers, rows.order, edges)
        sums.add_missing(output, pair)
        sums.add_numbers(output, pair)
        if output.n_bins:
            sums.add_bins(output, pair)
    return sums.cells, sums.types


@dataclass(frozen=True)
class _Pair:
    """One output of every request, in order; bins are empty where it has none."""

    usable: np.ndarray
    null: np.ndarray
    columns: list[np.ndarray]
    """As `Output.sums`; 0 where not usable."""
    p: np.ndarray
    e: np.ndarray


def _pair(
    i: int,
    output: Output,
    numbers: Mapping[str, np.ndarray],
    order: np.ndarray,
    edges: Sequence[float],
) -> _Pair:
    if output.is_ratio:
        return _ratio_pair([numbers[f"{key}{i}"][order] for key in "xyuv"])
    x, y = numbers[f"x{i}"][order], numbers[f"y{i}"][order]
    null = np.isneginf(x) | np.isneginf(y)
    usable = np.isfinite(x) & np.isfinite(y)
    p = e = np.zeros(0, np.int64)
    if f"b{i}" in numbers:
        p, e = np.divmod(numbers[f"b{i}"][order].astype(np.int64), output.n_bins)
    elif output.n_bins:
        p, e = (np.searchsorted(edges, values, "right") for values in (x, y))
    if f"d{i}" in numbers:
        usable &= np.isfinite(numbers[f"d{i}"][order])
    if not usable.all():
        x, y = np.where(usable, x, 0.0), np.where(usable, y, 0.0)
    difference = y - x
    apart, square = np.abs(difference), difference * difference
    distance = square
    if f"d{i}" in numbers:
        distance = np.where(usable, numbers[f"d{i}"][order], 0.0)
    differ = (p != e) & usable if len(p) else apart > 0
    columns = [usable * 1.0, x, difference, x * x, square, distance, apart, differ * 1.0]
    return _Pair(usable, null & ~usable, columns, p, e)


def _ratio_pair(numbers: list[np.ndarray]) -> _Pair:
    """Return a ratio's pair of x, y, u, v; without any of the four a request has no output."""
    null, usable = np.isneginf(numbers).any(axis=0), np.isfinite(numbers).all(axis=0)
    x, y, u, v = np.where(usable, numbers, 0.0)
    difference, below, none = y - x, v - u, np.zeros(0, np.int64)
    differ = (difference != 0) | (below != 0)
    columns = [
        usable * 1.0, x, difference, x * x, difference**2, below**2, np.abs(difference),
        differ * 1.0, u, below,
    ]  # fmt: skip
    return _Pair(usable, null & ~usable, columns, none, none)


@dataclass(frozen=True)
class _Sums:
    layout: Layout
    rows: Sorted
    cells: np.ndarray
    types: np.ndarray

    def of_cells(self, by_kind: np.ndarray) -> np.ndarray:
        """Add up what is known per request type."""
        starts = np.searchsorted(self.rows.kind_cell, np.arange(len(self.cells)))
        return np.asarray(np.add.reduceat(by_kind, starts))

    def users_with(self, chosen: np.ndarray) -> np.ndarray:
        """Count the chosen of all users per cell."""
        return np.bincount(self.rows.user_cell[chosen], minlength=len(self.cells))

    def add_missing(self, output: Output, pair: _Pair) -> None:
        """Count requests that lack the output, and those where it is no number."""
        if pair.usable.all():
            return
        own = self.types[:, self.layout.type[output.name, "missing"]]
        for place, lacking in enumerate((pair.null, ~pair.usable & ~pair.null)):
            own[:, place] = np.bincount(self.rows.kind[lacking], minlength=len(own))
        self.cells[:, self.layout.cell[output.name, "missing"]] = self.of_cells(own)

    def add_numbers(self, output: Output, pair: _Pair) -> None:
        """Sum the output's numbers, and over users the products of each one's sums."""
        rows, of, n_sums = self.rows, self.layout.cell, len(pair.columns)
        by_user = np.zeros((n_sums, len(rows.user_cell)))
        own = self.types[:, self.layout.type[output.name, "sums"]]
        for place, column in enumerate(pair.columns):
            if not column.any():
                continue
            own[:, place] = np.bincount(rows.kind, column, len(own))
            by_user[place] = np.bincount(rows.user, column, len(rows.user_cell))
        self.cells[:, of[output.name, "sums"]] = self.of_cells(own)
        products = np.empty((len(self.cells), n_sums, n_sums))
        for cell, (low, high) in enumerate(rows.spans):
            mine = by_user[:, low:high]
            products[cell] = mine @ mine.T
        self.cells[:, of[output.name, "user_sums"]] = pack(products)
        users = of[output.name, "users"].start
        self.cells[:, users] = self.users_with((by_user[output.held_by] != 0).any(axis=0))
        self.cells[:, users + 2] = self.users_with((by_user[output.moved_by] != 0).any(axis=0))

    def add_bins(self, output: Output, pair: _Pair) -> None:
        """Count requests per pair of bins, and what users' own counts per bin make."""
        rows, k = self.rows, output.n_bins
        held = np.flatnonzero(pair.usable)
        p, e, user = pair.p[held], pair.e[held], rows.user[held]
        self.cells[:, self.layout.cell[output.name, "joint"]] = self._joint(user, p, e, k)
        at = self.layout.type[output.name, "bins"].start
        for side, bins in enumerate((p, e)):
            marginal = np.bincount(rows.kind[held] * k + bins, minlength=len(self.types) * k)
            self.types[:, at + side * k : at + side * k + k] = marginal.reshape(-1, k)
        often = np.bincount(user, minlength=len(rows.user_cell)) > 1
        again = often[user]
        products, fourths, moved = self._of_single(user[~again], p[~again], e[~again], k)
        self._add_repeated((user[again], p[again], e[again]), products, fourths, moved)
        self.cells[:, self.layout.cell[output.name, "user_bins"]] = pack(products)
        self.cells[:, self.layout.cell[output.name, "fourths"]] = fourths
        self.cells[:, self.layout.cell[output.name, "users"].start + 1] = moved

    def _joint(self, user: np.ndarray, p: np.ndarray, e: np.ndarray, k: int) -> np.ndarray:
        codes = (self.rows.user_cell[user] * k + p) * k + e
        return np.bincount(codes, minlength=len(self.cells) * k * k).reshape(-1, k * k)

    def _of_single(
        self, user: np.ndarray, p: np.ndarray, e: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return products, fourth powers of differences and movers of users with one request.

        Such a user's products are 1 where its bins meet and its differences are 1: the joint
        counts have them all.
        """
        joint = self._joint(user, p, e, k).reshape(-1, k, k).astype(float)
        rows, columns = joint.sum(axis=2), joint.sum(axis=1)
        products = np.zeros((len(joint), 2 * k, 2 * k))
        products[:, range(k), range(k)] = rows
        products[:, range(k, 2 * k), range(k, 2 * k)] = columns
        products[:, :k, k:] = joint
        stayed = np.diagonal(joint, axis1=1, axis2=2)
        products[:, k:, :k] = joint.transpose(0, 2, 1)
        return products, rows + columns - 2 * stayed, rows.sum(axis=1) - stayed.sum(axis=1)

    def _add_repeated(
        self,
        placed: tuple[np.ndarray, np.ndarray, np.ndarray],
        products: np.ndarray,
        fourths: np.ndarray,
        moved: np.ndarray,
    ) -> None:
        """Add users with several requests in a cell; a few cells at a time, to bound memory."""
        user, p, e = placed
        k = fourths.shape[1]
        new = np.ones(len(user), bool)
        new[1:] = user[1:] != user[:-1]
        nth, cells = np.cumsum(new) - 1, self.rows.user_cell[user[new]]
        bounds = np.searchsorted(cells, np.arange(len(self.cells) + 1))
        for first, last in _runs(bounds, _NUMBERS_AT_ONCE // (2 * k)):
            low, high = int(bounds[first]), int(bounds[last])
            a, b = np.searchsorted(nth, (low, high))
            at = (nth[a:b] - low) * 2 * k
            codes = np.concatenate([at + p[a:b], at + k + e[a:b]])
            own = np.bincount(codes, minlength=(high - low) * 2 * k).reshape(-1, 2 * k) * 1.0
            apart = own[:, k:] - own[:, :k]
            for cell in range(first, last):
                mine = slice(int(bounds[cell]) - low, int(bounds[cell + 1]) - low)
                products[cell] += own[mine].T @ own[mine]
                fourths[cell] += (apart[mine] ** 4).sum(axis=0)
                moved[cell] += apart[mine].any(axis=1).sum()


def _runs(bounds: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Return [first, last) of neighbouring cells that hold at most so many users, or one cell."""
    first, n = 0, len(bounds) - 1
    while first < n:
        last = int(np.searchsorted(bounds, bounds[first] + most, "right")) - 1
        last = min(max(last, first + 1), n)
        yield first, last
        first = last
