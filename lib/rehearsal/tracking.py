"""MLflow: the only module that imports it, and only when used (the import takes seconds)."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rehearsal.settings import Mlflow, Settings


def connect(settings: Mlflow) -> Any:
    """Return the mlflow module, pointed at the configured store and experiment.

    With no `tracking_uri` the environment decides (MLFLOW_TRACKING_URI, Databricks).
    """
    import mlflow

    if settings.tracking_uri is not None:
        mlflow.set_tracking_uri(settings.tracking_uri)
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name(settings.experiment) is None:
        location = settings.artifacts
        if location is not None and "://" not in location:
            location = Path(location).resolve().as_uri()
        client.create_experiment(settings.experiment, artifact_location=location)
    mlflow.set_experiment(settings.experiment)
    return mlflow


@contextmanager
def tracked_run(settings: Settings, run_id: str, step: str, segment_id: str = "") -> Iterator[Any]:
    """Open the MLflow run of (rehearsal run, step, segment), the same one on every rerun.

    Yields the mlflow module; `mlflow.active_run().info.run_id` is the run's id.
    """
    mlflow = connect(settings.mlflow)
    tags = {"rehearsal.run_id": run_id, "rehearsal.step": step, "rehearsal.segment_id": segment_id}
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    found = mlflow.search_runs(
        experiment_names=[settings.mlflow.experiment],
        filter_string=wanted, max_results=1, output_format="list",
    )  # fmt: skip
    name = "-".join(part for part in (run_id, step, segment_id) if part)
    known = {"run_id": found[0].info.run_id} if found else {"run_name": name, "tags": tags}
    with mlflow.start_run(**known):
        yield mlflow


def log_run(
    settings: Settings, run_id: str, metrics: Mapping[str, float], artifacts: Mapping[str, Path]
) -> str:
    """Log a rehearsal's settings, figures and files; return the MLflow run id."""
    with tracked_run(settings, run_id, "run") as mlflow:
        mlflow.log_dict(json.loads(settings.model_dump_json(by_alias=True)), "settings.json")
        mlflow.log_metrics(dict(metrics))
        for folder, file in artifacts.items():
            mlflow.log_artifact(str(file), folder or None)
        return str(mlflow.active_run().info.run_id)
