"""Seconds of daily activity and user features against one bare count of the same files.

    python tests/benchmarks/bench_features.py [--rows 10000000] [--users 500000] [--rounds 2]

The log is parquet files in --folder, written once per size: sessions of four requests ten minutes
apart, drawn over users and 90 days, 50 request types of unequal frequency, an amount. Seconds are
the best of --rounds; CPU seconds are those of the JVM, which other work on the machine disturbs
less.

    (a)  groupBy(day, user_id, request_type).count(), the least that could be counted
    (b)  daily_activity
    (c)  daily_activity -> user_features with every group and type, in one plan
"""

import argparse
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.segments.describe.activity import daily_activity
from rehearsal.segments.describe.features import choose_features, user_features
from rehearsal.segments.feature import Feature
from rehearsal.session import get_session
from rehearsal.settings import Segments, Spark

DAYS, PER_SESSION = 90, 4
START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=DAYS)
SETTINGS = Segments(value="amount")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--types", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", default="3g")
    parser.add_argument("--partitions", type=int, default=200)
    parser.add_argument("--folder", default=".rehearsal/bench")
    options = parser.parse_args()
    conf = {
        "spark.sql.shuffle.partitions": options.partitions,
        # As a run sets it (runtime.py).
        "spark.sql.codegen.hugeMethodLimit": 8000,
    }
    spark = get_session(Spark(master="local[2]", driver_memory=options.memory, conf=conf))
    log = written_log(spark, options)
    daily = daily_activity(log, "amount", None)
    features = chosen(daily.where(F.col("day") == START.date()))
    made = user_features(daily, None, features, SETTINGS, AS_OF)
    counts = log.groupBy(F.to_date("requested_at"), "user_id", "request_type").count()
    print(
        f"{options.rows:,} rows, {options.users:,} users, {len(features)} features, "
        f"{shuffles(made)} shuffle from log to features"
    )
    plans = {"(a) count": counts, "(b) daily": daily, "(c) features": made}
    base = None
    for name, plan in plans.items():
        seconds, cpu = best_of(spark, plan, options.rounds)
        base = base or (seconds, cpu)
        print(
            f"{name:14} {seconds:7.1f} s {options.rows / seconds / 1e6:6.2f} M rows/s  "
            f"{seconds / base[0]:5.2f} x (a);  {cpu:7.1f} CPU-s, {cpu / base[1]:5.2f} x (a)",
            flush=True,
        )
    print(f"peak memory of the JVM {peak_gib(spark):.1f} GiB, heap {options.memory}")


def written_log(spark: SparkSession, options: argparse.Namespace) -> DataFrame:
    """The request log of this size, from its folder."""
    name = f"log-{options.rows}-{options.users}-{options.types}"
    path = Path(options.folder).resolve() / name
    if not (path / "_SUCCESS").exists():
        request_log(spark, options.rows, options.users, options.types).write.parquet(str(path))
    return spark.read.parquet(str(path))


def request_log(spark: SparkSession, rows: int, users: int, types: int) -> DataFrame:
    session, turn = F.floor(F.col("id") / PER_SESSION), F.col("id") % PER_SESSION

    def draw(key: Column, salt: int) -> Column:
        return F.pmod(F.xxhash64(key, F.lit(salt)), F.lit(1 << 30)) / (1 << 30)

    def whole(number: Column) -> Column:
        return F.floor(number).cast("string")

    begun = F.floor(draw(session, 2) * DAYS) * 86_400 + F.floor(draw(session, 3) * 80_000)
    return spark.range(rows, numPartitions=max(4, rows // 5_000_000)).select(
        F.concat(F.lit("u"), whole(draw(session, 1) * users)).alias("user_id"),
        F.concat(F.lit("type "), whole(F.pow(draw(F.col("id"), 4), 3) * types)).alias(
            "request_type"
        ),
        F.timestamp_seconds(F.lit(int(START.timestamp())) + begun + turn * 600).alias(
            "requested_at"
        ),
        F.round(draw(F.col("id"), 5) * 100, 2).alias("amount"),
    )


def chosen(activity: DataFrame) -> tuple[Feature, ...]:
    """Features of every type there is, from one day's activity."""
    return choose_features(activity, None, None, SETTINGS, AS_OF)


def best_of(spark: SparkSession, plan: DataFrame, rounds: int) -> tuple[float, float]:
    """Best seconds and best CPU seconds of a plan whose rows are made and dropped."""
    taken = []
    for _ in range(rounds):
        began, used = time.perf_counter(), cpu_seconds(spark)
        plan.write.format("noop").mode("overwrite").save()
        taken.append((time.perf_counter() - began, cpu_seconds(spark) - used))
    return min(s for s, _ in taken), min(c for _, c in taken)


def cpu_seconds(spark: SparkSession) -> float:
    """CPU time of the JVM so far, its own and the kernel's for it."""
    ticks = proc(spark, "stat").rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def peak_gib(spark: SparkSession) -> float:
    """Most memory the JVM ever held, heap and all else."""
    return int(proc(spark, "status").split("VmHWM:")[1].split()[0]) / 2**20


def proc(spark: SparkSession, name: str) -> str:
    pid = spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid()  # noqa: SLF001
    return Path(f"/proc/{pid}/{name}").read_text()


def shuffles(plan: DataFrame) -> int:
    return str(plan._jdf.queryExecution().executedPlan()).count("Exchange hash")  # noqa: SLF001


if __name__ == "__main__":
    main()
