"""Rows per second of the drift counts, against a bare scan with one groupBy, DuckDB and Polars.

    python tests/benchmarks/bench_drift_counts.py [--requests 10000000] [--segments 100]
        [--days 30] [--types 20] [--classes 10] [--peer-python PATH]

Two limits. The bare scan: Spark reads the same Parquet files, places requests in segments by a
join (which it broadcasts), and counts them by segment, day, and both models' classes: one of the
tables of counts alone, which tells nothing of users. By user: the same, first counted per user,
which is the one shuffle that clustering by user cannot do without, then over users: sums and
squares of what each user has. Rehearsal also counts the value's bins, marginals per request type,
sums, and products over each user, so that every score and its user-clustered error follow without
another pass.

`--peer-python` is the interpreter of an environment with duckdb and polars: they compute the joint
counts of value and class, and marginals and sums per request type, from the same files; they keep
no products over users. One day is also counted alone, as an incremental run does.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins, pin_bins
from rehearsal.drift.counts import drift_counts
from rehearsal.session import get_session
from rehearsal.settings import Drift, Spark

MEGA = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("requests", 10_000_000), ("segments", 100), ("days", 30), ("types", 20),
                        ("classes", 10), ("rounds", 2)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--folder", type=Path, help="keep the files here for the next run")
    options = parser.parse_args()
    spark = get_session(Spark(master="local[2]", driver_memory="4g"))
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "replays").exists():
            write(spark, folder, options)
        compare(spark, folder, options)


def compare(spark: SparkSession, folder: Path, options: argparse.Namespace) -> None:
    read = spark.read.format("delta")
    replays, segments = (read.load(str(folder / name)) for name in ("replays", "segments"))
    bins = pin_bins(replays.where("requested_at < '2026-03-03'"), Drift(), seed=1)
    day = replays.where("requested_at >= '2026-03-02' AND requested_at < '2026-03-03'")
    n, n_day = options.requests, day.count()
    work: dict[str, tuple[int, Callable[[], None]]] = {
        "bare scan, one groupBy": (n, lambda: noop(bare(replays, segments))),
        "the same by user": (n, lambda: noop(by_user(replays, segments))),
        "drift counts": (n, lambda: noop(counted(replays, segments, bins))),
        "drift counts, one day": (n_day, lambda: noop(counted(day, segments, bins))),
    }
    took = {}
    for name, (rows, action) in work.items():
        runs = [measured(action) for _ in range(options.rounds)]
        took[name], peaks = min(run[0] for run in runs), runs[-1][1]
        told = ", ".join(f"{who} {peak:,.0f} MB" for who, peak in peaks.items())
        print(f"{name:24} {took[name]:7.1f} s {rows / took[name] / MEGA:6.2f} M rows/s  {told}")
    for limit in ("bare scan, one groupBy", "the same by user"):
        print(f"drift counts take {took['drift counts'] / took[limit]:.2f} x {limit}")
    share = took["drift counts, one day"] / took["drift counts"]
    print(f"one day of {options.days} costs {share:.1%} of all of them")
    if options.peer_python:
        peers(folder, options, bins, took["drift counts"])


def write(spark: SparkSession, folder: Path, options: argparse.Namespace) -> None:
    """Write paired outputs (a value and classes) as Delta, day after day as a log grows."""
    n, days = options.requests, options.days
    users = n // 20

    def draw(salt: int, values: int) -> Column:
        return F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(values))

    def output(salt: int) -> Column:
        raw = [draw(salt + i, 1000) + 1 for i in range(options.classes)]
        total = sum(raw[1:], raw[0])
        return F.struct(
            F.array(*(one / total for one in raw)).alias("probabilities"),
            (draw(salt + 99, 100_000) / 100_000).alias("value"),
        )

    seconds = F.floor(F.col("id") * (days * 86_400 / n)).cast("int")
    rows = spark.range(n, numPartitions=max(n // 1_000_000, days)).select(
        F.col("id").cast("string").alias("request_id"),
        draw(1, users).cast("string").alias("user_id"),
        F.concat(F.lit("type "), draw(2, options.types).cast("string")).alias("request_type"),
        (F.lit("2026-03-02").cast("timestamp") + F.make_dt_interval(secs=seconds)).alias(
            "requested_at"
        ),
        output(100).alias("production"),
        output(300).alias("experimental"),
        F.array(*(F.lit(str(i)) for i in range(options.classes))).alias("classes"),
    )
    segment = F.pmod(F.xxhash64("id"), F.lit(options.segments)).cast("string")
    people = spark.range(users).select(
        F.col("id").cast("string").alias("user_id"),
        F.concat(F.lit("s"), segment).alias("segment_id"),
    )
    for name, frame in (("replays", rows), ("segments", people)):
        frame.write.format("delta").save(str(folder / name))


def bare(replays: DataFrame, segments: DataFrame) -> DataFrame:
    """Count by segment, day and both models' classes."""
    return replays.join(segments, "user_id").groupBy("segment_id", *keys()).count()


def by_user(replays: DataFrame, segments: DataFrame) -> DataFrame:
    """Count by segment, day and both models' classes, with the sum of users' squared counts."""
    own = replays.groupBy("user_id", *keys()).count()
    names = ("day", "production", "experimental")
    return (
        own.join(segments, "user_id")
        .groupBy("segment_id", *names)
        .agg(F.sum("count"), F.sum(F.col("count") * F.col("count")))
    )


def keys() -> list[Column]:
    """Return the day and both models' classes."""
    classes = [
        F.array_position(f"{side}.probabilities", F.array_max(f"{side}.probabilities")).alias(side)
        for side in ("production", "experimental")
    ]
    return [F.date_trunc("day", "requested_at").alias("day"), *classes]


def counted(replays: DataFrame, segments: DataFrame, bins: Bins) -> DataFrame:
    return drift_counts(replays, segments, bins, "day", [])


def noop(rows: DataFrame) -> None:
    rows.write.format("noop").mode("overwrite").save()


def measured(action: Callable[[], None]) -> tuple[float, dict[str, float]]:
    """Return seconds, and peak memory of the JVM and of the largest Python worker in MB."""
    peaks, done = {"JVM": 0.0, "largest worker": 0.0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            for one in psutil.Process().children(recursive=True):
                try:
                    who = "JVM" if one.name() == "java" else "largest worker"
                    peaks[who] = max(peaks[who], one.memory_info().rss / MEGA)
                except psutil.NoSuchProcess:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    action()
    took = time.perf_counter() - began
    done.set()
    watcher.join()
    return took, peaks


def peers(folder: Path, options: argparse.Namespace, bins: Bins, ours: float) -> None:
    edges = ",".join(map(str, bins.edges))
    for name in ("duckdb", "polars"):
        script = str(Path(__file__).with_name("peer_counts.py"))
        command = [str(options.peer_python), script, name, str(folder), edges]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{name}: failed: {run.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            continue
        seconds, megabytes = map(float, run.stdout.split()[-2:])
        print(
            f"{name:24} {seconds:7.1f} s {options.requests / seconds / MEGA:6.2f} M rows/s  "
            f"{megabytes:,.0f} MB; drift counts take {ours / seconds:.2f} x that"
        )


if __name__ == "__main__":
    main()
