"""The segmentation of a run in MLflow: its numbers, its model as JSON, and a model to load."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rehearsal.seeds import short_hash
from rehearsal.segments.model import SegmentModel
from rehearsal.settings import Settings
from rehearsal.tracking import log_served, tracked_run

_LOGGED = "rehearsal.segments_model"
_REQUIREMENTS = ("numpy", "pandas")


def publish(
    settings: Settings,
    run_id: str,
    step: str,
    fitted: SegmentModel | None,
    numbers: Mapping[str, float | None],
) -> None:
    """Log `numbers`, and the model if the run fitted one, under the MLflow run of (run, step).

    The logged model takes one column per feature and returns segment_id and distance;
    `mlflow.pyfunc.load_model`, or a Spark UDF of it, needs none of Rehearsal's tables. Rerun, an
    equal model is not logged again.
    """
    with tracked_run(settings, run_id, step) as mlflow:
        mlflow.log_metrics({name: float(x) for name, x in numbers.items() if x is not None})
        if fitted is None:
            return
        text = fitted.to_json()
        fingerprint = short_hash(text)
        if mlflow.active_run().data.tags.get(_LOGGED) == fingerprint:
            return
        mlflow.log_text(text, "segments.json")
        with tempfile.TemporaryDirectory() as folder:
            _log_model(mlflow, Path(folder) / "segments.json", text)
        # Last, so that a run cut short does not count as logged.
        mlflow.set_tag(_LOGGED, fingerprint)


def _log_model(mlflow: Any, file: Path, text: str) -> None:
    file.write_text(text)
    model = SegmentModel.from_json(text)
    types = mlflow.types
    columns = [
        types.ColSpec("double", feature.name, required=False)
        for feature in model.preparation.features
    ]
    outputs = [types.ColSpec("string", "segment_id"), types.ColSpec("double", "distance")]
    signature = mlflow.models.ModelSignature(types.Schema(columns), types.Schema(outputs))
    script = Path(__file__).with_name("served.py")
    log_served(mlflow, "segments", script, {"model": file}, signature, _REQUIREMENTS)
