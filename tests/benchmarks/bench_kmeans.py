"""Seconds and cost of the segmentation's k-means against MLlib's own on all users.

    python tests/benchmarks/bench_kmeans.py [--users 1000000] [--k 12]

Both fit the same k on the same prepared points; ours on a hash sample, then one assignment pass.
"""

import argparse
import time

from pyspark.ml.clustering import KMeans
from pyspark.sql import functions as F

from rehearsal.segments.features import Feature
from rehearsal.segments.kmeans import assign, fit_kmeans
from rehearsal.session import get_session
from rehearsal.settings import KMeansSegments, Spark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=12)
    options = parser.parse_args()
    spark = get_session(Spark(master="local[2]", driver_memory="4g"))
    n_features = 8
    group = F.pmod(F.xxhash64("id", F.lit(9)), F.lit(options.k))
    values = [
        F.pmod(F.xxhash64(group, F.lit(i)), F.lit(100)) / 20 + F.randn(i) for i in range(n_features)
    ]
    rows = spark.range(options.users, numPartitions=8).select(
        F.col("id").cast("string").alias("user_id"), F.array(*values).alias("features")
    )
    rows = rows.persist()
    rows.count()
    features = tuple(Feature(f"f{i}", "profile") for i in range(n_features))
    settings = KMeansSegments(k_min=options.k, k_max=options.k)

    began = time.perf_counter()
    fit = fit_kmeans(rows, features, settings, seed=1)
    assigned = assign(rows, fit)
    ours_cost = assigned.agg(F.sum(F.col("distance") ** 2)).collect()[0][0]
    ours = time.perf_counter() - began

    points = fit.pipeline.transform(rows).select("point").persist()
    points.count()
    began = time.perf_counter()
    model = KMeans(featuresCol="point", k=options.k, seed=1, maxIter=settings.max_iterations).fit(
        points
    )
    theirs = time.perf_counter() - began
    cost = model.summary.trainingCost
    print(f"rehearsal      {ours:6.1f} s  cost {ours_cost:,.0f}  (sample fit, all assigned)")
    print(f"MLlib default  {theirs:6.1f} s  cost {cost:,.0f}  (fit alone)")
    print(f"ratio          {theirs / ours:6.2f} x faster, cost {ours_cost / cost:.3f} of MLlib's")


if __name__ == "__main__":
    main()
