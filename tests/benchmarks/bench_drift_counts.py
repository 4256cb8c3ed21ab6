"""Rows per second of the drift counts against a bare scan of the same columns.

    python tests/benchmarks/bench_drift_counts.py [--requests 4000000] [--segments 200]

The limit is a scan that reads the columns and does nothing else; the ratio is what counting,
binning and the join with segments cost beside it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.drift.bins import pin_bins
from rehearsal.drift.counts import drift_counts
from rehearsal.session import get_session
from rehearsal.settings import Drift, Spark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4_000_000)
    parser.add_argument("--segments", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    spark = get_session(Spark(master="local[2]"))
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    with tempfile.TemporaryDirectory() as folder:
        replays, segments = write(spark, folder, options.requests, options.segments)
        bins = pin_bins(replays, Drift(), seed=1)
        counted = drift_counts(replays, segments, bins, "week", [])
        counted.explain()
        scans = [timed(lambda: noop(scan(replays))) for _ in range(options.rounds)]
        counts = [timed(lambda: noop(counted)) for _ in range(options.rounds)]
    scan_s, counts_s = min(scans[1:] or scans), min(counts[1:] or counts)
    print(f"bare scan     {options.requests / scan_s / 1e6:6.2f} M rows/s  ({scan_s:.1f} s)")
    print(f"drift counts  {options.requests / counts_s / 1e6:6.2f} M rows/s  ({counts_s:.1f} s)")
    print(f"ratio         {counts_s / scan_s:6.1f} x the time of the scan")


def write(spark: SparkSession, folder: str, n: int, k: int) -> tuple[DataFrame, DataFrame]:
    """Write n paired outputs (a score and ten classes) of n / 20 users as Delta; read them back."""

    def draw(salt: int) -> Column:
        return F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(100_000)) / 100_000

    def output(salt: int) -> Column:
        classes = [F.pmod(F.xxhash64("id", F.lit(salt + i)), F.lit(1000)) / 1000 for i in range(10)]
        return F.struct(F.array(*classes).alias("probabilities"), draw(salt).alias("value"))

    days = F.make_dt_interval(days=(F.col("id") % 28).cast("int"))
    rows = spark.range(n, numPartitions=8).select(
        F.col("id").cast("string").alias("request_id"),
        (F.col("id") % (n // 20)).cast("string").alias("user_id"),
        F.concat(F.lit("type "), (F.col("id") % 10).cast("string")).alias("request_type"),
        (F.lit("2026-03-02").cast("timestamp") + days).alias("requested_at"),
        output(100).alias("production"),
        output(200).alias("experimental"),
        F.create_map()
        .cast("map<string,struct<production:double,experimental:double>>")
        .alias("kpis"),
        F.array(*(F.lit(str(i)) for i in range(10))).alias("classes"),
    )
    users = spark.range(n // 20).select(
        F.col("id").cast("string").alias("user_id"),
        F.concat(F.lit("s"), F.pmod(F.xxhash64("id"), F.lit(k)).cast("string")).alias("segment_id"),
    )
    for name, frame in (("replays", rows), ("segments", users)):
        frame.write.format("delta").save(str(Path(folder) / name))
    read = spark.read.format("delta")
    return read.load(f"{folder}/replays"), read.load(f"{folder}/segments")


def scan(replays: DataFrame) -> DataFrame:
    """The columns the counts need, read and dropped."""
    return replays.select("user_id", "request_type", "requested_at", "production", "experimental")


def noop(rows: DataFrame) -> None:
    rows.write.format("noop").mode("overwrite").save()


def timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
