"""Fit the mixture on a cluster: every pass of EM is one aggregate over the rows.

A task adds up its partition, and the driver adds up the tasks. The sums are exact (see `em`), so
neither the number of partitions nor their order changes a bit of the model: it is the one that
the same rows give in memory.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.models.em import Parameters, Source, Sums, expect
from rehearsal.generate.models.em_start import distinct_rows
from rehearsal.generate.models.generator import Fitted, Report, Rows, silent
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.generate.models.mixture import fit_source
from rehearsal.generate.training.checkpoint import Checkpoint
from rehearsal.generate.training.child import reason_of
from rehearsal.generate.training.feed import read_rows
from rehearsal.generate.training.pack import unpack
from rehearsal.generate.training.progress import reporter
from rehearsal.generate.training.stage import Part
from rehearsal.generate.training.task import Task, pack_fitted
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

# Sums that reach the driver at a time, each of the size of the model.
MAX_PARTS = 64
# A task's sums over fewer take no longer than to start it.
ROWS_PER_PART = 50_000


def train_mixture(
    task: Task, training: DataFrame, n_training: int, validation: Part, key: str
) -> dict[str, Any]:
    """Fit the mixture of all segments over staged rows; return its fields, or status 'failed'.

    The fields are those of the fit in one task, of which this is the same for many rows. What an
    attempt of `key` finished is not fitted again.

    Args:
        task: of the step.
        training: the staged training part, as for `fit_mixture_on_spark`.
        n_training: rows of it.
        validation: the staged validation part; read here, at most `max_total_rows`.
        key: changes with any row or setting.
    """

    def fit() -> bytes:
        return pack_fitted(_fitted(task, training, n_training, validation))

    try:
        found: dict[str, Any] = unpack(Checkpoint(task.checkpoints, key).once("all", fit))
    except Exception as error:  # noqa: BLE001  a training that fails is an outcome, as in a task
        return {"status": "failed", "reason": reason_of(error)}
    return found


def _fitted(task: Task, training: DataFrame, n_training: int, validation: Part) -> Fitted:
    held_out = read_rows(validation.files, validation.n_rows, task.profiles)
    layout = Codec.from_json(task.codec_json).layout(task.profiles.shape[1])
    n_parts = min(MAX_PARTS, -(-n_training // ROWS_PER_PART))
    return fit_mixture_on_spark(
        training.repartition(max(1, n_parts)), task.profiles, held_out, layout, task.settings,
        derive_seed(task.seed, "all"), report=reporter(task.progress, "all segments"),
    )  # fmt: skip


def fit_mixture_on_spark(
    rows: DataFrame,
    profiles: Floats,
    validation: Rows,
    layout: Layout,
    settings: Settings,
    seed: int,
    *,
    report: Report = silent,
) -> Fitted:
    """Return the mixture that `fit` gives for the same rows.

    Args:
        rows: INT columns, the segment's place in `profiles` first, then the token columns in
            order; read once a pass, and kept in memory or on disk meanwhile.
        profiles: shape (segments, n_profile).
        validation: rows held out, which decide when to stop.
        layout: of both.
        settings: the section `generator`.
        seed: of everything drawn.
        report: told of every pass.
    """
    held = rows.coalesce(MAX_PARTS).persist()
    try:
        source = Source(
            profiles,
            lambda parameters, segments: _sums(held, parameters, segments, layout),
            lambda n, key: _centres(held, n, key),
        )
        return fit_source(source, validation, layout, settings, seed, report)
    finally:
        held.unpersist()


def _sums(rows: DataFrame, parameters: Parameters, segments: Floats, layout: Layout) -> Sums:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = Sums.zero(len(segments), *parameters.tables.shape)
        for batch in batches:
            total += expect(parameters, _codes(batch), segments, layout)
        yield pa.RecordBatch.from_pydict(
            {
                "weights": pa.array([total.weights.tobytes()], pa.binary()),
                "tables": pa.array([total.tables.tobytes()], pa.binary()),
                "nats": pa.array([total.nats], pa.float64()),
            }
        )

    total = Sums.zero(len(segments), *parameters.tables.shape)
    # Bounded: at most MAX_PARTS times the size of the model.
    for part in rows.mapInArrow(work, "weights binary, tables binary, nats double").collect():
        weights, tables = (
            np.frombuffer(part[name]).reshape(whole.shape)
            for name, whole in (("weights", total.weights), ("tables", total.tables))
        )
        total += Sums(weights, tables, part["nats"])
    return total


def _centres(rows: DataFrame, n: int, seed: int) -> Codes:
    width = len(rows.columns) - 1

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        lowest = np.zeros((0, width), dtype=np.int64)
        for batch in batches:
            lowest = distinct_rows(np.concatenate([lowest, _codes(batch)[:, 1:]]), n, seed)
        yield pa.RecordBatch.from_pydict({"codes": pa.array([lowest.tobytes()], pa.binary())})

    # Bounded: at most MAX_PARTS x n rows.
    parts = [part["codes"] for part in rows.mapInArrow(work, "codes binary").collect()]
    found = [np.frombuffer(part, dtype=np.int64).reshape(-1, width) for part in parts]
    return distinct_rows(np.concatenate([np.zeros((0, width), dtype=np.int64), *found]), n, seed)


def _codes(batch: pa.RecordBatch) -> Codes:
    columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
    codes: Codes = np.stack(columns, axis=1).astype(np.int64)
    return codes
