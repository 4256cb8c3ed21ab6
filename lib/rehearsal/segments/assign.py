"""Every user's segment from a fitted model, in one Arrow pass, in batch or on a stream."""

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    StringType,
    StructField,
    StructType,
)

from rehearsal.errors import ContractError
from rehearsal.segments.model import Assigned, SegmentModel

_ADDED = (
    StructField("segment_id", StringType()),
    StructField("nearest_id", StringType()),
    StructField("distance", DoubleType()),
    StructField("second_distance", DoubleType()),
    StructField("is_noise", BooleanType()),
    StructField("membership", ArrayType(DoubleType())),
)


def assign(rows: DataFrame, model: SegmentModel) -> DataFrame:
    """Return the rows without `features`, and where each user belongs: see `model.Assigned`.

    Adds segment_id, nearest_id, distance, second_distance, is_noise, and membership (NULL unless
    the model is a mixture). The numbers are those of `model.assign`, to the last bit.

    Args:
        rows: (user_id, features ARRAY<DOUBLE>, other columns, which are kept); also a stream.
        model: fitted on the same features.

    Raises:
        ContractError: on a worker, where a row has another number of features than the model.
    """
    kept = [field for field in rows.schema if field.name != "features"]
    schema = StructType([*kept, *_ADDED])
    names = [field.name for field in kept]
    return rows.select("features", *names).mapInArrow(_assigning(model, names), schema)


def feature_matrix(column: pa.Array, width: int) -> np.ndarray:
    """Return an Arrow column of ARRAY<DOUBLE> as a matrix (n, width); nulls become NaN.

    Raises:
        ContractError: an array is null or has another length.
    """
    values = column.flatten()  # not `values`, which ignores where a slice begins
    lengths = np.diff(np.asarray(column.offsets))
    if column.null_count or (lengths != width).any():
        raise ContractError(
            f"column 'features' holds arrays of {sorted(set(lengths.tolist()))[:3]} numbers and "
            f"{column.null_count} nulls where the segmentation's model has {width} features; "
            "compute the features that the model is pinned to"
        )
    flat = values.to_numpy(zero_copy_only=False)  # Arrow nulls become NaN
    return np.asarray(flat, dtype=float).reshape(len(lengths), width)


def list_array(matrix: np.ndarray) -> pa.ListArray:
    """Return the rows of a matrix (n, p), p > 0, as an Arrow column of ARRAY<DOUBLE>."""
    n, p = matrix.shape
    offsets = pa.array(np.arange(0, n * p + 1, p), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(matrix).ravel()))


def _assigning(
    model: SegmentModel, kept: list[str]
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    def add(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        width = len(model.preparation.features)
        for batch in batches:
            found = model.assign(feature_matrix(batch.column("features"), width))
            columns = {name: batch.column(name) for name in kept} | _arrays(found, model)
            yield pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    return add


def _arrays(found: Assigned, model: SegmentModel) -> dict[str, pa.Array]:
    if found.is_noise.any():
        segment, nearest = (
            pa.array(ids, pa.string()) for ids in (found.segment_ids, found.nearest_ids)
        )
    else:  # looked up by Arrow, which makes strings several times faster than from Python's
        nearest = pa.array(model.segment_ids, pa.string()).take(pa.array(found.labels))
        segment = nearest
    membership = pa.nulls(len(found.labels), pa.list_(pa.float64()))
    if found.membership is not None:
        membership = list_array(found.membership)
    return {
        "segment_id": segment,
        "nearest_id": nearest,
        "distance": pa.array(found.distance),
        "second_distance": pa.array(found.second_distance),
        "is_noise": pa.array(found.is_noise),
        "membership": membership,
    }
