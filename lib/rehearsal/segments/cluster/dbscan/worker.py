"""What Spark's workers run: points to boxes, a box's points to codes, codes to clusters.

Between these, many rows travel as one value, an Arrow stream in a BINARY column. As rows they
would be taken apart and put together at every crossing between Python and the JVM, which costs
more than clustering them.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from zipimport import zipimporter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rehearsal.segments.cluster.dbscan.box import NOISE, Solved, solve
from rehearsal.segments.cluster.dbscan.merge import Summary
from rehearsal.segments.cluster.dbscan.plan import Plan
from rehearsal.segments.cluster.dbscan.scatter import scatter

_ROWS_AT_ONCE = 100_000

Batches = Iterable[pa.RecordBatch]
Stage = Callable[[Batches], Iterator[pa.RecordBatch]]


def scatter_stage(plan: Plan, salts: np.ndarray) -> Stage:
    """Return the function from (user_id, point) to (salt INT, block BINARY).

    A block holds (user_id, x0, x1...), user_id null in copies that another box owns.
    """
    dimensions = plan.lower.shape[1]

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        forget_zip_finders()
        for table in _gather(batches):
            values = table["point"].combine_chunks().flatten()
            points = values.to_numpy(zero_copy_only=False).reshape(-1, dimensions)
            users = table["user_id"].combine_chunks()
            numbers, blocks = [], []
            for box, rows, owned in scatter(points, plan):
                mine = users.take(pa.array(rows, mask=~owned))
                numbers.append(salts[box])
                blocks.append(_pack({"user_id": mine, **_columns(points[rows])}))
            columns = [pa.array(numbers, pa.int32()), pa.array(blocks, pa.binary())]
            yield pa.RecordBatch.from_arrays(columns, ["salt", "block"])

    return run


def solve_stage(plan: Plan, salts: np.ndarray, min_points: int) -> Stage:
    """Return the function from all blocks of a box to (box INT, block BINARY, summary BINARY).

    A block holds (user_id, x0, x1..., code, core) of points the box owns. A box has one summary,
    in a row without a block: see `read_summary`.
    """
    boxes = {int(salt): box for box, salt in enumerate(salts)}

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        forget_zip_finders()
        blocks: dict[int, list[pa.Table]] = {}
        for batch in batches:
            for salt, block in zip(batch["salt"].to_pylist(), batch["block"], strict=True):
                blocks.setdefault(boxes[salt], []).append(_unpack(block.as_buffer()))
        # Each box has a partition to itself, but nothing depends on it.
        for box in list(blocks):
            yield from _solve_box(pa.concat_tables(blocks.pop(box)), plan, box, min_points)

    return run


def number_stage(clusters: dict[int, np.ndarray]) -> Stage:
    """Return the function from (box, block) to (user_id, cluster, core, point).

    `clusters` has the final number of every code of every box.
    """

    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        forget_zip_finders()
        for batch in batches:
            for box, block in zip(batch["box"].to_pylist(), batch["block"], strict=True):
                yield _numbered(_unpack(block.as_buffer()), clusters[box])

    return run


def _summary_columns(solved: Solved, users: pa.Array) -> dict[str, pa.Array]:
    """Return what the merge needs of a box, as one row of lists."""
    touched = [np.asarray(several) for several in solved.touched]
    columns = {
        "first": users.take(pa.array(solved.first, mask=solved.first < 0)),
        "keys": solved.keys.ravel(),
        "key_clusters": solved.key_clusters,
        "touched": np.concatenate([np.zeros(0, np.int64), *touched]),
        "touched_sizes": np.array([len(several) for several in touched], np.int64),
        "n_core": np.array([solved.core.sum()]),
        "n_noise": np.array([(solved.codes == NOISE).sum()]),
    }
    return {name: _one_list(pa.array(values)) for name, values in columns.items()}


def forget_zip_finders() -> None:
    """Drop the import system's cached readers of zip files; it makes them anew when it needs them.

    Spark invalidates import caches before every task, and each cached reader then reads the
    directory of pyspark.zip again, which takes 0.1 s a task.
    """
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimporter):
            del sys.path_importer_cache[path]


def read_summary(box: int, summary: bytes, dimensions: int) -> Summary:
    """Return a box's summary from what `_summary_columns` made."""
    table = _unpack(pa.py_buffer(summary))
    values = {name: table[name].combine_chunks().flatten() for name in table.column_names}
    ends = np.cumsum(values["touched_sizes"].to_numpy())
    return Summary(
        box,
        values["first"].to_pylist(),
        values["keys"].to_numpy().reshape(-1, dimensions),
        values["key_clusters"].to_numpy(),
        np.split(values["touched"].to_numpy(), ends)[:-1],
        values["n_core"][0].as_py(),
        values["n_noise"][0].as_py(),
    )


def _unpack(block: pa.Buffer) -> pa.Table:
    return pa.ipc.open_stream(block).read_all()


def _pack(columns: dict[str, pa.Array]) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _gather(batches: Batches) -> Iterator[pa.Table]:
    """Yield the rows in tables of some size, since every table makes a block per box."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(len(one) for one in held) >= _ROWS_AT_ONCE:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _columns(points: np.ndarray) -> dict[str, pa.Array]:
    return {f"x{axis}": pa.array(column) for axis, column in enumerate(points.T)}


def _points(table: pa.Table) -> np.ndarray:
    names = [name for name in table.column_names if name.startswith("x")]
    return np.column_stack([table[name].to_numpy() for name in names])


def _one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _solve_box(table: pa.Table, plan: Plan, box: int, min_points: int) -> Iterator[pa.RecordBatch]:
    mine = table["user_id"].is_valid()
    points, copies = _points(table.filter(mine)), _points(table.filter(pc.invert(mine)))
    users = table["user_id"].drop_null().combine_chunks()
    solved = solve(points, _ranks(users), copies, plan, box, min_points)
    for start in range(0, len(users), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        columns = {
            "user_id": users[part],
            **_columns(points[part]),
            "code": pa.array(solved.codes[part]),
            "core": pa.array(solved.core[part]),
        }
        yield _solved_row(box, _pack(columns), None)
    yield _solved_row(box, None, _pack(_summary_columns(solved, users)))


def _solved_row(box: int, block: bytes | None, summary: bytes | None) -> pa.RecordBatch:
    columns = [pa.array([box], pa.int32()), *(pa.array([v], pa.binary()) for v in (block, summary))]
    return pa.RecordBatch.from_arrays(columns, ["box", "block", "summary"])


def _ranks(users: pa.Array) -> np.ndarray:
    """Return integers in the order of the ids: strings by their bytes, as Spark orders them."""
    if pa.types.is_integer(users.type):
        return np.asarray(users.to_numpy(), np.int64)
    ranks = np.empty(len(users), np.int64)
    ranks[pc.sort_indices(users).to_numpy()] = np.arange(len(users))
    return ranks


def _numbered(table: pa.Table, clusters: np.ndarray) -> pa.RecordBatch:
    codes, points = table["code"].to_numpy(), _points(table)
    # A code of noise, -1, reads the last entry, which is put here for it.
    numbers = np.append(clusters, NOISE).astype(np.int32)[codes]
    ends = np.arange(0, points.size + 1, points.shape[1], dtype=np.int32)
    columns = [
        table["user_id"].combine_chunks(),
        pa.array(numbers),
        table["core"].combine_chunks(),
        pa.ListArray.from_arrays(pa.array(ends), pa.array(points.ravel())),
    ]
    return pa.RecordBatch.from_arrays(columns, ["user_id", "cluster", "core", "point"])
