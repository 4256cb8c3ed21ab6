"""A radius for DBSCAN read off the data: the knee of the sorted k-distances."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import ContractError
from rehearsal.seeds import derive_seed, hash_order
from rehearsal.segments.cluster.dbscan.worker import Batches, Stage, forget_zip_finders

_ROWS_PER_TREE = 100_000
_PLOTTED = 200


@dataclass(frozen=True)
class Knee:
    """A radius, and the curve it was read off.

    `shares` and `distances`, at most 200 points of a curve that rises: this share of the users
    have their min_points-th nearest user, themselves counted, within this distance.
    """

    eps: float
    shares: tuple[float, ...]
    distances: tuple[float, ...]


def knee(points: DataFrame, min_points: int, seed: int, n_queries: int = 2000) -> Knee:
    """Return the radius at the knee of the exact k-distances of a sample of users.

    Args:
        points: (user_id, point ARRAY<DOUBLE>), finite and of one length; read twice.
        min_points: k; the user itself is the first of its own neighbours.
        seed: with the user ids, all that the sample depends on.
        n_queries: how many users to sample.

    Raises:
        ContractError: fewer users than min_points, or every sampled user has min_points - 1
            others at no distance.
    """
    order = hash_order(derive_seed(seed, "eps sample"), "user_id")
    # Bounded by n_queries.
    sample = points.orderBy(order, "user_id").limit(n_queries).select("point").toArrow()
    queries = np.array(sample["point"].to_pylist(), float)
    found = points.select("point").mapInArrow(
        _nearest_stage(queries, min_points), "query int, nearest array<double>"
    )
    nearest = F.sort_array(F.flatten(F.collect_list("nearest")))
    kth = found.groupBy("query").agg(F.get(nearest, F.lit(min_points - 1)).alias("distance"))
    distances = kth.select("distance").toArrow()["distance"]
    if len(distances) == 0 or distances.null_count:
        raise ContractError(
            f"there are fewer users than segments.dbscan.min_points={min_points}; lower it, or "
            "segment more users"
        )
    return knee_of(np.sort(distances.to_numpy()))


def knee_of(distances: np.ndarray) -> Knee:
    """Return the knee of a curve of k-distances, sorted, shape (n,).

    It is where the curve is farthest below the chord between its ends, both axes scaled to [0, 1]
    (Satopaa et al. 2011, section III, without their smoothing). Distances of 0 are left out, for
    they tell of equal users and not of a scale. Where the curve is flat, its one value is the knee.

    Raises:
        ContractError: all distances are 0.
    """
    curve = distances[distances > 0]
    if len(curve) == 0:
        raise ContractError(
            "no radius can be read off the distances between users: all sampled users have "
            "segments.dbscan.min_points users at the very same place; add features that tell "
            "users apart, raise segments.dbscan.min_points, or set segments.dbscan.eps"
        )
    heights = curve - curve[0]
    rise = np.linspace(0, 1, len(curve)) - heights / (heights[-1] or 1.0)
    # Along a straight or flat curve the last point is as good as any, and leaves the least noise.
    eps = curve[rise.argmax()] if rise.max() > 0 and heights[-1] > 0 else curve[-1]
    shown = np.unique(np.linspace(0, len(distances) - 1, _PLOTTED).round().astype(int))
    shares = (shown + 1) / len(distances)
    return Knee(float(eps), tuple(shares.tolist()), tuple(distances[shown].tolist()))


def nearest_distances(parts: Iterable[np.ndarray], queries: np.ndarray, count: int) -> np.ndarray:
    """Return each query's `count` smallest distances to all points of all parts, ascending.

    Args:
        parts: points, each of shape (n, d).
        queries: shape (q, d).
        count: how many distances; infinite where there are fewer points.
    """
    from scipy.spatial import cKDTree

    best = np.full((len(queries), count), np.inf)
    for points in parts:
        tree = cKDTree(points, balanced_tree=False)
        found, _ = tree.query(queries, k=np.arange(1, count + 1), distance_upper_bound=best.max())
        best = np.sort(np.concatenate([best, found], axis=1), axis=1)[:, :count]
    return best


def _nearest_stage(queries: np.ndarray, count: int) -> Stage:
    def run(batches: Batches) -> Iterator[pa.RecordBatch]:
        forget_zip_finders()
        best = nearest_distances(_parts(batches, queries.shape[1]), queries, count)
        rows = [row[np.isfinite(row)] for row in best]
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(np.arange(len(rows), dtype=np.int32)),
                pa.array(rows, pa.list_(pa.float64())),
            ],
            ["query", "nearest"],
        )

    return run


def _parts(batches: Batches, dimensions: int) -> Iterator[np.ndarray]:
    """Yield points in parts large enough for a tree to pay."""
    held: list[np.ndarray] = []
    for batch in batches:
        values = batch.column(0).flatten().to_numpy(zero_copy_only=False)
        held.append(values.reshape(-1, dimensions))
        if sum(map(len, held)) >= _ROWS_PER_TREE:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)
