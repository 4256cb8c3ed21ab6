"""All users against a model, from one pass whose sums do not depend on order or partitions.

Every number is added as a whole number of fixed small units: integers add exactly in any order,
where doubles would round by it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.segments.assign import feature_matrix
from rehearsal.segments.cluster.centres import gaps
from rehearsal.segments.model import Assigned, SegmentModel

_STEPS = float(1 << 30)  # units in the largest value: billions of users fit into 64 bits
_COUNT, _COST, _GAP, _FAR, _SUMS = 0, 1, 2, 3, 4
# Squared distances in bins of 1/32 octave, by the leading bits of the double, 2^-24 .. 2^24.
_BIN_SHIFT, _LOWEST, _BINS = 47, 1023 - 24, 48 * 32
_FAR_QUANTILE = 0.99


@dataclass(frozen=True, eq=False)
class Measured:
    """All users against a model, by segment in the order of `model.segments`.

    Attributes:
        n_users: users measured.
        counts: users of each segment, shape (k,).
        means: mean point of each segment's users, shape (k, p); NaN where there are none.
        cost: mean squared distance to the nearest centre.
        silhouette: simplified silhouette (see `centres.Panel`), 0 with a single segment.
        far_share: share of users farther out than the model's `far` of their segment, 0..1.
        far: distance within which 99% of a segment's users are, shape (k,), rounded up by at most
            1.1%; 0 where there are none.
    """

    n_users: int
    counts: np.ndarray
    means: np.ndarray
    cost: float
    silhouette: float
    far_share: float
    far: np.ndarray


def measure(rows: DataFrame, model: SegmentModel) -> Measured:
    """Return all users' distances to a model, summed up; one Arrow pass over (features).

    Raises:
        ContractError: on a worker, where a row has another number of features than the model.
    """
    partial = rows.select("features").mapInArrow(_adding_up(model), "key bigint, value bigint")
    # Bounded by segments x (features + bins of the distance).
    summed = partial.groupBy("key").agg(F.sum("value").alias("value")).toPandas()
    k, width = len(model.segments), _width(model)
    totals = np.zeros(k * width, np.int64)
    totals[summed["key"].to_numpy()] = summed["value"].to_numpy()
    return _measured(totals.reshape(k, width), model)


def _width(model: SegmentModel) -> int:
    return _SUMS + model.preparation.width + _BINS


def _units(model: SegmentModel) -> tuple[np.ndarray, float]:
    """Return the unit of each of a point's numbers, and of squared distances: powers of two."""
    reach = np.maximum(model.preparation.reach, np.abs(model.centres).max(axis=0))
    return _unit(reach), float(_unit(4.0 * np.array([(reach * reach).sum()]))[0])


def _unit(largest: np.ndarray) -> np.ndarray:
    units: np.ndarray = np.exp2(np.ceil(np.log2(np.maximum(largest, 1e-6)))) / _STEPS
    return units


def _adding_up(
    model: SegmentModel,
) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    def add_up(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        totals = np.zeros((len(model.segments), _width(model)), np.int64)
        for batch in batches:
            raw = feature_matrix(batch.column("features"), len(model.preparation.features))
            points = model.preparation.apply(raw)
            _add(totals, model, points, model.assign_points(points))
        keys = np.flatnonzero(totals)
        yield pa.RecordBatch.from_arrays(
            [pa.array(keys), pa.array(totals.ravel()[keys])], names=["key", "value"]
        )

    return add_up


def _add(totals: np.ndarray, model: SegmentModel, points: np.ndarray, found: Assigned) -> None:
    k, p = len(model.segments), points.shape[1]
    position = {segment: i for i, segment in enumerate(model.segments)}
    owner = np.array([position[segment] for segment in model.segment_ids])[found.labels]

    def summed(values: np.ndarray | None = None) -> np.ndarray:
        # Whole numbers below 2^53 in all, so that the sum of doubles is exact.
        return np.bincount(owner, weights=values, minlength=k).astype(np.int64)

    unit, squared_unit = _units(model)
    squared, rival = found.distance**2, found.second_distance**2
    far = np.array([model.far.get(segment, np.inf) for segment in model.segments])
    totals[:, _COUNT] += summed()
    totals[:, _COST] += summed(np.rint(squared / squared_unit))
    totals[:, _GAP] += summed(np.rint(gaps(squared, rival) * _STEPS))
    totals[:, _FAR] += summed((found.distance > far[owner]).astype(float))
    for i in range(p):
        totals[:, _SUMS + i] += summed(np.rint(points[:, i] / unit[i]))
    bins = (squared.view(np.int64) >> _BIN_SHIFT) - (_LOWEST << (52 - _BIN_SHIFT))
    np.clip(bins, 0, _BINS - 1, out=bins)
    counts = np.bincount(owner * _BINS + bins, minlength=k * _BINS)
    totals[:, _SUMS + p :] += counts.reshape(k, _BINS)


def _measured(totals: np.ndarray, model: SegmentModel) -> Measured:
    unit, squared_unit = _units(model)
    counts, p = totals[:, _COUNT], model.preparation.width
    n = int(counts.sum())
    # Python's integers, since so many units may pass 2^63 in all.
    cost, gap, far = (int(sum(totals[:, i].tolist())) for i in (_COST, _GAP, _FAR))
    lone = len(model.segments) == 1
    with np.errstate(invalid="ignore"):
        means = totals[:, _SUMS : _SUMS + p] / counts[:, None] * unit
    return Measured(
        n_users=n,
        counts=counts,
        means=means,
        cost=cost / n * squared_unit if n else float("nan"),
        silhouette=0.0 if lone else gap / n / _STEPS if n else float("nan"),
        far_share=far / n if n else float("nan"),
        far=_far(totals[:, _SUMS + p :]),
    )


def _far(bins: np.ndarray) -> np.ndarray:
    """Return the upper edge of the bin that holds the 99th percentile, as a distance.

    Inside the bin many users may share one distance, so anything lower could leave all of them
    beyond it.
    """
    cumulated = np.cumsum(bins, axis=1)
    n = cumulated[:, -1:]
    index = (cumulated < _FAR_QUANTILE * n).sum(axis=1)
    upper = (index + 1 + (_LOWEST << (52 - _BIN_SHIFT))) << _BIN_SHIFT
    distance: np.ndarray = np.sqrt(upper.astype(np.int64).view(np.float64))
    return np.where((n[:, 0] == 0) | (index == 0), 0.0, distance)
