"""The loop from spark-submit on a cluster of two workers, and after its driver was killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyspark
import pytest
import yaml
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from shared import FAST, JVM

from rehearsal.configure import parse_settings
from rehearsal.jobs import run_loop
from rehearsal.runtime import Job
from rehearsal.session import delta_jars
from rehearsal.tables import schemas as tables

ROOT = Path(__file__).parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
STEPS = {module.NAME: module.__name__ for module in run_loop.STEPS}
# Killing in every step takes many minutes; always in one that comes after training.
KILLED = (
    [name for name in STEPS if name != "notify"]  # which has nobody to tell here
    if os.environ.get("REHEARSAL_KILL_ALL")
    else ["synthesize"]
)
RUN_ID = "r1"
HUGE_METHODS = "spark.sql.codegen.hugeMethodLimit"


@pytest.fixture(scope="module")
def config(finished_loop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of the undisturbed loop as a file; the warehouse is given by --set."""
    folder = tmp_path_factory.mktemp("launch")
    values = finished_loop.job.settings.model_dump(mode="json", by_alias=True)
    values["spark"] = {"master": "local[2]", "conf": FAST}
    file = folder / "world.yml"
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.fixture(scope="module")
def clean(finished_loop: Any) -> Job:
    """The loop run once, undisturbed, on local[2]."""
    return finished_loop.job


def place(spark: SparkSession, config: Path, name: str) -> Job:
    values = yaml.safe_load(config.read_text())
    folder = config.parent / name
    values["output"] = {"path": str(folder), "report": str(folder / "report.html")}
    return Job(spark, parse_settings(values), RUN_ID)


def arguments(config: Path, name: str) -> list[str]:
    folder = config.parent / name
    return [
        "--config", str(config), "--run-id", RUN_ID,
        "--set", f"output.path={folder}", "--set", f"output.report={folder}/report.html",
    ]  # fmt: skip


def contents(job: Job, contract: tables.TableContract) -> list[str]:
    """The rows as text, in an order of their own; the warehouse's folder is not told."""
    texts = job.store.read(contract).select(F.to_json(F.struct("*")).alias("row")).toPandas()
    return sorted(texts["row"].str.replace(str(job.settings.output.path), "", regex=False))


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A standalone master with two workers of one core each, from the pip-installed Spark."""
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    package, url = "org.apache.spark.deploy", "spark://127.0.0.1:17077"
    commands = [[f"{package}.master.Master", "--host", "127.0.0.1", "--port", "17077",
                 "--webui-port", "0"]]  # fmt: skip
    commands += [
        [f"{package}.worker.Worker", "-c", "1", "-m", "1g", "--webui-port", "0",
         "--work-dir", str(folder / f"worker{i}"), url]
        for i in range(2)
    ]  # fmt: skip
    with (folder / "cluster.log").open("w") as log:
        started = [
            subprocess.Popen(
                [str(SPARK_HOME / "bin" / "spark-class"), *command],
                env=environment, stdout=log, stderr=log,
            )
            for command in commands
        ]  # fmt: skip
        try:
            yield url
        finally:
            for process in started:
                process.kill()
                process.wait()


def zipped_package(folder: Path) -> Path:
    """The wheel's content as a zip, which is what executors import from."""
    archive = folder / "rehearsal.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for source, inside in ((ROOT / "lib" / "rehearsal", "rehearsal"),
                               (ROOT / "jobs", "rehearsal/jobs")):  # fmt: skip
            for file in source.rglob("*"):
                if file.is_file() and file.suffix != ".pyc":
                    packed.write(file, f"{inside}/{file.relative_to(source)}")
    return archive


def test_spark_submit_to_two_workers_gives_the_scores_and_generators_of_local_2(
    clean: Job, spark: SparkSession, config: Path
) -> None:
    folder = config.parent
    with cluster(folder) as url:
        submit = [
            str(SPARK_HOME / "bin" / "spark-submit"), "--master", url,
            "--py-files", str(zipped_package(folder)), "--jars", delta_jars(),
            "--conf", "spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension",
            "--conf",
            "spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.sql.shuffle.partitions=3",
            "--conf", "spark.databricks.delta.snapshotPartitions=2",
            "--conf", "spark.sql.sources.parallelPartitionDiscovery.parallelism=2",
            "--conf", f"spark.driver.extraJavaOptions={JVM}",
            "--conf", f"spark.executor.extraJavaOptions={JVM}",
            "--conf", "spark.executor.memory=900m", "--conf", "spark.ui.enabled=false",
            "--conf", "spark.sql.ui.explainMode=simple",
            str(ROOT / "jobs" / "run_loop.py"), *arguments(config, "cluster"),
        ]  # fmt: skip
        environment = os.environ | {"PYSPARK_PYTHON": sys.executable}
        done = subprocess.run(
            submit, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    submitted = place(spark, config, "cluster")
    for contract in (tables.SEGMENTS, tables.DRIFT_COUNTS, tables.DRIFT_SCORES,
                     tables.DRIFT_CONTRIBUTIONS, tables.SYNTHESIZERS, tables.GENERATOR_SCORES,
                     tables.GENERATOR_ROUNDS):  # fmt: skip
        frames = [job.store.read(contract).drop("mlflow_run_id").toPandas()
                  for job in (clean, submitted)]  # fmt: skip
        keys = [name for name in contract.key if name in frames[0]]
        first, second = (frame.sort_values(keys, ignore_index=True) for frame in frames)
        pd.testing.assert_frame_equal(first, second, rtol=1e-9, atol=1e-12, obj=contract.name)


@pytest.mark.parametrize("step", KILLED)
def test_a_rerun_mends_what_a_killed_driver_left_and_leaves_every_other_table_identical(
    clean: Job, spark: SparkSession, config: Path, step: str
) -> None:
    name = f"killed-{step}"
    shutil.copytree(str(clean.settings.output.path), config.parent / name)
    for table in made_by(step, config.parent / name):
        shutil.rmtree(table)
    kill_in(step, config.parent / name, arguments(config, name))
    limit = spark.conf.get(HUGE_METHODS)
    try:
        # In this process: nothing of the killed one is known to it, and it is warm.
        run_loop.main(arguments(config, name))
    finally:
        spark.conf.set(HUGE_METHODS, limit)
    mended = place(spark, config, name)
    for contract in tables.ALL:
        assert contents(clean, contract) == contents(mended, contract), contract.name


def made_by(step: str, folder: Path) -> list[Path]:
    return [folder / contract.name for contract in tables.ALL if contract.made_by == step]


def kill_in(step: str, folder: Path, given: list[str]) -> None:
    """Run the step and kill the driver, JVM and all, when the first rows of its own lie there."""
    process = subprocess.Popen(
        [sys.executable, "-m", STEPS[step], *given],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    page = folder / "report.html"  # of the step that makes no table
    while process.poll() is None:
        if page.exists() or any(
            file for table in made_by(step, folder) for file in table.rglob("*.parquet")
        ):
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, f"{step} ended before it wrote"
