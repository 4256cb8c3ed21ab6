"""DBSCAN over boxes on Spark against scikit-learn: seconds, memory, and that the labels agree.

    python tests/benchmarks/bench_dbscan.py --sizes 200000,1000000 --dimensions 2,3 --peer
    python tests/benchmarks/bench_dbscan.py --uniform --peer
    python tests/benchmarks/bench_dbscan.py --skew --sizes 1000000
    python tests/benchmarks/bench_dbscan.py --large
    python tests/benchmarks/bench_dbscan.py --cases 10000

The points are 20 round heaps with a tenth of noise around them, min_points is 10 and eps the knee
of their k-distances at the first size: a point then has about 50 neighbours in the plane and 100 in
space. It is made smaller with more points so that these numbers stay the same; with a fixed eps the
pairs of neighbours would grow with the square of the points.

--widen 2 doubles eps, which gives 4 and 8 times the neighbours. --uniform has points all over, and
an eps that gives them 20 neighbours: the least that connects them, and the best case for a list of
neighbours. --skew puts half of these into 1% of the volume and 10% of the users into one place.
--large runs 1, 4 and 10 million points without the peer and gives the growth relative to linear.
--cases runs small adversarial inputs in process and counts those that differ. Seconds are from
points in memory to every user's cluster; those to find the knee are given apart.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from math import gamma, pi
from pathlib import Path

import numpy as np
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.seeds import uniform
from rehearsal.segments.cluster.dbscan.cluster import dbscan
from rehearsal.segments.cluster.dbscan.epsilon import knee
from rehearsal.session import get_session
from rehearsal.settings import Spark

MIN_POINTS, NEIGHBOURS, MEGABYTE = 10, 20, 1024**2
PEER = """
import sys, time, resource, numpy as np
from sklearn.cluster import DBSCAN
points, eps = np.load(sys.argv[1]), float(sys.argv[2])
began, before = time.perf_counter(), time.process_time()
fitted = DBSCAN(eps=eps, min_samples=int(sys.argv[3]), n_jobs=2).fit(points)
seconds, cpu = time.perf_counter() - began, time.process_time() - before
core = np.zeros(len(points), bool)
core[fitted.core_sample_indices_] = True
np.save(sys.argv[4], np.column_stack([fitted.labels_, core]))
print(seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@dataclass(frozen=True)
class Task:
    n: int
    dimensions: int
    kind: str = "blobs"
    eps: float | None = None
    widen: float = 1.0


@dataclass(frozen=True)
class Run:
    eps: float
    seconds: float
    cpu: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="200000,1000000")
    parser.add_argument("--dimensions", default="2,3")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--uniform", dest="kind", action="store_const", const="uniform")
    parser.set_defaults(kind="blobs")
    parser.add_argument("--skew", dest="kind", action="store_const", const="skew")
    parser.add_argument("--widen", type=float, default=1.0)
    parser.add_argument("--cases", type=int)
    options = parser.parse_args()
    if options.cases:
        run_cases(options.cases)
        return
    spark = get_session(Spark(master="local[2]", driver_memory="4g"))
    # Workers start and the JVM warms up outside the measured runs.
    measure(spark, Task(200_000, 2))
    sizes = [1_000_000, 4_000_000, 10_000_000] if options.large else numbers(options.sizes)
    for dimensions in numbers(options.dimensions):
        first: tuple[int, Run] | None = None
        for n in sizes:
            eps = rescaled(*first, n, dimensions) if first else None
            peer = options.peer and not options.large
            run = compare(spark, Task(n, dimensions, options.kind, eps, options.widen), peer)
            first = first or (n, run)
            if n > first[0]:
                growth = run.seconds / first[1].seconds / (n / first[0])
                of_cpu = run.cpu / first[1].cpu / (n / first[0])
                print(f"    growth {growth:.2f} x linear from {first[0]:,} (CPU {of_cpu:.2f} x)")


def rescaled(n_first: int, run: Run, n: int, dimensions: int) -> float:
    """The eps that leaves a point as many neighbours among n points as it had among the first."""
    return float(run.eps * (n_first / n) ** (1 / dimensions))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def run_cases(count: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
    from test_dbscan_exact import equals_reference, make_case

    differ, boxes = 0, 0
    for seed in range(count):
        case = make_case(seed)
        boxes += case.plan.n_boxes
        differ += not equals_reference(case.points, case.min_points, case.plan)
    print(f"{count:,} cases in {boxes:,} boxes, {differ} differ from scikit-learn")


def compare(spark: SparkSession, task: Task, peer: bool) -> Run:
    ours, told, found = measure(spark, task, keep=peer)
    print(f"{task.n:,} points, {task.dimensions}-D, {task.kind}: {told}")
    show("rehearsal", ours)
    if peer:
        theirs, equal = measure_peer(ours.eps, *found)
        show("sklearn", theirs)
        print(
            f"    {theirs.seconds / ours.seconds:.1f} x faster, {theirs.cpu / ours.cpu:.1f} x less "
            f"CPU, {theirs.megabytes / ours.megabytes:.1f} x less memory in a worker, "
            f"labels equal: {'yes' if equal else 'NO'}"
        )
    return ours


def show(name: str, run: Run) -> None:
    cost = f"{run.seconds:7.1f} s {run.cpu:7.1f} CPU-s {run.megabytes:7.0f} MB at most"
    print(f"    {name:10s} {cost}", flush=True)


Found = tuple[np.ndarray, np.ndarray]


def measure(spark: SparkSession, task: Task, keep: bool = False) -> tuple[Run, str, Found]:
    """Time from points in memory to every row's cluster; keep points and labels for the peer."""
    users = spark.range(task.n, numPartitions=8).withColumnRenamed("id", "user_id")
    axes = [KINDS[task.kind](task.dimensions, axis) for axis in range(task.dimensions)]
    points = users.select("user_id", F.array(*axes).alias("point")).persist()
    points.count()
    began = time.perf_counter()
    eps = task.eps or task.widen * (
        knee(points, MIN_POINTS, seed=1).eps
        if task.kind == "blobs"
        else radius(task.n, task.dimensions)
    )
    looking = time.perf_counter() - began
    processes = Processes()
    began = time.perf_counter()
    found = dbscan(points, eps, MIN_POINTS)
    found.rows.write.format("noop").mode("overwrite").save()
    run = Run(eps, time.perf_counter() - began, *processes.stop())
    kept = rows_in_order(found.rows, task.dimensions) if keep else (np.zeros(0), np.zeros(0))
    told = (
        f"{found.n_clusters:,} clusters, {found.n_noise:,} noise; eps {eps:.4g} in {looking:.1f} s"
    )
    found.release()
    points.unpersist()
    return run, told, kept


def rows_in_order(rows: DataFrame, dimensions: int) -> Found:
    table = rows.orderBy("user_id").toArrow()
    points = table["point"].combine_chunks().flatten().to_numpy().reshape(-1, dimensions)
    return points, np.column_stack([table["cluster"].to_numpy(), table["core"].to_numpy()])


def uniform_axis(_dimensions: int, axis: int) -> Column:
    return uniform(100 + axis, "user_id")


def blobs_axis(dimensions: int, axis: int) -> Column:
    """Normal around one of 20 centres (Box and Muller 1958), but for a tenth of the users."""
    heap = F.floor(uniform(1, "user_id") * 20)
    centre = F.pmod(F.xxhash64(heap, F.lit(axis)), F.lit(1000)) / 1000
    radial = F.sqrt(-2 * F.log(1 - uniform(200 + axis, "user_id")))
    normal = radial * F.cos(2 * pi * uniform(300 + axis, "user_id"))
    noise = uniform(2, "user_id") < 0.1
    return F.when(noise, uniform_axis(dimensions, axis)).otherwise(centre + 0.02 * normal)


def skew_axis(dimensions: int, axis: int) -> Column:
    """Half of the users in 1% of the volume, and a tenth of them in one place."""
    place = uniform_axis(dimensions, axis)
    thick, same = uniform(1, "user_id") < 0.5, uniform(2, "user_id") < 0.1
    crowded = F.when(thick, 0.4 + 0.01 ** (1 / dimensions) * place).otherwise(place)
    return F.when(same, 0.7).otherwise(crowded)


KINDS = {"uniform": uniform_axis, "blobs": blobs_axis, "skew": skew_axis}


def radius(n: int, dimensions: int) -> float:
    ball = pi ** (dimensions / 2) / gamma(dimensions / 2 + 1)
    return float((NEIGHBOURS / (n * ball)) ** (1 / dimensions))


def measure_peer(eps: float, points: np.ndarray, labels: np.ndarray) -> tuple[Run, bool]:
    """Run scikit-learn in a process of its own, which shows what it takes at most."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder, "points.npy")), str(Path(folder, "labels.npy"))
        np.save(source, points)
        command = [sys.executable, "-c", PEER, source, repr(eps), str(MIN_POINTS), target]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode != 0:
            print(f"    sklearn    ended with code {told.returncode}: {told.stderr[-200:]}")
            return Run(eps, float("nan"), float("nan"), float("nan")), False
        run = Run(eps, *map(float, told.stdout.split()))
        return run, bool((np.load(target) == labels).all())


class Processes:
    """CPU seconds of this process and all below it, and the most memory one Python worker held."""

    def __init__(self) -> None:
        self._began, self._peak, self._running = cpu_seconds(), 0.0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        self._running = False
        self._thread.join()
        return cpu_seconds() - self._began, self._peak

    def _watch(self) -> None:
        while self._running:
            for process in below():
                try:
                    words = Path(f"/proc/{process}/cmdline").read_bytes()
                    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
                except OSError:  # it has ended meanwhile
                    continue
                if b"pyspark.daemon" in words:
                    self._peak = max(self._peak, pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE)
            time.sleep(0.05)


def below() -> list[int]:
    """This process and its descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                folder.joinpath("stat").read_text().rsplit(")")[-1].split()[1]
            )
        except OSError:
            continue
    found = [os.getpid()]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def cpu_seconds() -> float:
    ticks = 0
    for process in below():
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")")[-1].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
