"""Each fitted synthesizer as an MLflow run: parameters, curves, and a model without pickle."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rehearsal.generate.codec.encode import Codec
from rehearsal.settings import Settings
from rehearsal.tracking import log_served, tracked_run

STEP = "fit-generators"
_VERSION = "rehearsal.synthesizer_version"
_REQUIREMENTS = ("numpy", "pandas", "pyspark", "safetensors", "torch")


def publish(settings: Settings, run_id: str, row: Mapping[str, Any]) -> str | None:
    """Log a row of `synthesizers`; return its MLflow run id, None when nothing was fitted.

    Rerun, the same synthesizer is not logged again; another one under the same rehearsal replaces
    the run, since MLflow's parameters cannot be overwritten.
    """
    if row["status"] != "fitted":
        return None
    segment_id, version = str(row["segment_id"]), str(row["synthesizer_version"])
    with tracked_run(settings, run_id, STEP, segment_id) as mlflow:
        run = mlflow.active_run()
        logged = run.data.tags.get(_VERSION)
        fresh = not run.data.params
    if logged == version:
        return str(run.info.run_id)
    if not fresh:
        mlflow.delete_run(run.info.run_id)
    with tracked_run(settings, run_id, STEP, segment_id) as mlflow:
        _log(mlflow, settings, row)
        # Last, so that a run cut short does not count as logged.
        mlflow.set_tag(_VERSION, version)
        return str(mlflow.active_run().info.run_id)


def _log(mlflow: Any, settings: Settings, row: Mapping[str, Any]) -> None:
    mlflow.log_params(settings.generator.model_dump() | {"n_rows": row["n_rows"]})
    stamp = mlflow.active_run().info.start_time
    metrics = [
        mlflow.entities.Metric(name, value, stamp, point["epoch"])
        for point in row["curves"]
        for name, value in point.items()
        if name != "epoch"
    ]
    client = mlflow.MlflowClient()
    # The store takes at most 1,000 metrics at a time.
    for start in range(0, len(metrics), 1000):
        client.log_batch(mlflow.active_run().info.run_id, metrics=metrics[start : start + 1000])
    with tempfile.TemporaryDirectory() as folder:
        _log_model(mlflow, Path(folder), row)


def _log_model(mlflow: Any, folder: Path, row: Mapping[str, Any]) -> None:
    contents = {
        "codec.json": row["codec_json"].encode(),
        "network.json": row["network_json"].encode(),
        "weights.safetensors": bytes(row["weights"]),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    files = {name.partition(".")[0]: folder / name for name in contents}
    signature = _signature(mlflow, Codec.from_json(row["codec_json"]))
    script = Path(__file__).parents[1] / "models" / "served.py"
    log_served(mlflow, "synthesizer", script, files, signature, _REQUIREMENTS)


def _signature(mlflow: Any, codec: Codec) -> Any:
    kinds = {"continuous": "double", "categorical": "string", "datetime": "datetime"}
    types = mlflow.types

    def schema(columns: Any) -> Any:
        return types.Schema([types.ColSpec(kinds[c.kind], c.name, required=False) for c in columns])

    seed = types.ParamSchema([types.ParamSpec("seed", "long", 1)])
    return mlflow.models.ModelSignature(schema(codec.conditions), schema(codec.generated), seed)
