"""What one run of the segment step leaves in its tables, its row in `segmentations` last."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from rehearsal.runtime import Job
from rehearsal.segments.adapt.flows import migration_rows
from rehearsal.segments.adapt.migration import flow_counts, segment_worth
from rehearsal.segments.adapt.renew import Renewal
from rehearsal.segments.pipeline import to_pipeline
from rehearsal.segments.profile import describe_segments, segment_moments
from rehearsal.segments.samples import map_sample
from rehearsal.segments.timeline import Place, fingerprint
from rehearsal.tables import schemas as tables
from rehearsal.tables.frames import to_spark
from rehearsal.tables.segment_history import record

_CENTRES_ALONE = ("kmeans", "bisecting")  # what a Spark ML pipeline's stages can express


@dataclass(frozen=True)
class Run:
    """A run's place in its history, and the instants it describes users as of and holds from."""

    job: Job
    place: Place
    as_of: datetime
    valid_from: datetime

    @property
    def key(self) -> dict[str, str]:
        """The run's slice of tables that are kept per history."""
        return {"segmentation": self.job.settings.segments.name, "run_id": self.job.run_id}

    @property
    def previous(self) -> str | None:
        """The run this one goes on from."""
        return self.place.previous


def write_run(run: Run, renewal: Renewal, assigned: DataFrame) -> str:
    """Write everything of the run but its features and quarantine; return what was done.

    `assigned` has the columns of `segment_assignments`, and `features`.
    """
    job, store = run.job, run.job.store
    rows = assigned.drop("features")
    store.replace(tables.SEGMENT_ASSIGNMENTS, rows, run_id=job.run_id)
    now = store.read(tables.SEGMENT_ASSIGNMENTS, run_id=job.run_id)
    _write_pictures(run, renewal, assigned, now)
    moves = _write_moves(run, renewal, now)
    record(store, run.key["segmentation"], job.run_id, run.valid_from, _changes(run, now))
    row = _segmentation_row(run, renewal, moves)
    store.replace(tables.SEGMENTATIONS, row, **run.key)
    return _summary(renewal, moves)


def _write_pictures(run: Run, renewal: Renewal, assigned: DataFrame, now: DataFrame) -> None:
    """Write what people look at: profiles and the map."""
    job, model = run.job, renewal.model
    features = model.preparation.features
    moments = segment_moments(assigned, len(features))
    told = describe_segments(moments, features)
    told["stability"] = told["segment_id"].map(renewal.stability).astype(float)
    is_fitted = told["segment_id"].isin(model.segments)
    told["is_small"] = is_fitted & (told["user_share"] < job.settings.segments.min_segment_share)
    rows = to_spark(job.spark, told, tables.SEGMENT_PROFILES)
    job.store.replace(tables.SEGMENT_PROFILES, rows, run_id=job.run_id)
    described = job.store.read(tables.USER_FEATURES, run_id=job.run_id)
    sample = map_sample(now, described, model.preparation, job.settings.seed)
    shown = to_spark(job.spark, sample, tables.SEGMENT_SAMPLES)
    job.store.replace(tables.SEGMENT_SAMPLES, shown, run_id=job.run_id)


def _write_moves(run: Run, renewal: Renewal, now: DataFrame) -> pd.DataFrame:
    """Write the flows between the run before and this one; return them."""
    job, store = run.job, run.job.store
    if run.previous is None:
        store.clear(tables.SEGMENT_MIGRATIONS, **run.key)
        return flow_counts(now, now.limit(0))
    counts = flow_counts(now, store.read(tables.SEGMENT_ASSIGNMENTS, run_id=run.previous))
    found = migration_rows(
        counts, _earlier_flows(run), segment_worth(now), job.settings.segments.migration,
        refitted=renewal.decision != "reassign",
    )  # fmt: skip
    found["previous_run_id"] = run.previous
    rows = to_spark(job.spark, found, tables.SEGMENT_MIGRATIONS)
    store.replace(tables.SEGMENT_MIGRATIONS, rows, **run.key)
    return counts


def _earlier_flows(run: Run) -> pd.DataFrame:
    """Flows to hold this run's against; bounded by runs x segments squared.

    Of runs since the last fit from scratch, and of them not those that moved borders: there users
    changed sides without a change of behaviour.
    """
    columns = ["run_id", "from_segment_id", "to_segment_id", "n_users"]
    flows = run.job.store.read(
        tables.SEGMENT_MIGRATIONS, segmentation=run.key["segmentation"]
    ).where(F.col("run_id").isin(list(run.place.steady)))
    return flows.select(*columns).toPandas()


def _changes(run: Run, now: DataFrame) -> DataFrame:
    """Users whose segment is another than before, new ones, and those that are gone."""
    columns = ("user_id", "segment_id", "is_noise", "known")
    known = F.col("previous_segment_id").isNotNull()
    moved = ~F.col("segment_id").eqNullSafe(F.col("previous_segment_id"))
    changed = now.where(moved).withColumn("known", known).select(*columns)
    if run.previous is None:
        return changed
    before = run.job.store.read(tables.SEGMENT_ASSIGNMENTS, run_id=run.previous)
    gone = before.join(now.select("user_id"), "user_id", "left_anti").select(
        "user_id", F.lit(None).cast("string").alias("segment_id"),
        F.lit(None).cast("boolean").alias("is_noise"), F.lit(True).alias("known"),
    )  # fmt: skip
    return changed.unionByName(gone)


def _segmentation_row(run: Run, renewal: Renewal, moves: pd.DataFrame) -> DataFrame:
    """The row that documents the run, and makes it count."""
    job, model = run.job, renewal.model
    n_moved, n_new, n_gone = _moved(moves)
    row: dict[str, Any] = {
        "segmentation_version": renewal.version or job.run_id,
        "method": model.method,
        "decision": renewal.decision,
        "reason": renewal.reason,
        "as_of": run.as_of,
        "valid_from": run.valid_from,
        "k": len(model.segments),
        "n_users": int(moves["n_users"].sum()) - n_gone,
        "n_fit_users": renewal.n_fit_users,
        "n_moved": n_moved,
        "n_new": n_new,
        "n_gone": n_gone,
        **renewal.measured,
        "k_curve": [_known(asdict(panel)) for panel in renewal.panels],
        "k_distances": list(renewal.k_distances),
        "events": [asdict(event) for event in renewal.events],
        "feature_names": [feature.name for feature in model.preparation.features],
        "model_json": model.to_json(),
        "pipeline_path": _save_pipeline(run, renewal),
        "settings_json": fingerprint(job.settings),
    }
    schema = tables.SEGMENTATIONS.schema
    fields = [field for field in schema if field.name in row]
    values = tuple(row[field.name] for field in fields)
    return job.spark.createDataFrame([values], StructType(fields)).withColumns(
        {name: F.lit(value) for name, value in run.key.items()}
    )


def _known(numbers: dict[str, Any]) -> dict[str, Any]:
    """Indices that are not defined for a k are NULL, not NaN."""
    return {name: None if value != value else value for name, value in numbers.items()}  # noqa: PLR0124 - NaN alone differs from itself


def _save_pipeline(run: Run, renewal: Renewal) -> str | None:
    """Save a model of centres as a Spark ML pipeline, where it was fitted; return its folder."""
    if renewal.model.method not in _CENTRES_ALONE:
        return None
    path = run.job.store.folder("segmentations_fitted", renewal.version or run.job.run_id)
    if renewal.version is None:
        to_pipeline(run.job.spark, renewal.model).write().overwrite().save(path)
    return path


def _moved(moves: pd.DataFrame) -> tuple[int, int, int]:
    """Users that changed segment, came, and went."""
    origin, goal, n = moves["from_segment_id"], moves["to_segment_id"], moves["n_users"]
    came, went = origin.isna(), goal.isna()
    stayed = (origin == goal) & ~came
    return int(n[~came & ~went & ~stayed].sum()), int(n[came].sum()), int(n[went].sum())


def _summary(renewal: Renewal, moves: pd.DataFrame) -> str:
    n_moved, n_new, n_gone = _moved(moves)
    n_users, k = int(moves["n_users"].sum()) - n_gone, len(renewal.model.segments)
    silhouette = renewal.measured["silhouette"]
    quality = "" if silhouette is None else f" (silhouette {silhouette:.2f})"
    parts = [f"{n_users:,} users in {k} segments{quality}"]
    if renewal.decision != "fit":
        done = renewal.decision.replace("_", " ")
        parts.append(f"{done}: {n_moved:,} moved, {n_new:,} new, {n_gone:,} gone")
    return "; ".join(parts)
