"""What a worker makes of the requests of whole users: one partition in, partial sums out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rehearsal.drift.in_order import in_order
from rehearsal.drift.layout import Layout
from rehearsal.drift.partial import partial_sums

PARTIAL = "segment_id string, window int, request_type string, part int, sums binary"
_BYTES_OUT = 64_000_000


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


def _rows(tally: Tally, table: pa.Table) -> Iterator[pa.RecordBatch]:
    segment, segments = _codes(table["segment_id"])
    kind, kinds = _codes(table["request_type"])
    numbers = {name: _array(table[name]) for name in table.column_names if name[-1].isdigit()}
    window, user = (_array(table[name]).astype(np.int64) for name in ("window", "user"))
    rows = in_order((segment, window, user), kind, len(kinds), numbers)
    cells, types = partial_sums(tally.layout, tally.edges, rows, numbers)
    part = int(table["part"][0].as_py())
    names, windows = segments.take(pa.array(rows.keys[:, 0])), rows.keys[:, 1]
    yield from _batches(names, windows, None, part, cells)
    of_kind = pa.array(rows.kind_cell)
    names, labels = names.take(of_kind), kinds.take(pa.array(rows.kind_type))
    yield from _batches(names, windows[rows.kind_cell], labels, part, types)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Number the values in their own order, whatever the order in which they came."""
    coded = column.combine_chunks().dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[coded.indices.to_numpy()], pa.array(names[order], pa.string())


def _array(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.combine_chunks().to_numpy())


def _batches(
    segments: pa.Array,
    windows: np.ndarray,
    types: pa.Array | None,
    part: int,
    sums: np.ndarray,
) -> Iterator[pa.RecordBatch]:
    rows = max(_BYTES_OUT // (8 * sums.shape[1]), 1)
    for start in range(0, len(sums), rows):
        block = np.ascontiguousarray(sums[start : start + rows])
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
