"""DBSCAN of all users on Spark: the same clusters as scikit-learn's, whatever the partitioning.

Points go to boxes of space, each box with the points within 2 eps of it is solved by one task, and
the driver joins the boxes' clusters by the cells that their edges share. No point is shuffled
twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    IntegerType,
    StructField,
    StructType,
)

from rehearsal.errors import ContractError
from rehearsal.seeds import hash_order, uniform
from rehearsal.segments.cluster.dbscan.grid import LARGEST_COORDINATE_IN_EPS, cell_side
from rehearsal.segments.cluster.dbscan.merge import merge
from rehearsal.segments.cluster.dbscan.plan import Plan, make_plan, number_of_boxes
from rehearsal.segments.cluster.dbscan.scatter import salts
from rehearsal.segments.cluster.dbscan.worker import (
    number_stage,
    read_summary,
    scatter_stage,
    solve_stage,
)

_SAMPLE_ROWS = 100_000
_SPARK_DEFAULT_PARTITIONS = 200
_MOST_DOUBLINGS = 20  # of a cell's side: by then a cluster is in a few cells
# The sample shapes the boxes and never the result, so its seed is no one's to choose.
_SEED = 0


@dataclass(frozen=True)
class Clustering:
    """Clusters of all users.

    `rows` is (user_id, cluster INT, core BOOLEAN, point ARRAY<DOUBLE>): cluster is -1 for noise and
    else 0..n_clusters-1 in the order of each cluster's smallest core user_id. It is read off
    `solved`, which Spark keeps until `release`.
    """

    rows: DataFrame
    dimensions: int
    n_users: int
    n_clusters: int
    n_core: int
    n_noise: int
    solved: DataFrame

    def release(self) -> None:
        """Free what Spark keeps; `rows` would then be computed anew."""
        self.solved.unpersist()


def dbscan(
    points: DataFrame, eps: float, min_points: int, *, cells: int | None = None
) -> Clustering:
    """Return the clusters that scikit-learn's DBSCAN finds in the rows in user_id order.

    Two points are neighbours if the sum of their squared differences, axis after axis, is at most
    eps * eps in double precision. That is scikit-learn's rule in the trees it uses by default for
    more than 11 points of up to 15 coordinates; below and beyond, it rounds more coarsely.

    Args:
        points: (user_id STRING or LONG, point ARRAY<DOUBLE>), finite and of one length; read three
            times, so persist what is dear to compute.
        eps: radius of a neighbourhood.
        min_points: how many points, its own included, make a neighbourhood dense.
        cells: into how many boxes to part space; by the number of points if None.

    Raises:
        ContractError: eps or min_points out of range, no points, points of different lengths, or
            coordinates so large against eps that cells cannot tell them apart.
    """
    check_settings(eps, min_points)
    n_users, dimensions = _measure(points, eps)
    n_boxes = cells or number_of_boxes(n_users, dimensions, _partitions(points.sparkSession))
    plan = _plan(points, (n_users, dimensions), eps, min_points, n_boxes)
    numbers = salts(plan.n_boxes)
    scattered = points.select("user_id", "point").mapInArrow(
        scatter_stage(plan, numbers), "salt int, block binary"
    )
    # A salt's hash is the number of its partition, so every box has one to itself.
    by_box = scattered.repartition(plan.n_boxes, "salt")
    solve = solve_stage(plan, numbers, min_points)
    solved = by_box.mapInArrow(solve, "box int, block binary, summary binary").persist()
    # A row per box: its clusters, and the cells of its edge, as many as its surface has.
    told = solved.where(F.col("summary").isNotNull()).select("box", "summary").collect()
    merged = merge([read_summary(row["box"], row["summary"], dimensions) for row in told])
    blocks = solved.where(F.col("block").isNotNull()).select("box", "block")
    schema = _schema(points.schema["user_id"])
    return Clustering(
        rows=blocks.mapInArrow(number_stage(merged.clusters), schema),
        dimensions=dimensions,
        n_users=n_users,
        n_clusters=merged.n_clusters,
        n_core=merged.n_core,
        n_noise=merged.n_noise,
        solved=solved,
    )


@dataclass(frozen=True)
class Representatives:
    """Core points (m, d) that stand for the clusters numbered (m,), one for each occupied cell.

    `coarse` = cells had to be wider than eps allows, so that some core points are farther than eps
    from all of these.
    """

    points: np.ndarray
    clusters: np.ndarray
    coarse: bool


def representatives(
    clustering: Clustering, clusters: Sequence[int], eps: float, limit: int
) -> Representatives:
    """Return at most `limit` core points that stand for these clusters, at least one for each.

    One per occupied cell of side eps / sqrt(d), which is within eps of all core points there,
    chosen by a hash of the user id. Too many cells are joined by two along each axis until few
    enough are left: spread evenly, they tell a cluster's shape better than as many drawn.

    Raises:
        ContractError: more clusters than `limit`.
    """
    if len(clusters) > limit:
        raise ContractError(
            f"{len(clusters)} clusters cannot be told by {limit} points; raise "
            "segments.dbscan.eps or segments.dbscan.min_points, which leave fewer clusters"
        )
    side = cell_side(eps, clustering.dimensions)
    cell = F.transform("point", lambda value: F.floor(value / F.lit(side)))
    asked = F.col("core") & F.col("cluster").isin(list(clusters))
    core = clustering.rows.where(asked).withColumn("rank", hash_order(_SEED, "user_id"))
    # Numbers alone: points along with them would be sorted instead of hashed.
    first = F.min("rank").alias("rank")
    finest = core.groupBy("cluster", cell.alias("cell")).agg(first).persist()
    per_cell, doubled, n_cells = finest, 0, finest.count()
    while n_cells > limit and doubled < _MOST_DOUBLINGS:
        # Twice the side leaves 1 / 2 ** d of the cells at best.
        least = int(np.log2(n_cells / limit) / clustering.dimensions)
        doubled += max(least, 1)
        per_cell = finest.groupBy("cluster", _wider(doubled).alias("cell")).agg(first)
        n_cells = per_cell.count()
    few = per_cell.orderBy("rank", "cluster").limit(limit).select("cluster", "rank")
    chosen = few.union(finest.groupBy("cluster").agg(first)).distinct()
    # Bounded: at most `limit` points, and at most `limit` clusters with a point each.
    found = core.join(F.broadcast(chosen), ["cluster", "rank"]).toArrow().to_pandas()
    finest.unpersist()
    kept = _first(found, limit)
    points = np.array(kept["point"].tolist(), float).reshape(-1, clustering.dimensions)
    return Representatives(points, kept["cluster"].to_numpy(np.int32), coarse=doubled > 0)


def _first(found: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return the first user of each cluster, then the others by rank, `limit` in all."""
    ordered = found.sort_values(["rank", "user_id"]).drop_duplicates(["cluster", "rank"])
    leads = ~ordered.duplicated("cluster")
    return pd.concat([ordered[leads].sort_values("cluster"), ordered[~leads]]).head(limit)


def _wider(doubled: int) -> Column:
    """The cell whose side has been doubled so often."""
    return F.transform("cell", lambda number: F.shiftright(number, doubled))


def _partitions(spark: SparkSession) -> int:
    held = spark.conf.get("spark.sql.shuffle.partitions") or ""
    # Databricks allows "auto", and as many as there are by default is what it starts from.
    return int(held) if held.isdigit() else _SPARK_DEFAULT_PARTITIONS


def check_settings(eps: float, min_points: int) -> None:
    """Raise `ContractError` unless eps is a positive length and min_points a positive number."""
    if not (eps > 0 and 0 < eps * eps < np.inf):
        raise ContractError(
            f"segments.dbscan.eps is {eps}, which is no radius: set it above 0, or leave it out to "
            "have it read off the distances between users"
        )
    if min_points < 1:
        raise ContractError(
            f"segments.dbscan.min_points is {min_points}, must be 1 or more; twice the number of "
            "features is a common choice"
        )


def _measure(points: DataFrame, eps: float) -> tuple[int, int]:
    """Return how many points there are, and of how many coordinates."""
    size = F.size("point")
    largest = F.greatest(F.abs(F.array_max("point")), F.abs(F.array_min("point")))
    row = points.agg(F.count("*"), F.min(size), F.max(size), F.max(largest)).collect()[0]
    n_points, shortest, longest, far = row
    if n_points == 0:
        raise ContractError(
            "there are no users to segment; lower segments.min_history_requests or lengthen "
            "segments.history_days"
        )
    if shortest != longest or shortest < 1:
        raise ContractError(
            f"users' points have {shortest} to {longest} coordinates; give every user the same "
            "number, one at the least"
        )
    if far > eps * LARGEST_COORDINATE_IN_EPS:
        raise ContractError(
            f"segments.dbscan.eps is {eps} where a coordinate is as large as {far:g}, more than "
            f"{LARGEST_COORDINATE_IN_EPS:.0e} times eps; scale the features, or raise eps"
        )
    return n_points, shortest


def _plan(
    points: DataFrame, shape: tuple[int, int], eps: float, min_points: int, n_boxes: int
) -> Plan:
    n_points, dimensions = shape
    rate = min(1.0, _SAMPLE_ROWS / n_points)
    if n_boxes == 1:
        return make_plan(np.zeros((0, dimensions)), eps, min_points, 1 / rate, n_boxes)
    # About _SAMPLE_ROWS rows, whatever the number of users.
    sample = points.where(uniform(_SEED, "user_id") < rate).select("point").toArrow()
    values = sample["point"].combine_chunks().flatten().to_numpy().reshape(-1, dimensions)
    return make_plan(values, eps, min_points, 1 / rate, n_boxes)


def _schema(user_id: StructField) -> StructType:
    return StructType(
        [
            user_id,
            StructField("cluster", IntegerType()),
            StructField("core", BooleanType()),
            StructField("point", ArrayType(DoubleType())),
        ]
    )
