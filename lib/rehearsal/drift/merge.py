"""Partial sums of partitions to one row per cell, as the columns of `drift_counts`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rehearsal.drift.layout import DENOMINATORS, N_REQUESTS, N_SUMS, PLAIN, Layout, pieces_of

MERGED = (
    "segment_id string, window int, request_type string, output string, n_requests bigint, "
    "n_users bigint, n_paired bigint, n_null bigint, n_nan bigint, n_moved bigint, "
    "n_shifted bigint, "
    "sum_production double, sum_difference double, sum_production_sq double, "
    "sum_difference_sq double, sum_distance double, sum_absolute double, n_flips bigint, "
    "sum_denominator double, sum_denominator_difference double, "
    "production_bins array<bigint>, experimental_bins array<bigint>, joint_bins array<bigint>, "
    "user_bins array<double>, user_sums array<double>, fourth_bins array<double>"
)
_KEYS = ("segment_id", "window", "request_type")
_WHOLE = pa.int64()


@dataclass(frozen=True)
class Merge:
    """Adds up partial rows that arrive sorted by (segment, window, request type, piece, part).

    The order makes sums of doubles the same whatever the batches.
    """

    layout: Layout

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return one row per output of each cell and of each of its request types."""
        left: pa.RecordBatch | None = None
        for batch in batches:
            if not batch.num_rows:
                continue
            joined = batch if left is None else _joined(left, batch)
            whole, left = _split_last(joined)
            if whole is not None:
                yield from self._rows(whole)
        if left is not None:
            yield from self._rows(left)

    def _rows(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        types = batch["request_type"].is_valid().to_numpy(zero_copy_only=False)
        for typed in (False, True):
            chosen = batch.filter(pa.array(types == typed))
            if chosen.num_rows:
                yield from self._decoded(chosen, typed=typed)

    def _decoded(self, batch: pa.RecordBatch, *, typed: bool) -> Iterator[pa.RecordBatch]:
        width = self.layout.type_width if typed else self.layout.cell_width
        n, each = pieces_of(width)
        values = np.frombuffer(b"".join(batch["sums"].to_pylist())).reshape(-1, each)
        sums = np.add.reduceat(values, _starts(batch, (*_KEYS, "piece"))).reshape(-1, n * each)
        keys = batch.select(list(_KEYS)).take(pa.array(_starts(batch, _KEYS)))
        for output in self.layout.outputs:
            yield _as_columns(self.layout, output.name, keys, sums[:, :width], typed=typed)


def _joined(first: pa.RecordBatch, second: pa.RecordBatch) -> pa.RecordBatch:
    (joined,) = pa.Table.from_batches([first, second]).combine_chunks().to_batches()
    return joined


def _starts(batch: pa.RecordBatch, names: Sequence[str]) -> np.ndarray:
    """Return where these columns change."""
    new = np.zeros(batch.num_rows, bool)
    new[0] = True
    for name in names:
        column = batch[name]
        if pa.types.is_string(column.type):
            column = column.fill_null("\0").dictionary_encode().indices
        codes = column.to_numpy(zero_copy_only=False)
        new[1:] |= codes[1:] != codes[:-1]
    return np.flatnonzero(new)


def _split_last(batch: pa.RecordBatch) -> tuple[pa.RecordBatch | None, pa.RecordBatch]:
    """Return the rows of finished keys, and those of the last, which may go on."""
    last = int(_starts(batch, _KEYS)[-1])
    return (batch.slice(0, last) if last else None), batch.slice(last)


def _as_columns(
    layout: Layout, output: str, keys: pa.RecordBatch, sums: np.ndarray, *, typed: bool
) -> pa.RecordBatch:
    places = layout.type if typed else layout.cell
    n = len(sums)
    missing = sums[:, places[output, "missing"]]
    plain = sums[:, places[output, "sums"]]
    none = pa.nulls(n, _WHOLE)
    columns: dict[str, pa.Array] = {
        "n_requests": _whole(sums[:, N_REQUESTS]),
        "n_null": _whole(missing[:, 0]),
        "n_nan": _whole(missing[:, 1]),
    }
    for place, name in enumerate(("n_users", "n_moved", "n_shifted")):
        columns[name] = none if typed else _whole(sums[:, places[output, "users"]][:, place])
    for place, name in enumerate(PLAIN):
        values = plain[:, place]
        columns[name] = _whole(values) if name.startswith("n_") else pa.array(values)
    below = plain[:, N_SUMS:].T if plain.shape[1] > N_SUMS else [None, None]
    for name, values in zip(DENOMINATORS, below, strict=True):
        held = pa.nulls(n, pa.float64()) if values is None else pa.array(values)
        columns[f"sum_{name}"] = held
    columns |= _typed_arrays(layout, output, sums) if typed else _cell_arrays(layout, output, sums)
    columns["output"] = pa.array([output] * n, pa.string())
    for name in keys.schema.names:
        columns[name] = keys[name]
    names = [field.split(" ")[0] for field in MERGED.split(", ")]
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names)


def _typed_arrays(layout: Layout, output: str, sums: np.ndarray) -> dict[str, pa.Array]:
    bins = sums[:, layout.type[output, "bins"]]
    k = bins.shape[1] // 2
    empty, n = pa.nulls(len(sums), pa.list_(_WHOLE)), len(sums)
    return {
        "production_bins": _lists(bins[:, :k], _WHOLE) if k else empty,
        "experimental_bins": _lists(bins[:, k:], _WHOLE) if k else empty,
        "joint_bins": empty,
        "user_bins": pa.nulls(n, pa.list_(pa.float64())),
        "user_sums": pa.nulls(n, pa.list_(pa.float64())),
        "fourth_bins": pa.nulls(n, pa.list_(pa.float64())),
    }


def _cell_arrays(layout: Layout, output: str, sums: np.ndarray) -> dict[str, pa.Array]:
    joint = sums[:, layout.cell[output, "joint"]]
    n, k = len(sums), round(joint.shape[1] ** 0.5)
    square = joint.reshape(n, k, k)
    empty, nothing = (pa.nulls(n, pa.list_(kind)) for kind in (_WHOLE, pa.float64()))
    of = layout.cell
    return {
        "production_bins": _lists(square.sum(axis=2), _WHOLE) if k else empty,
        "experimental_bins": _lists(square.sum(axis=1), _WHOLE) if k else empty,
        "joint_bins": _lists(joint, _WHOLE) if k else empty,
        "user_bins": _lists(sums[:, of[output, "user_bins"]], pa.float64()) if k else nothing,
        "user_sums": _lists(sums[:, of[output, "user_sums"]], pa.float64()),
        "fourth_bins": _lists(sums[:, of[output, "fourths"]], pa.float64()) if k else nothing,
    }


def _whole(values: np.ndarray) -> pa.Array:
    return pa.array(np.rint(values).astype(np.int64))


def _lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    n, width = values.shape
    flat = np.ascontiguousarray(values).reshape(-1)
    held = _whole(flat) if kind == _WHOLE else pa.array(flat)
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * width), held)
