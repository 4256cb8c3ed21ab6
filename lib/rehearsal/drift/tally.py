"""What a worker makes of the requests of whole users: one partition in, partial sums out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rehearsal.drift.by_user import unpacked
from rehearsal.drift.in_order import in_order
from rehearsal.drift.layout import Layout, pieces_of
from rehearsal.drift.partial import partial_sums
from rehearsal.tables.schemas import COLD

PARTIAL = "segment_id string, window int, request_type string, piece int, part int, sums binary"
_NUMBERS_AT_ONCE, _BYTES_OUT = 4_000_000, 64_000_000


@dataclass(frozen=True)
class Tally:
    """Sums over the parts of `ByUser`, each of which holds all requests of its users.

    Called by mapInArrow with packets sorted by part: of requests (rows of `Spread`) and of
    segments (user, segment_id). Requests are put in an order that depends on their content alone,
    so that sums come out the same to the last bit wherever they run.
    """

    layout: Layout
    edges: tuple[float, ...]
    numbers: int = _NUMBERS_AT_ONCE
    """How many doubles of cells are summed at once; a part of many windows has gigabytes."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the rows of segment x window, then of their request types, each in pieces."""
        for part, packets in _parts(batches):
            table = _placed(packets)
            if table is not None:
                yield from self.sums(table, part)

    def sums(self, requests: pa.Table, part: int) -> Iterator[pa.RecordBatch]:
        """Return the same of one part's requests with their segment_id."""
        segment, segments = _codes(requests["segment_id"])
        kind, kinds = _codes(requests["request_type"])
        numbered = (name for name in requests.column_names if name[-1].isdigit())
        numbers = {name: _array(requests[name]) for name in numbered}
        window, user = (_array(requests[name]).astype(np.int64) for name in ("window", "user"))
        ordered = in_order((segment, window, user), kind, len(kinds), numbers)
        for rows in ordered.blocks(max(self.numbers // self.layout.cell_width, 1)):
            cells, types = partial_sums(self.layout, self.edges, rows, numbers)
            names, windows = segments.take(pa.array(rows.keys[:, 0])), rows.keys[:, 1]
            yield from _batches(names, windows, None, part, cells)
            of = rows.kind_cell
            labels = kinds.take(pa.array(rows.kind_type))
            yield from _batches(names.take(pa.array(of)), windows[of], labels, part, types)


def _parts(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, list[pa.Table]]]:
    """Return each part's number and tables; packets come sorted by part."""
    rows = (
        row
        for batch in batches
        for row in zip(batch["part"].to_pylist(), batch["packet"], strict=True)
    )
    for part, own in groupby(rows, itemgetter(0)):
        yield part, [unpacked(packet) for _, packet in own]


def _placed(tables: list[pa.Table]) -> pa.Table | None:
    """Return the requests with their users' segments, or None if there are none."""
    of_segments = [table for table in tables if "segment_id" in table.column_names]
    of_requests = [table for table in tables if "segment_id" not in table.column_names]
    tables.clear()
    if not of_requests:
        return None
    requests = pa.concat_tables(of_requests).unify_dictionaries()
    if not of_segments:
        segments = pa.array([COLD] * len(requests))
    else:
        held = pa.concat_tables(of_segments).unify_dictionaries().combine_chunks()
        users, segments = (held[name].combine_chunks() for name in ("user", "segment_id"))
        place = pc.index_in(requests["user"].combine_chunks(), value_set=users)
        segments = segments.take(place).cast(pa.string()).fill_null(COLD)
    return requests.append_column("segment_id", segments)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Number the values in their own order, whatever the order in which they came."""
    coded = column.combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
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
    n, each = pieces_of(sums.shape[1])
    rows = max(_BYTES_OUT // (8 * sums.shape[1]), 1)
    for start in range(0, len(sums), rows):
        block = sums[start : start + rows]
        at = np.repeat(np.arange(start, start + len(block)), n)
        whole = np.pad(block, ((0, 0), (0, n * each - block.shape[1])))
        offsets = np.arange(len(at) + 1, dtype=np.int32) * (8 * each)
        packed = pa.Array.from_buffers(
            pa.binary(), len(at), [None, pa.py_buffer(offsets), pa.py_buffer(whole.tobytes())]
        )
        columns = [
            segments.take(pa.array(at)),
            pa.array(windows[at], pa.int32()),
            types.take(pa.array(at)) if types is not None else pa.nulls(len(at), pa.string()),
            pa.array(np.tile(np.arange(n, dtype=np.int32), len(block))),
            pa.array(np.full(len(at), part, np.int32)),
            packed,
        ]
        names = ["segment_id", "window", "request_type", "piece", "part", "sums"]
        yield pa.RecordBatch.from_arrays(columns, names)
