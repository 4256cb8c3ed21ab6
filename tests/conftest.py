"""One Spark session for all tests, tuned for many tiny jobs on two cores."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from rehearsal.session import get_session
from rehearsal.settings import Spark

os.environ["TZ"] = "UTC"
time.tzset()

# The two JVM flags cap the JIT: right for tests only.
FAST = {
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    warehouse = tmp_path_factory.mktemp("spark-warehouse")
    conf = {**FAST, "spark.sql.warehouse.dir": str(warehouse)}
    session = get_session(Spark(master="local[2]", driver_memory="2g", conf=conf))
    yield session
    session.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)
        if Path(item.path).parent.name == "unit" and "spark" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} is in tests/unit but needs Spark")
