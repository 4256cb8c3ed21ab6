"""MLflow: the only module that imports it, and only when used (the import takes seconds)."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rehearsal.errors import ModelError
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


def log_served(
    mlflow: Any,
    name: str,
    script: Path,
    files: Mapping[str, Path],
    signature: Any,
    packages: Sequence[str],
) -> None:
    """Log a model that is a script of this package and the files it reads: nothing is pickled.

    Args:
        mlflow: the module, in an active run.
        name: of the logged model.
        script: run when the model is loaded.
        files: by the name under which the script finds them.
        signature: an `mlflow.models.ModelSignature`.
        packages: what serving needs, in the versions installed here.
    """
    with warnings.catch_warnings():
        # The signature names every column; an example row would add nothing.
        warnings.filterwarnings("ignore", message=".*An input example was not provided")
        mlflow.pyfunc.log_model(
            name=name,
            python_model=str(script),
            artifacts={part: str(file) for part, file in files.items()},
            signature=signature,
            code_paths=[str(Path(__file__).parent)],
            pip_requirements=[f"{one}=={version(one).split('+')[0]}" for one in packages],
        )


def fetch_model(
    name: str, uri: str, settings: Mlflow, scratch: Path
) -> tuple[str, Path, dict[str, str] | None]:
    """Return (resolved reference, local folder, signature's columns and types or None).

    An alias is resolved to its version, so that tables say which model it was on the day.

    Raises:
        ModelError: no such model, or its folder holds none.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    mlflow = connect(settings)
    try:
        reference = _pin_alias(mlflow, uri)
        folder = Path(mlflow.artifacts.download_artifacts(reference, dst_path=str(scratch)))
        logged: Any = Model.load(str(folder))
    except (MlflowException, OSError) as error:
        raise ModelError(
            f"models.{name}.uri: cannot load {uri} from {mlflow.get_tracking_uri()}: {error}"
        ) from error
    signature = logged.get_input_schema()
    if signature is None or not signature.has_input_names():
        return reference, folder, None
    kinds = {column.name: getattr(column.type, "name", "") for column in signature.inputs}
    return reference, folder, kinds


def _pin_alias(mlflow: Any, uri: str) -> str:
    scheme, _, rest = uri.partition("models:/")
    if scheme or "@" not in rest:
        return uri
    registered, _, alias = rest.rpartition("@")
    version = mlflow.MlflowClient().get_model_version_by_alias(registered, alias)
    return f"models:/{registered}/{version.version}"


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
