"""What a worker sums over the requests of whole users: numpy, one partition at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rehearsal.drift.layout import N_REQUESTS, N_SUMS, Layout, Output, pack

PARTIAL = "segment_id string, window int, request_type string, part int, sums binary"
_ROWS_OUT = 2_000
_DENSE = 8_000_000


@dataclass(frozen=True)
class Tally:
    """Sums over a partition that holds all requests of each of its users.

    Called by mapInArrow with rows of `narrow` placed in segments: (segment_id, request_type,
    window, part, user, numbers...). Rows are put in an order that depends on their content alone,
    so that sums come out the same to the last bit wherever they run.
    """

    layout: Layout
    edges: tuple[float, ...]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return one row per segment x window, and one per segment x window x request type."""
        held = [batch for batch in batches if batch.num_rows]
        if not held:
            return
        table = pa.Table.from_batches(held)
        held.clear()
        yield from _rows(self, table)


@dataclass(frozen=True)
class _Sorted:
    """Requests in order of cell, then user; `cell`, `kind` and `user` number them from 0."""

    order: np.ndarray
    cell: np.ndarray
    kind: np.ndarray
    user: np.ndarray
    user_cell: np.ndarray  # cell of each user
    kind_cell: np.ndarray  # cell of each kind
    kind_type: np.ndarray  # request type of each kind
    keys: np.ndarray  # (segment, window) of each cell

    @property
    def starts(self) -> np.ndarray:
        """First user of each cell."""
        return np.searchsorted(self.user_cell, np.arange(len(self.keys)))


def _rows(tally: Tally, table: pa.Table) -> Iterator[pa.RecordBatch]:
    segment, segments = _codes(table["segment_id"])
    kind, kinds = _codes(table["request_type"])
    numbers = {name: _array(table[name]) for name in table.column_names if name[-1].isdigit()}
    rows = _in_order(table, segment, kind, len(kinds), numbers)
    cells, types = _sums(tally, rows, numbers)
    part = int(table["part"][0].as_py())
    names, windows = segments.take(pa.array(rows.keys[:, 0])), rows.keys[:, 1]
    yield from _batches(names, windows, None, part, cells)
    of_kind = pa.array(rows.kind_cell)
    names, labels = names.take(of_kind), kinds.take(pa.array(rows.kind_type))
    yield from _batches(names, windows[rows.kind_cell], labels, part, types)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    coded = column.combine_chunks().dictionary_encode()
    filled = coded.indices.fill_null(len(coded.dictionary))
    values = pa.concat_arrays([coded.dictionary, pa.nulls(1, pa.string())])
    return filled.to_numpy(zero_copy_only=False).astype(np.int64), values


def _array(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.combine_chunks().to_numpy())


def _in_order(
    table: pa.Table,
    segment: np.ndarray,
    kind: np.ndarray,
    n_kinds: int,
    numbers: dict[str, np.ndarray],
) -> _Sorted:
    window = table["window"].to_numpy().astype(np.int64)
    first = int(window.min())
    span = int(window.max()) - first + 1
    cell, cell_keys = _dense(segment * span + (window - first))
    keys = np.column_stack([cell_keys // span, cell_keys % span + first])
    user = table["user"].to_numpy()
    order = np.lexsort((_content(kind, numbers), user, cell))
    cell, user = cell[order], user[order]
    kind, kind_keys = _dense(cell * n_kinds + kind[order])
    new = np.empty(len(cell), bool)
    new[0] = True
    new[1:] = (cell[1:] != cell[:-1]) | (user[1:] != user[:-1])
    return _Sorted(
        order, cell, kind, np.cumsum(new) - 1, cell[new], kind_keys // n_kinds,
        kind_keys % n_kinds, keys,
    )  # fmt: skip


def _dense(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes numbered from 0 without gaps, in order, and what they stood for."""
    if codes.max() > _DENSE:
        keys, numbered = np.unique(codes, return_inverse=True)
        return numbered, keys
    present = np.bincount(codes) > 0
    return (np.cumsum(present) - 1)[codes], np.flatnonzero(present)


def _content(kind: np.ndarray, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """Return one integer per row made of all its numbers: equal rows are told apart by nothing."""
    mixed = kind.astype(np.uint64)
    for values in numbers.values():
        bits = values.view(np.uint64) if values.dtype == float else values.astype(np.uint64)
        mixed = (mixed ^ bits) * np.uint64(0x9E37_79B9_7F4A_7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _sums(
    tally: Tally, rows: _Sorted, numbers: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    layout = tally.layout
    n_cells, n_kinds = len(rows.keys), len(rows.kind_cell)
    cells, types = np.zeros((n_cells, layout.cell_width)), np.zeros((n_kinds, layout.type_width))
    cells[:, N_REQUESTS] = np.bincount(rows.cell, minlength=n_cells)
    types[:, N_REQUESTS] = np.bincount(rows.kind, minlength=n_kinds)
    for i, output in enumerate(layout.outputs):
        pair = _pair(i, output, numbers, rows.order, tally.edges)
        _add_missing(layout, output, pair, rows, cells, types)
        _add_sums(layout, output, pair, rows, cells, types)
        if output.n_bins:
            _add_bins(layout, output, pair, rows, cells, types)
    return cells, types


@dataclass(frozen=True)
class _Pair:
    """One output of every request in order: sums' columns (None: as 1 or 0), bins, missing."""

    usable: np.ndarray
    null: np.ndarray
    nan: np.ndarray
    columns: list[np.ndarray]
    p: np.ndarray | None
    e: np.ndarray | None


def _pair(
    i: int,
    output: Output,
    numbers: dict[str, np.ndarray],
    order: np.ndarray,
    edges: Sequence[float],
) -> _Pair:
    x, y = numbers[f"x{i}"][order], numbers[f"y{i}"][order]
    null = np.isneginf(x) | np.isneginf(y)
    usable = np.isfinite(x) & np.isfinite(y)
    p = e = None
    if f"b{i}" in numbers:
        p, e = np.divmod(numbers[f"b{i}"][order], output.n_bins)
    elif output.n_bins:
        p, e = (np.searchsorted(edges, values, "right") for values in (x, y))
    if f"d{i}" in numbers:
        usable &= np.isfinite(numbers[f"d{i}"][order])
    x, y = np.where(usable, x, 0.0), np.where(usable, y, 0.0)
    apart = np.abs(y - x)
    distance = numbers[f"d{i}"][order] if f"d{i}" in numbers else apart * apart
    differ = (p != e) if p is not None else apart > 0
    columns = [
        usable.astype(float), x, y, x * x, y * y, np.where(usable, distance, 0.0), apart,
        (differ & usable).astype(float),
    ]  # fmt: skip
    return _Pair(usable, null & ~usable, ~usable & ~null, columns, p, e)


def _add_missing(
    layout: Layout,
    output: Output,
    pair: _Pair,
    rows: _Sorted,
    cells: np.ndarray,
    types: np.ndarray,
) -> None:
    if pair.usable.all():
        return
    for place, lacking in enumerate((pair.null, pair.nan)):
        for sums, code, places in (
            (cells, rows.cell, layout.cell),
            (types, rows.kind, layout.type),
        ):
            at = places[output.name, "missing"].start + place
            sums[:, at] = np.bincount(code, lacking, len(sums))


def _add_sums(
    layout: Layout,
    output: Output,
    pair: _Pair,
    rows: _Sorted,
    cells: np.ndarray,
    types: np.ndarray,
) -> None:
    n_users, n_cells = len(rows.user_cell), len(cells)
    by_user = np.empty((n_users, N_SUMS))
    start = layout.type[output.name, "sums"].start
    for place, column in enumerate(pair.columns):
        types[:, start + place] = np.bincount(rows.kind, column, len(types))
        by_user[:, place] = np.bincount(rows.user, column, n_users)
    starts = rows.starts
    cells[:, layout.cell[output.name, "sums"]] = np.add.reduceat(by_user, starts)
    products = np.empty((n_cells, N_SUMS, N_SUMS))
    for cell, (low, high) in enumerate(_spans(starts, n_users)):
        own = by_user[low:high]
        products[cell] = own.T @ own
    cells[:, layout.cell[output.name, "user_sums"]] = pack(products)
    users = layout.cell[output.name, "users"].start
    for place, those in ((0, by_user[:, 0] > 0), (2, by_user[:, 1] != by_user[:, 2])):
        cells[:, users + place] = np.add.reduceat(those.astype(float), starts)


def _spans(starts: np.ndarray, end: int) -> Iterator[tuple[int, int]]:
    return zip(starts.tolist(), [*starts[1:].tolist(), end], strict=True)


def _add_bins(
    layout: Layout,
    output: Output,
    pair: _Pair,
    rows: _Sorted,
    cells: np.ndarray,
    types: np.ndarray,
) -> None:
    if pair.p is None or pair.e is None:
        raise ValueError(f"{output.name} has no bins")
    k, held = output.n_bins, np.flatnonzero(pair.usable)
    p, e = pair.p[held].astype(np.int64), pair.e[held].astype(np.int64)
    cell, kind, user = rows.cell[held], rows.kind[held], rows.user[held]
    joint = np.bincount((cell * k + p) * k + e, minlength=len(cells) * k * k)
    cells[:, layout.cell[output.name, "joint"]] = joint.reshape(len(cells), k * k)
    at = layout.type[output.name, "bins"].start
    for side, bins in enumerate((p, e)):
        marginal = np.bincount(kind * k + bins, minlength=len(types) * k)
        types[:, at + side * k : at + side * k + k] = marginal.reshape(len(types), k)
    _add_user_bins(layout, output, rows, cells, (user, p, e))


def _add_user_bins(
    layout: Layout,
    output: Output,
    rows: _Sorted,
    cells: np.ndarray,
    placed: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Sum over users the products of their own counts; a few cells at a time, to bound memory."""
    k, n_users = output.n_bins, len(rows.user_cell)
    user, p, e = placed
    spans = list(_spans(rows.starts, n_users))
    products = np.empty((len(cells), 2 * k, 2 * k))
    movers = np.empty((len(cells), k))
    moved = np.empty(len(cells))
    for first, last in _runs(spans, _DENSE // (2 * k)):
        low, high = spans[first][0], spans[last][1]
        a, b = np.searchsorted(user, (low, high))
        at = (user[a:b] - low) * 2 * k
        codes = np.concatenate([at + p[a:b], at + k + e[a:b]])
        own = np.bincount(codes, minlength=(high - low) * 2 * k).reshape(-1, 2 * k).astype(float)
        apart = own[:, :k] != own[:, k:]
        inner = np.array([start - low for start, _ in spans[first : last + 1]])
        movers[first : last + 1] = np.add.reduceat(apart.astype(float), inner)
        moved[first : last + 1] = np.add.reduceat(apart.any(axis=1).astype(float), inner)
        for cell in range(first, last + 1):
            mine = own[spans[cell][0] - low : spans[cell][1] - low]
            products[cell] = mine.T @ mine
    cells[:, layout.cell[output.name, "user_bins"]] = pack(products)
    cells[:, layout.cell[output.name, "movers"]] = movers
    cells[:, layout.cell[output.name, "users"].start + 1] = moved


def _runs(spans: list[tuple[int, int]], most: int) -> Iterator[tuple[int, int]]:
    """Return (first, last) of neighbouring spans that hold at most so many users, or one span."""
    first = 0
    for i, (_, end) in enumerate(spans):
        if end - spans[first][0] > most and i > first:
            yield first, i - 1
            first = i
    yield first, len(spans) - 1


def _batches(
    segments: pa.Array,
    windows: np.ndarray,
    types: pa.Array | None,
    part: int,
    sums: np.ndarray,
) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(sums), _ROWS_OUT):
        block = np.ascontiguousarray(sums[start : start + _ROWS_OUT])
        n, width = block.shape
        offsets = np.arange(n + 1, dtype=np.int32) * (8 * width)
        packed = pa.Array.from_buffers(
            pa.binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(block.tobytes())]
        )
        columns = [
            segments.slice(start, n),
            pa.array(windows[start : start + n], pa.int32()),
            types.slice(start, n) if types is not None else pa.nulls(n, pa.string()),
            pa.array(np.full(n, part, np.int32)),
            packed,
        ]
        names = ["segment_id", "window", "request_type", "part", "sums"]
        yield pa.RecordBatch.from_arrays(columns, names)
