"""Every user's segment at one run: the nearest, unless the user holds on to the one before."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from rehearsal.segments.adapt.settle import Settled, settle
from rehearsal.segments.assign import feature_matrix
from rehearsal.segments.model import Assigned, SegmentModel
from rehearsal.settings import Adapt
from rehearsal.tables.schemas import COLD, NOISE, SEGMENT_ASSIGNMENTS, USER_FEATURES

_KEPT = ("user_id", "n_requests", "value", "previous_segment_id", "features")


def place_users(
    rows: DataFrame,
    model: SegmentModel,
    adapt: Adapt,
    min_history_requests: int,
    exact: DataFrame | None = None,
) -> DataFrame:
    """Return the columns of `segment_assignments` less the run, and `features`; one Arrow pass.

    Args:
        rows: (user_id, n_requests, value, features, previous_segment_id, previous_pending_id,
            previous_pending_runs).
        model: places users by their features.
        adapt: how much nearer another segment must be, or for how many runs.
        min_history_requests: users with fewer are 'cold'.
        exact: (user_id, exact_id), where the fit itself has placed every user (dbscan); the
            model alone tells border users by the nearest dense one, which may be another's.
    """
    has_history = F.col("n_requests") >= min_history_requests
    if exact is not None:
        rows = rows.join(exact, "user_id", "left")
    warm = rows.where(has_history).mapInArrow(_placing(model, adapt), _schema())
    nothing = {
        "distance": "double", "nearest_id": "string", "is_noise": "boolean",
        "membership": "array<double>", "pending_id": "string", "pending_runs": "int",
    }  # fmt: skip
    cold = rows.where(~has_history).select(
        *_KEPT,
        F.lit(COLD).alias("segment_id"),
        *(F.lit(None).cast(kind).alias(name) for name, kind in nothing.items()),
    )
    return warm.unionByName(cold)


def _schema() -> StructType:
    placed = [f for f in SEGMENT_ASSIGNMENTS.schema if f.name != "run_id"]
    return StructType([*placed, USER_FEATURES.schema["features"]])


def _placing(
    model: SegmentModel, adapt: Adapt
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def place(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            raw = feature_matrix(batch.column("features"), len(model.preparation.features))
            current = _objects(batch.column("previous_segment_id"))
            found = _found(batch, model, raw)
            # Out of reach is nowhere, so there is no near and nearer to wait for.
            is_out = found.segment_ids == NOISE
            settled = settle(
                nearest_id=found.segment_ids,
                nearest_squared=np.where(is_out, np.nan, found.distance**2),
                current_id=current,
                current_squared=model.distance_to(raw, current) ** 2,
                pending_id=_objects(batch.column("previous_pending_id")),
                pending_runs=_counts(batch.column("previous_pending_runs")),
                hysteresis=adapt.hysteresis,
                patience=adapt.patience,
            )
            yield _placed(batch, model, raw, found, settled)

    return place


def _found(batch: pa.RecordBatch, model: SegmentModel, raw: np.ndarray) -> Assigned:
    found = model.assign(raw)
    if "exact_id" not in batch.schema.names:
        return found
    exact = _objects(batch.column("exact_id"))
    is_noise = exact == NOISE
    ids = np.where(is_noise & model.assign_noise, found.nearest_ids, exact)
    return replace(found, segment_ids=ids, is_noise=is_noise)


def _placed(
    batch: pa.RecordBatch,
    model: SegmentModel,
    raw: np.ndarray,
    found: Assigned,
    settled: Settled,
) -> pa.RecordBatch:
    own = settled.segment_id
    distance = found.distance.copy()
    elsewhere = own != found.nearest_ids
    if elsewhere.any():
        distance[elsewhere] = model.distance_to(raw[elsewhere], own[elsewhere])
    membership = None if found.membership is None else list(found.membership)
    columns = {
        "segment_id": pa.array(own, pa.string()),
        "distance": pa.array(distance, mask=~np.isfinite(distance)),  # no centre to be near
        "nearest_id": pa.array(found.segment_ids, pa.string()),
        "is_noise": pa.array(found.is_noise),
        "membership": pa.nulls(len(own), pa.list_(pa.float64()))
        if membership is None
        else pa.array(membership, pa.list_(pa.float64())),
        "pending_id": pa.array(settled.pending_id, pa.string()),
        "pending_runs": pa.array(settled.pending_runs, pa.int32()),
    }
    columns |= {name: batch.column(name) for name in _KEPT}
    names = [field.name for field in _schema()]
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def _objects(column: pa.Array) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)


def _counts(column: pa.Array) -> np.ndarray:
    return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int32)
