"""The trainings of a step as Spark tasks: one for all segments, one per bin of segments."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyspark import TaskContext
from pyspark.resource import (
    ExecutorResourceRequests,
    ResourceProfile,
    ResourceProfileBuilder,
    TaskResourceRequests,
)
from pyspark.sql import DataFrame, SparkSession

from rehearsal.generate.training.child import reason_of
from rehearsal.generate.training.pack import pack, unpack
from rehearsal.generate.training.stage import TRAINING, VALIDATION, Snapshot
from rehearsal.generate.training.task import Bin, Task, train_all, train_bin

_VISIBLE = "CUDA_VISIBLE_DEVICES"
Worker = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def train_generator(
    spark: SparkSession, task: Task, snapshot: Snapshot, key: str
) -> dict[str, Any]:
    """Train the generator of all segments; return its fields, or status 'failed' and the reason.

    One task, or `processes` tasks at once; which of the two depends on the settings alone.
    """
    parts = snapshot.whole(TRAINING), snapshot.whole(VALIDATION)
    if task.settings.processes > 1 and task.kind != "mixture":
        from rehearsal.generate.training.distribute import fit_distributed

        return fit_distributed(spark, task, *parts, key)

    def train(_: int) -> dict[str, Any]:
        return train_all(task, *parts, key)

    return _run(spark, [train])[0]


def train_adapters(
    spark: SparkSession, task: Task, base: bytes, bins: Sequence[Bin]
) -> list[dict[str, Any]]:
    """Train what the segments of every bin add, a task per bin; return one row per segment.

    The weights come to the driver: there are at most `max_segments`, of some tens of kB each.
    """
    found = _run(spark, [_trainer(task, base, held) for held in bins])
    return [
        row
        for held, one in zip(bins, found, strict=True)
        for row in one.get("rows") or [{"position": place, **one} for place in held.segments]
    ]


def _trainer(task: Task, base: bytes, held: Bin) -> Callable[[int], dict[str, Any]]:
    def train(_: int) -> dict[str, Any]:
        return {"rows": train_bin(task, base, held)}

    return train


def _run(
    spark: SparkSession, trainings: Sequence[Callable[[int], dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Run each training in a task of its own; return their results in order."""
    tasks = spark.range(0, len(trainings), 1, numPartitions=len(trainings))
    made = _on_gpus(tasks, _worker(trainings))
    rows = {row["number"]: unpack(bytes(row["result"])) for row in made.collect()}
    return [rows[number] for number in range(len(trainings))]


def _worker(trainings: Sequence[Callable[[int], dict[str, Any]]]) -> Worker:
    schema = pa.schema([("number", pa.int64()), ("result", pa.binary())])

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                with _only_its_gpu():
                    result = pack(_outcome(trainings[number], number))
                yield pa.RecordBatch.from_pylist([{"number": number, "result": result}], schema)

    return work


@contextmanager
def _only_its_gpu() -> Iterator[None]:
    """Show the training no other GPU than the one Spark gives its task, if it gives one.

    Spark only counts them: every process on a machine sees them all, and takes the first.
    """
    context = TaskContext.get()
    held = context.resources().get("gpu") if context is not None else None
    before = os.environ.get(_VISIBLE)
    try:
        if held is not None:
            os.environ[_VISIBLE] = ",".join(held.addresses)
        yield
    finally:
        # The process may serve other tasks.
        os.environ.pop(_VISIBLE, None)
        if before is not None:
            os.environ[_VISIBLE] = before


def _outcome(training: Callable[[int], dict[str, Any]], number: int) -> dict[str, Any]:
    try:
        return training(number)
    except Exception as error:  # noqa: BLE001  one training must not take the others down
        return {"status": "failed", "reason": reason_of(error)}


def _on_gpus(tasks: DataFrame, worker: Worker) -> DataFrame:
    """Return the tasks' results; each task holds a whole GPU where the executors have some.

    Resource profiles do not work in local mode (SPARK-61035), where there is one process anyway.
    """
    spark, schema = tasks.sparkSession, "number bigint, result binary"
    gpus, each = (
        float(spark.conf.get(f"spark.{which}.resource.gpu.amount", "0") or 0)
        for which in ("executor", "task")
    )
    local = (spark.conf.get("spark.master", "") or "").startswith("local")
    if local or gpus < 1 or each >= 1:
        return tasks.mapInArrow(worker, schema)
    return tasks.mapInArrow(worker, schema, profile=_whole_gpu(spark, int(gpus)))


def _whole_gpu(spark: SparkSession, gpus: int) -> ResourceProfile:
    builder = ResourceProfileBuilder().require(TaskResourceRequests().cpus(1).resource("gpu", 1))
    if spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        # Then executors are started for the profile, and it says what they hold.
        script, vendor = (
            spark.conf.get(f"spark.executor.resource.gpu.{name}", "") or ""
            for name in ("discoveryScript", "vendor")
        )
        builder.require(ExecutorResourceRequests().resource("gpu", gpus, script, vendor))
    return builder.build
