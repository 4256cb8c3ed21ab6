"""How a SparkSession comes to be: the launcher's when there is one, else a local one with Delta."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from pyspark.sql import SparkSession

from rehearsal.errors import MachineError
from rehearsal.settings import Spark

_SCALA, _OLDEST_JAVA = "2.13", 17
_LOCAL = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "8",
    # Delta's default of 50 makes every small read slow on few cores.
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


def get_session(settings: Spark, app_name: str = "rehearsal") -> SparkSession:
    """Return the active session, the launcher's (spark-submit, Databricks), or a new local one.

    Only the local one is configured: master, driver memory, Delta's jars.

    Raises:
        MachineError: no Java, an unsupported one, or Delta's jars cannot be fetched.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    if "DATABRICKS_RUNTIME_VERSION" in os.environ or "PYSPARK_GATEWAY_PORT" in os.environ:
        return SparkSession.builder.appName(app_name).getOrCreate()
    check_java()
    # Workers otherwise take whatever python3 is first on PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # A host name that does not resolve would keep the driver from starting.
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName(app_name).master(settings.master)
    conf = {**_LOCAL, **_delta_conf(), "spark.driver.memory": settings.driver_memory}
    conf["spark.sql.warehouse.dir"] = str(Path(".rehearsal", "spark-warehouse").resolve())
    for key, value in {**conf, **settings.conf}.items():
        builder = builder.config(key, str(value))
    try:
        session = builder.getOrCreate()
    except Exception as error:
        raise MachineError(_start_failure(error)) from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def check_java() -> None:
    """Raise `MachineError` unless a Java that Spark 4 runs on (17 or newer) is found."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        raise MachineError(
            "Java 17 is missing; install it: sudo apt-get install openjdk-17-jre-headless"
        )
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    quoted = shown.split('"')[1] if '"' in shown else "unknown"
    major = quoted.split(".")[0]
    if not major.isdigit() or int(major) < _OLDEST_JAVA:
        raise MachineError(
            f"Java {quoted} ({java}) is too old, Spark 4 needs {_OLDEST_JAVA} or newer; "
            "install it: sudo apt-get install openjdk-17-jre-headless"
        )


def delta_jars() -> str:
    """Return Delta's jars as `--jars` takes them, from Ivy's cache; empty if they are not there."""
    delta = version("delta-spark")
    cache = Path.home() / ".ivy2.5.2" / "jars"
    names = (f"io.delta_delta-spark_{_SCALA}-{delta}.jar", f"io.delta_delta-storage-{delta}.jar")
    jars = [cache / name for name in names] + sorted(cache.glob("org.antlr_antlr4-runtime-4.*.jar"))
    found = [str(jar) for jar in jars if jar.is_file()]
    return ",".join(found) if len(found) > len(names) else ""


def _delta_conf() -> dict[str, str]:
    """Jars from disk when they are there, which saves Ivy's seconds, else their coordinate."""
    jars = delta_jars()
    coordinate = f"io.delta:delta-spark_{_SCALA}:{version('delta-spark')}"
    return {"spark.jars": jars} if jars else {"spark.jars.packages": coordinate}


def _start_failure(error: Exception) -> str:
    text = str(error)
    if "unresolved dependency" in text.lower() or "JAVA_GATEWAY_EXITED" in text:
        return (
            "Spark did not start; on first use it fetches Delta's jars from Maven Central, "
            "so check the network (Ivy's own words are above), then run the command again"
        )
    return f"Spark did not start: {text.splitlines()[0] if text else type(error).__name__}"


def main() -> None:
    """Start a session once, so that Delta's jars are there when the network is not."""
    from rehearsal.errors import RehearsalError

    try:
        get_session(Spark()).stop()
    except RehearsalError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
