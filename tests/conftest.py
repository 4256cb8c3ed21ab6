"""One Spark session for all tests, tuned for many tiny jobs on two cores, and a tiny world."""

import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from shared import FAST
from xdist.scheduler import LoadFileScheduling

from rehearsal.configure import parse_settings
from rehearsal.jobs.run_loop import run_all
from rehearsal.runtime import Job
from rehearsal.session import get_session
from rehearsal.settings import Mlflow, Settings, Spark

os.environ["TZ"] = "UTC"
time.tzset()

# A deadline is a timed assertion, and fails on a loaded machine.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    warehouse = tmp_path_factory.mktemp("spark-warehouse")
    conf = {**FAST, "spark.sql.warehouse.dir": str(warehouse)}
    session = get_session(Spark(master="local[2]", driver_memory="2g", conf=conf))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its migrations done, which takes seconds, to be copied."""
    from mlflow.tracking._tracking_service.utils import _get_store

    file = tmp_path_factory.mktemp("mlflow") / "template.db"
    _get_store(f"sqlite:///{file}", str(file.parent / "artifacts"))
    return file


@pytest.fixture(scope="session")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two source tables under names of their own: 300 users, a young and an old half.

    The young mostly search at night and the old mostly browse in the morning; 8 weeks of history,
    then 4 weeks of replay, each user 2 requests a week.
    """
    folder = tmp_path_factory.mktemp("world")
    users = world_users(spark, 300)
    users.write.format("delta").save(str(folder / "people"))
    world_requests(spark, 300).write.format("delta").save(str(folder / "calls"))
    return folder


def world_users(spark: SparkSession, n: int) -> DataFrame:
    young = F.col("id") % 2 == 0
    return spark.range(n, numPartitions=2).select(
        F.col("id").alias("customer"),
        F.when(young, 20 + F.col("id") % 7).otherwise(55 + F.col("id") % 9).alias("age"),
        F.when(F.col("id") % 3 == 0, "PL").otherwise("PT").alias("country"),
    )


def world_requests(spark: SparkSession, n: int) -> DataFrame:
    weeks, per_week = 12, 2
    ids = spark.range(n * weeks * per_week, numPartitions=2)
    customer, turn = F.col("id") % n, F.floor(F.col("id") / n)
    young = customer % 2 == 0
    draw = F.pmod(F.xxhash64("id"), F.lit(1000)) / 1000
    often = F.when(young, "search").otherwise("browse")
    seldom = F.when(young, "browse").otherwise("search")
    hours = F.floor(turn / per_week) * 168 + turn % per_week * 48 + F.when(young, 2).otherwise(9)
    start = F.lit("2026-01-05").cast("timestamp")
    return ids.select(
        F.concat(F.lit("c"), "id").alias("call"),
        customer.alias("customer"),
        F.when(draw < 0.6, often).when(draw < 0.85, seldom).otherwise("buy").alias("kind"),
        (start + F.make_dt_interval(hours=hours.cast("int"))).alias("called_at"),
        (F.pmod(F.xxhash64("id", F.lit(1)), F.lit(10_000)) / 1000).alias("amount"),
        F.when(F.pmod(F.xxhash64("id", F.lit(2)), F.lit(3)) == 0, "app")
        .when(F.pmod(F.xxhash64("id", F.lit(2)), F.lit(3)) == 1, "web")
        .alias("channel"),
    )


MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="session")
def make_config(world: Path, mlflow_template: Path) -> Callable[[Path], dict[str, Any]]:
    """Return the configuration of the tiny world, as YAML would give it, with a folder's store."""

    def make(folder: Path) -> dict[str, Any]:
        return world_config(world, folder, mlflow_template)

    return make


@pytest.fixture
def make_settings(world: Path, tmp_path: Path, mlflow_template: Path) -> MakeSettings:
    """Return settings over the tiny world, with sections overridden by keyword."""

    def make(**sections: Any) -> Settings:
        return parse_settings(world_config(world, tmp_path, mlflow_template) | sections)

    return make


def world_config(world: Path, folder: Path, template: Path) -> dict[str, Any]:
    store = folder / "mlflow.db"
    if not store.exists():
        store.write_bytes(template.read_bytes())
    tracking = Mlflow(tracking_uri=f"sqlite:///{store}", artifacts=str(folder / "artifacts"))
    return {
        "seed": 11,
        "requests": {
            "path": str(world / "calls"),
            "columns": {
                "request_id": "call", "user_id": "customer", "request_type": "kind",
                "requested_at": "called_at", "continuous": ["amount"], "categorical": ["channel"],
            },
        },
        "users": {
            "path": str(world / "people"),
            "columns": {"user_id": "customer", "continuous": ["age"], "categorical": ["country"]},
        },
        "models": {
            "production": {"uri": str(log_linear(folder, "production", shift=0.0))},
            "experimental": {"uri": str(log_linear(folder, "experimental", shift=1.5))},
        },
        "output": {"path": str(folder / "warehouse"), "report": str(folder / "report.html")},
        "mlflow": tracking.model_dump(),
        "replay": {"start": "2026-03-02", "end": "2026-03-30"},
        "segments": {"k_min": 2, "k_max": 4},
        "drift": {"min_requests": 50, "min_users": 10, "bins": 5},
        "kpis": {"yes_rate": {"kind": "class_rate", "label": "yes"}},
        "generator": {"max_epochs": 3, "hidden": 16, "latent": 2, "min_rows": 50},
    }  # fmt: skip


def log_linear(folder: Path, name: str, **config: Any) -> Path:
    """Save tests/models/linear.py as an MLflow model with this configuration; return its folder."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    path = folder / "models" / name
    if not path.exists():
        inputs = [("double", "amount"), ("long", "age"), ("string", "kind")]
        signature = ModelSignature(Schema([ColSpec(kind, column) for kind, column in inputs]))
        code = Path(__file__).parent / "models" / "linear.py"
        mlflow.pyfunc.save_model(
            str(path), python_model=str(code), model_config=config, signature=signature,
            pip_requirements=[],
        )  # fmt: skip
    return path


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """Save tests/models/linear.py under a name with a configuration; return its folder."""

    def save(name: str, **config: Any) -> Path:
        return log_linear(tmp_path, name, **config)

    return save


@pytest.fixture
def job(spark: SparkSession, make_settings: MakeSettings) -> Job:
    """A run over the tiny world with its own warehouse."""
    return Job(spark, make_settings(), "r1")


@dataclass(frozen=True)
class Loop:
    """A run of the whole loop over the tiny world, and what it said on the console."""

    job: Job
    said: str


@pytest.fixture(scope="session")
def finished_loop(
    spark: SparkSession,
    world: Path,
    tmp_path_factory: pytest.TempPathFactory,
    mlflow_template: Path,
) -> Loop:
    """The loop run once for all tests that look at its tables; they may run it again."""
    folder = tmp_path_factory.mktemp("loop")
    job = Job(spark, parse_settings(world_config(world, folder, mlflow_template)), "r1")
    said = io.StringIO()
    run_all(job, Console(file=said, width=120))
    return Loop(job, said.getvalue())


class _FilesAndTheLoop(LoadFileScheduling):
    """A file's tests in one process, and those of all files of tests/jobs: they share one loop."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return file.rpartition("/")[0] if "tests/jobs/" in file else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _FilesAndTheLoop(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Spark."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)
