"""The synthesizers of a run as one MLflow run: parameters, curves, cards, and a safe model."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rehearsal.generate.card import model_card
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.gate.candidates import ALL, SEGMENT
from rehearsal.seeds import short_hash
from rehearsal.settings import Settings
from rehearsal.tracking import log_served, tracked_run

STEP = "fit-generators"
_VERSION = "rehearsal.synthesizer_version"
_REQUIREMENTS = ("numpy", "pandas", "pyspark", "safetensors", "torch")
_BATCH = 1000  # the store takes no more metrics at a time
_NAMES = ("train_nats", "validation_nats", "kl_nats", "membership")

Row = Mapping[str, Any]


def publish(
    settings: Settings, run_id: str, rows: Sequence[Row], scores: pd.DataFrame
) -> str | None:
    """Log a run's synthesizers; return the MLflow run id, None when no generator was fitted.

    Rerun, the same synthesizers are not logged again; others under the same rehearsal replace the
    run, since MLflow's parameters cannot be overwritten.

    Args:
        settings: of the rehearsal.
        run_id: of the rehearsal.
        rows: of `synthesizers`, the generator of all segments first.
        scores: of `generator_scores`.
    """
    if not rows or rows[0]["status"] != "fitted":
        return None
    version = short_hash(*(f"{r['synthesizer_version']} {r['served_by']}" for r in rows))
    with tracked_run(settings, run_id, STEP) as mlflow:
        run = mlflow.active_run()
        logged, fresh = run.data.tags.get(_VERSION), not run.data.params
    if logged == version:
        return str(run.info.run_id)
    if not fresh:
        mlflow.delete_run(run.info.run_id)
    with tracked_run(settings, run_id, STEP) as mlflow:
        _log(mlflow, settings, run_id, rows, scores)
        # Last, so that a run cut short does not count as logged.
        mlflow.set_tag(_VERSION, version)
        return str(mlflow.active_run().info.run_id)


def _log(
    mlflow: Any, settings: Settings, run_id: str, rows: Sequence[Row], scores: pd.DataFrame
) -> None:
    base, *segments = rows
    known = settings.generator.model_dump(mode="json", exclude={"gate", "constraints", "ranges"})
    mlflow.log_params(known | {"kind": base["kind"], "n_rows": base["n_rows"]})
    mlflow.log_dict(settings.generator.model_dump(mode="json", by_alias=True), "generator.json")
    stamp = mlflow.active_run().info.start_time
    metrics = [
        mlflow.entities.Metric(name, float(value), stamp, step)
        for name, value, step in (*_curves(rows), *_scores(scores))
    ]
    client = mlflow.MlflowClient()
    for start in range(0, len(metrics), _BATCH):
        part = metrics[start : start + _BATCH]
        client.log_batch(mlflow.active_run().info.run_id, metrics=part)
    with tempfile.TemporaryDirectory() as folder:
        cards = Path(folder) / "cards"
        cards.mkdir()
        for row in segments:
            own = scores[scores["segment_id"] == row["segment_id"]] if len(scores) else scores
            card = model_card(settings, run_id, base, row, own)
            (cards / f"{_safe(row['segment_id'])}.md").write_text(card)
        mlflow.log_artifacts(str(cards), "cards")
        _log_model(mlflow, Path(folder), rows)


def _safe(segment_id: str) -> str:
    """Return a name for files and metrics; segment ids may hold anything."""
    plain = "".join(c if c.isalnum() or c in "_-." else "_" for c in segment_id)
    return plain if plain == segment_id else f"{plain}-{short_hash(segment_id, length=6)}"


def _curves(rows: Sequence[Row]) -> Iterator[tuple[str, float, int]]:
    for row in rows:
        of = _safe(row["segment_id"]) if row["segment_id"] is not None else "all"
        for point in row.get("curves") or ():
            for name in _NAMES:
                if pd.notna(point[name]):
                    yield f"{of}/{name}", point[name], point["epoch"]


def _scores(scores: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    for row in scores.to_dict("records"):
        if pd.notna(row["value"]):
            yield f"{_safe(row['segment_id'])}/{row['candidate']}/{row['score']}", row["value"], 0


def _log_model(mlflow: Any, folder: Path, rows: Sequence[Row]) -> None:
    base = rows[0]
    # An earlier run's generators are in its own model, and what failed the gate is in none.
    segments = [row for row in rows[1:] if row["served_by"] in (SEGMENT, ALL)]
    if not segments:
        return
    parts = folder / "segments"
    parts.mkdir()
    about: dict[str, Any] = {"kind": base["kind"], "segments": {}}
    for number, row in enumerate(segments):
        file = f"{number}.safetensors" if row["served_by"] == SEGMENT else None
        if file is not None:
            (parts / file).write_bytes(bytes(row["weights"]))
        about["segments"][row["segment_id"]] = {"profile": row["profile"], "file": file}
    (parts / "index.json").write_text(json.dumps(about, sort_keys=True))
    contents = {
        "codec": ("codec.json", base["codec_json"].encode()),
        "generator": ("generator.safetensors", bytes(base["weights"])),
    }
    files = {"segments": parts}
    for name, (file, content) in contents.items():
        (folder / file).write_bytes(content)
        files[name] = folder / file
    signature = _signature(mlflow, Codec.from_json(base["codec_json"]), segments)
    script = Path(__file__).parent / "models" / "served.py"
    log_served(mlflow, "synthesizers", script, files, signature, _REQUIREMENTS)


def _signature(mlflow: Any, codec: Codec, segments: Sequence[Row]) -> Any:
    kinds = {"continuous": "double", "categorical": "string", "datetime": "datetime"}
    types = mlflow.types

    def schema(columns: Any) -> Any:
        return types.Schema([types.ColSpec(kinds[c.kind], c.name, required=False) for c in columns])

    first = str(segments[0]["segment_id"]) if segments else ""
    parameters = types.ParamSchema(
        [types.ParamSpec("seed", "long", 1), types.ParamSpec("segment_id", "string", first)]
    )
    return mlflow.models.ModelSignature(
        schema(codec.conditions), schema(codec.generated), parameters
    )
