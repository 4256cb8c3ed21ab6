"""Simulated tables on disk as Delta, and the simulated models in MLflow."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from rehearsal.settings import Mlflow
from rehearsal.simulate.outputs import INPUTS, SIDES
from rehearsal.simulate.plan import Simulation
from rehearsal.simulate.tables import requests, truth_drift, truth_users, users
from rehearsal.tracking import connect

MODEL = "simulated"
_EXAMPLE = pd.DataFrame(
    {
        "request_type": ["search", "pay"], "amount": [20.0, 7.5], "duration_s": [12.5, 30.0],
        "channel": ["app", "web"], "app_version": ["1", "2"], "age": [40.0, 29.0],
        "country": ["AT", "BR"], "plan": ["free", "pro"],
    }
)  # fmt: skip
_METHOD_LIMIT = "spark.sql.codegen.hugeMethodLimit"


def write(spark: SparkSession, simulation: Simulation, folder: str) -> None:
    """Write requests, users, truth_users and truth_drift as Delta tables below `folder`."""
    tables = {
        "requests": requests(spark, simulation),
        "users": users(spark, simulation),
        "truth_users": truth_users(spark, simulation),
        "truth_drift": truth_drift(spark, simulation),
    }
    with _compiled(spark):
        for name, rows in tables.items():
            writer = rows.write.format("delta").mode("overwrite")
            writer.option("overwriteSchema", "true").save(f"{folder}/{name}")


@contextmanager
def _compiled(spark: SparkSession) -> Iterator[None]:
    """Keep Spark from fusing a stage into one method too long for the JVM to compile.

    Fused, the request log is one method beyond HotSpot's limit of 8000 bytes and runs interpreted,
    several times slower.
    """
    before = str(spark.conf.get(_METHOD_LIMIT))
    spark.conf.set(_METHOD_LIMIT, "8000")
    try:
        yield
    finally:
        spark.conf.set(_METHOD_LIMIT, before)


def log_models(simulation: Simulation, settings: Mlflow) -> dict[str, str]:
    """Register both models as `simulated` under the aliases production and experimental.

    Returns the reference of each; an A/A rehearsal points both sides to the same one.
    """
    mlflow = connect(settings)
    client = mlflow.MlflowClient()
    columns = [mlflow.types.ColSpec(kind, name, required=False) for name, kind in INPUTS.items()]
    signature = mlflow.models.ModelSignature(inputs=mlflow.types.Schema(columns))
    references: dict[str, str] = {}
    for side in SIDES:
        with mlflow.start_run(run_name=f"simulated-{side}"):
            logged = mlflow.pyfunc.log_model(
                name=side,
                python_model=str(Path(__file__).with_name("served_model.py")),
                model_config={"side": side, "simulation": json.loads(simulation.model_dump_json())},
                signature=signature,
                input_example=_EXAMPLE[list(INPUTS)],
                # The model's formulas are this package's own.
                pip_requirements=[f"rehearsal=={version('rehearsal')}"],
            )
        made = mlflow.register_model(logged.model_uri, MODEL)
        client.set_registered_model_alias(MODEL, side, made.version)
        references[side] = f"models:/{MODEL}/{made.version}"
    return references
