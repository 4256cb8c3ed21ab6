"""Rows gathered by user: a few large packets are shuffled instead of every row on its own.

A row that Spark shuffles is copied into its own format, sorted, and copied out of it again, which
costs more than counting it. So a worker sorts rows by part, a hash of their user, and hands each
part's rows on as one Arrow stream; all rows of a user meet in one part.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

PACKETS = "part int, packet binary"
_ROWS_AT_ONCE = 250_000
"""Bounds a worker's memory; many, since each part gets a packet of them."""

Batches = Iterable[pa.RecordBatch]


@dataclass(frozen=True)
class ByUser:
    """Packs rows by a column `user` (bigint, a hash).

    Called by mapInArrow; `keys` are the numbers of the parts, and `rows` makes the rows of what
    comes (default: they come as they are). Strings must repeat: each packet holds each once.
    """

    keys: tuple[int, ...]
    rows: Callable[[Batches], Batches] = iter

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        """Return packets, one for each part that the rows at hand have."""
        for table in _gathered(self.rows(batches)):
            yield from _packets(table, np.array(self.keys, np.int32))


def unpacked(packet: pa.BinaryScalar) -> pa.Table:
    """Return a packet's rows."""
    with pa.ipc.open_stream(packet.as_buffer()) as stream:
        return stream.read_all()


def _gathered(batches: Batches) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    n = 0
    for batch in batches:
        held.append(batch)
        n += batch.num_rows
        if n >= _ROWS_AT_ONCE:
            yield pa.Table.from_batches(held)
            held, n = [], 0
    if n:
        yield pa.Table.from_batches(held)


def _packets(table: pa.Table, keys: np.ndarray) -> Iterator[pa.RecordBatch]:
    part = table["user"].to_numpy() % len(keys)
    # Sorting integers of 16 bits takes time linear in their number.
    order = np.argsort(part.astype(np.uint16 if len(keys) <= 1 << 16 else np.int64), kind="stable")
    bounds = np.searchsorted(part[order], np.arange(len(keys) + 1))
    ordered = _coded(table).take(pa.array(order))
    for place in np.flatnonzero(np.diff(bounds)):
        rows = ordered.slice(bounds[place], bounds[place + 1] - bounds[place])
        yield pa.RecordBatch.from_arrays([keys[[place]], [_stream(rows)]], ["part", "packet"])


def _coded(table: pa.Table) -> pa.Table:
    columns = [
        column.dictionary_encode() if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.table(dict(zip(table.column_names, columns, strict=True))).combine_chunks()


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())
