"""k-means of all users, end to end, against MLlib and scikit-learn in the same run.

    python tests/benchmarks/bench_kmeans.py --users 1000000,4000000 --k 20 --seeds 10
    python tests/benchmarks/bench_kmeans.py --users 16000000 --ours-only --seeds 1

Planted groups of unequal size and width in 8 features lie in a parquet table (user_id, features).
Each contender reads it, scales, fits k centres, and assigns every user (to nowhere). Costs are
mean squared distances of all users in one and the same scaling. `--seeds` says how much worse than
the best known cost the worst of so many of our fits is.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pyspark.ml import Pipeline
from pyspark.ml.clustering import KMeans
from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn import cluster

from rehearsal.segments.assign import assign, feature_matrix
from rehearsal.segments.cluster.fit import Fit, fit_model
from rehearsal.segments.cluster.measure import measure
from rehearsal.segments.feature import Feature
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.pipeline import prepared
from rehearsal.segments.preparation import Preparation
from rehearsal.session import get_session
from rehearsal.settings import Segments, Spark

WIDTH = 8
FEATURES = tuple(Feature(f"f{i}", "profile") for i in range(WIDTH))
# Splits that make a multiple of the cores, for all contenders alike.
CONF: dict[str, str | int | bool] = {"spark.sql.files.maxPartitionBytes": "32m"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", default="1000000,4000000")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--ours-only", action="store_true")
    options = parser.parse_args()
    spark = get_session(Spark(master="local[2]", driver_memory="4g", conf=CONF))
    sizes = [int(n) for n in options.users.split(",")]
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        warm_up = Bench(spark, write(spark, f"{folder}/warm", 200_000, options.k), options.k)
        for contender in contenders(warm_up, options.ours_only).values():
            contender()
        for n in sizes:
            bench = Bench(spark, write(spark, f"{folder}/{n}", n, options.k), options.k)
            seconds[n] = bench.compare(n, options.ours_only)
            bench.vary(options.seeds)
    for few, many in pairwise(sizes):
        growth = seconds[many] / seconds[few] / (many / few)
        print(f"growth {few:,} -> {many:,} users: {growth:.2f} x linear")


def write(spark: SparkSession, path: str, n: int, k: int) -> str:
    """Write n users of k planted groups; where a group lies depends on its number alone."""
    random = np.random.default_rng(7)
    limits = np.cumsum(random.dirichlet(np.full(k, 1.0)))[:-1]
    middles, widths = random.normal(size=(k, WIDTH)) * 2.0, random.uniform(0.5, 1.5, k)
    draw = F.pmod(F.xxhash64("id"), F.lit(1_000_003)) / 1_000_003
    group = sum((F.when(draw >= float(x), 1).otherwise(0) for x in limits), F.lit(0))

    def of_group(values: np.ndarray) -> Column:
        return F.element_at(F.array(*(F.lit(float(x)) for x in values)), group + 1)

    features = [of_group(middles[:, i]) + of_group(widths) * F.randn(i) for i in range(WIDTH)]
    spark.range(n, numPartitions=8).select(
        F.col("id").cast("string").alias("user_id"), F.array(*features).alias("features")
    ).write.parquet(path)
    return path


class Bench:
    """One table of users, the scaling all are judged in, and what was found so far."""

    def __init__(self, spark: SparkSession, path: str, k: int) -> None:
        self.spark, self.path, self.k = spark, path, k
        self.settings = Segments(k_min=k, k_max=k)
        self.space: Preparation = self.fit(1).model.preparation
        self.best = np.inf

    @property
    def rows(self) -> DataFrame:
        return self.spark.read.parquet(self.path)

    def fit(self, seed: int, rows: DataFrame | None = None) -> Fit:
        return fit_model(self.rows if rows is None else rows, FEATURES, self.settings, seed)

    def cost(self, centres: np.ndarray) -> float:
        """Mean squared distance of all users to centres in the common scaling."""
        ids = tuple(f"s{i}" for i in range(len(centres)))
        found = measure(
            self.rows, SegmentModel("kmeans", self.space, centres, ids, len(ids) + 1, 1)
        ).cost
        self.best = min(self.best, found)
        return found

    def carried(self, model: SegmentModel) -> np.ndarray:
        """A model's centres in the common scaling."""
        own, common = model.preparation, self.space
        raw = model.centres / own.weights * own.scale + own.centre
        return (raw - common.centre) / common.scale * common.weights

    def compare(self, n: int, ours_only: bool) -> float:
        print(f"\n{n:,} users, {WIDTH} features, k = {self.k}")
        results = {}
        for name, contender in contenders(self, ours_only).items():
            began = time.perf_counter()
            centres = contender()
            results[name] = (time.perf_counter() - began, centres)
        ours = results["ours"][0]
        costs = {name: self.cost(centres) for name, (_, centres) in results.items()}
        for name, (seconds, _) in results.items():
            print(
                f"{name:24s} {seconds:7.1f} s  {seconds / ours:5.2f} x ours   "
                f"cost {costs[name]:.5f}  {costs[name] / costs['ours']:.4f} x ours"
            )
        return ours

    def vary(self, seeds: int) -> None:
        costs = [self.cost(self.carried(self.fit(seed).model)) for seed in range(seeds)]
        worst = max(costs) / self.best - 1
        print(f"worst of {seeds} seeds: {worst:.2%} over the best known cost {self.best:.5f}")
        models = {self.fit(1, self.rows.repartition(parts)).model.to_json() for parts in (1, 7)} | {
            self.fit(1).model.to_json()
        }
        print(f"same model, so same labels, on 1, 7 and all partitions: {len(models) == 1}")


def contenders(bench: Bench, ours_only: bool) -> dict[str, Callable[[], np.ndarray]]:
    """Each: read, scale, fit, assign all; return the centres in the common scaling."""
    found: dict[str, Callable[[], np.ndarray]] = {"ours": lambda: ours(bench)}
    if ours_only:
        return found
    return found | {
        "MLlib, its defaults": lambda: mllib_defaults(bench),
        "MLlib, tuned": lambda: mllib_tuned(bench),
        "sklearn KMeans": lambda: in_memory(
            bench, cluster.KMeans(bench.k, n_init=1, random_state=1)
        ),
        "sklearn MiniBatchKMeans": lambda: in_memory(
            bench, cluster.MiniBatchKMeans(bench.k, n_init=3, random_state=1)
        ),
    }


def ours(bench: Bench) -> np.ndarray:
    began = time.perf_counter()
    model = bench.fit(1).model
    fitted = time.perf_counter()
    noop(assign(bench.rows, model))
    print(f"ours: fit {fitted - began:.1f} s, assign {time.perf_counter() - fitted:.1f} s")
    return bench.carried(model)


def mllib_defaults(bench: Bench) -> np.ndarray:
    columns = [F.col("features")[i].alias(f"f{i}") for i in range(WIDTH)]
    rows = bench.rows.select("user_id", *columns)
    stages = [
        VectorAssembler(inputCols=[f"f{i}" for i in range(WIDTH)], outputCol="raw"),
        StandardScaler(inputCol="raw", outputCol="features"),
        KMeans(k=bench.k, seed=1),
    ]
    fitted = Pipeline(stages=stages).fit(rows)
    noop(fitted.transform(rows).select("user_id", "prediction"))
    raw = fitted.stages[-1].clusterCenters() * np.array(fitted.stages[1].std)
    return (raw - bench.space.centre) / bench.space.scale * bench.space.weights


def mllib_tuned(bench: Bench) -> np.ndarray:
    points = prepared(bench.rows, bench.space).select("user_id", "point").coalesce(8).persist()
    kmeans = KMeans(featuresCol="point", k=bench.k, seed=1, solver="block", maxBlockSizeInMB=0.1)
    fitted = kmeans.fit(points)
    noop(fitted.transform(points).select("user_id", "prediction"))
    points.unpersist()
    return np.array(fitted.clusterCenters())


def in_memory(bench: Bench, model: cluster.KMeans | cluster.MiniBatchKMeans) -> np.ndarray:
    table = pq.read_table(Path(bench.path))
    raw = feature_matrix(table["features"].combine_chunks(), WIDTH)
    points = np.ascontiguousarray(bench.space.apply(raw))
    model.fit(points).predict(points)
    return np.asarray(model.cluster_centers_)


def noop(rows: DataFrame) -> None:
    rows.write.format("noop").mode("overwrite").save()


if __name__ == "__main__":
    main()
