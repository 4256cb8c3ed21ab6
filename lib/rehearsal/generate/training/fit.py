"""Train the synthesizers of drifting segments on Spark's executors, one task per segment."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import codec_fields, fit_codec
from rehearsal.generate.sampling.budget import most_drifting, plan_budget
from rehearsal.generate.training.publish import publish
from rehearsal.generate.training.stage import (
    Snapshot,
    logged_rows,
    scratch_folder,
    stage_snapshots,
    training_rows,
)
from rehearsal.seeds import derive_seed, short_hash
from rehearsal.settings import Generator, Settings
from rehearsal.tables.schemas import SYNTHESIZERS
from rehearsal.tables.source import open_source

_TRAINED = (
    "position int, status string, reason string, n_epochs int, validation_nats double, "
    "kl_nats double, device string, network_json string, weights binary, "
    "curves array<struct<epoch:int,train_nats:double,validation_nats:double,kl_nats:double>>"
)


@dataclass(frozen=True)
class Order:
    """What one training task needs; small, and all of it plain values."""

    snapshot: Snapshot
    sizes: tuple[int, ...]
    n_conditions: int
    settings: Generator
    seed: int


def fit_generators(
    spark: SparkSession,
    settings: Settings,
    run_id: str,
    contributions: pd.DataFrame,
    segments: DataFrame,
) -> DataFrame:
    """Return the rows of `synthesizers`: one per breaching segment, fitted or with the reason.

    Args:
        spark: the session.
        settings: of the rehearsal.
        run_id: names the MLflow runs and the scratch folder.
        contributions: rows of `drift_contributions` of the run.
        segments: (user_id, segment_id), each user once.
    """
    chosen = most_drifting(contributions, settings.generator.max_segments)
    rows: list[dict[str, Any]] = []
    if chosen:
        trained = _train_chosen(spark, settings, run_id, contributions, segments, chosen)
        rows = [row | {"mlflow_run_id": publish(settings, run_id, row)} for row in trained]
    ordered = [tuple(row[name] for name in _COLUMNS) for row in rows]
    return spark.createDataFrame(ordered, _SCHEMA)


_COLUMNS = tuple(name for name in SYNTHESIZERS.schema.names if name != "run_id")
_SCHEMA = type(SYNTHESIZERS.schema)([SYNTHESIZERS.schema[name] for name in _COLUMNS])


def _train_chosen(
    spark: SparkSession,
    settings: Settings,
    run_id: str,
    contributions: pd.DataFrame,
    segments: DataFrame,
    chosen: Sequence[str],
) -> list[dict[str, Any]]:
    seed, generator = derive_seed(settings.seed, "generators"), settings.generator
    source = open_source(spark, settings.requests, "requests")
    # A targeted type gets a code of its own however rare: it is what will be asked for.
    targeted = plan_budget(contributions, settings.augment)
    keep = {"request_type": sorted({cell.request_type for cell in targeted})}
    logged = training_rows(logged_rows(spark, settings, segments, chosen), generator, seed)
    # Read three times: counts, sample, staging.
    logged = logged.persist()
    try:
        codec = fit_codec(logged, codec_fields(settings, source.schema), generator, seed, keep)
        with scratch_folder(settings, f"generators-{short_hash(run_id)}") as folder:
            snapshots = stage_snapshots(logged, codec, chosen, folder, seed)
            return train_segments(spark, snapshots, codec, generator, seed)
    finally:
        logged.unpersist()


def train_segments(
    spark: SparkSession,
    snapshots: Sequence[Snapshot],
    codec: Codec,
    settings: Generator,
    seed: int,
) -> list[dict[str, Any]]:
    """Train every snapshot in its own task; return one row per snapshot, in order.

    A segment that fails is a row with status 'failed' and the reason; the others go on. The rows,
    weights included, come to the driver: there are at most `max_segments`.
    """
    codec_json, plan = codec.to_json(), {}
    rows = [_row(snapshot, codec_json, settings, seed) for snapshot in snapshots]
    for position, snapshot in enumerate(snapshots):
        if snapshot.n_rows < settings.min_rows:
            rows[position]["status"] = "insufficient_data"
            rows[position]["reason"] = (
                f"{snapshot.n_rows} requests, generator.min_rows is {settings.min_rows}"
            )
        else:
            own_seed = derive_seed(seed, snapshot.segment_id)
            plan[position] = Order(snapshot, codec.sizes, codec.n_conditions, settings, own_seed)
    if plan:
        # One row, hence one partition and one task, per segment.
        tasks = spark.range(0, len(plan), 1, numPartitions=len(plan))
        orders = list(plan.items())
        for trained in tasks.mapInArrow(_worker(orders), _TRAINED).collect():
            rows[trained["position"]] |= trained.asDict(recursive=True)
    return rows


def _row(snapshot: Snapshot, codec_json: str, settings: Generator, seed: int) -> dict[str, Any]:
    known = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    version = short_hash(known, seed, snapshot.segment_id, snapshot.fingerprint, codec_json)
    empty = dict.fromkeys(_COLUMNS)
    return empty | {
        "segment_id": snapshot.segment_id,
        "synthesizer_version": version,
        "n_rows": snapshot.n_rows,
        "codec_json": codec_json,
    }


def _worker(
    orders: Sequence[tuple[int, Order]],
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                position, order = orders[task]
                yield _as_batch({"position": position, **_outcome(order)})

    return work


def _outcome(order: Order) -> dict[str, Any]:
    try:
        return _train(order)
    except Exception as error:  # noqa: BLE001  one segment must not take the others down
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:2000]}


def _train(order: Order) -> dict[str, Any]:
    # Heavy imports stay on the executors.
    from rehearsal.generate.models.vae import NetworkShape
    from rehearsal.generate.training.train import train

    settings, snapshot = order.settings, order.snapshot
    shape = NetworkShape(order.sizes, order.n_conditions, settings.hidden, settings.latent)
    trained = train(snapshot.training, snapshot.validation, shape, settings, order.seed)
    return {
        "status": "fitted",
        "n_epochs": len(trained.curve),
        "validation_nats": trained.best.validation_nats,
        "kl_nats": trained.best.kl_nats,
        "device": trained.device,
        "curves": [asdict(point) for point in trained.curve],
        "network_json": shape.to_json(),
        "weights": trained.weights,
    }


def _as_batch(row: dict[str, Any]) -> pa.RecordBatch:
    point = [("epoch", pa.int32())]
    point += [(name, pa.float64()) for name in ("train_nats", "validation_nats", "kl_nats")]
    schema = pa.schema(
        [
            ("position", pa.int32()), ("status", pa.string()), ("reason", pa.string()),
            ("n_epochs", pa.int32()), ("validation_nats", pa.float64()),
            ("kl_nats", pa.float64()), ("device", pa.string()), ("network_json", pa.string()),
            ("weights", pa.binary()), ("curves", pa.list_(pa.struct(point))),
        ]
    )  # fmt: skip
    return pa.RecordBatch.from_pylist([row], schema=schema)
