"""One run's tables as small pandas frames: everything the report shows, and nothing else.

What comes to the driver is bounded by segments x windows x metrics, segments x request types,
segments x columns x bins or segments x epochs; nothing here grows with users or requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import ContractError
from rehearsal.runtime import Job
from rehearsal.tables.contract import TableContract
from rehearsal.tables.schemas import (
    ALERTS,
    DRIFT_CONTRIBUTIONS,
    DRIFT_SCORES,
    EFFECTS,
    FIDELITY,
    QUARANTINE,
    REPLAYS,
    SEGMENT_PROFILES,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)

PROFILE_FEATURES = 8
"""Features shown per segment."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "quarantine": ("step", "source_table", "reason", "n_rows"),
    "profiles": (
        "segment_id", "segment_name", "n_users", "user_share", "feature", "segment_mean",
        "overall_mean", "effect_size", "rank",
    ),
    "scores": (
        "segment_id", "window_start", "window_end", "granularity", "output", "metric",
        "score_bias_corrected", "ci_low", "ci_high", "p_value", "q_value", "threshold",
        "n_requests", "n_users", "status", "reason",
    ),
    "alerts": ("segment_id", "window_start", "output", "metric", "message"),
    "contributions": (
        "segment_id", "output", "request_type", "n_requests", "request_share", "share", "rank",
    ),
    "synthesizers": (
        "segment_id", "status", "reason", "n_rows", "n_epochs", "validation_nats", "kl_nats",
        "device",
    ),
    "curves": ("segment_id", "epoch", "train_nats", "validation_nats"),
    "generated": ("segment_id", "request_type", "n_synthetic"),
    "fidelity": (
        "segment_id", "column_name", "kind", "bin", "label", "n_logged", "n_synthetic",
        "logged_share", "synthetic_share",
    ),
    "effects": (
        "scope", "segment_id", "request_type", "n_baseline", "n_augmented", "n_users",
        "baseline_per_1000", "baseline_ci_low", "baseline_ci_high",
        "augmented_per_1000", "augmented_ci_low", "augmented_ci_high",
        "effect_per_1000", "effect_ci_low", "effect_ci_high",
    ),
}  # fmt: skip
"""The columns of each frame; a frame of a step that did not run is empty."""


@dataclass(frozen=True)
class ReportData:
    """What a report shows; frames have the columns of `COLUMNS` and may be empty.

    `segment_id` is None for all users. Times are UTC and naive.
    """

    run_id: str
    production_model: str
    experimental_model: str
    start: datetime
    end: datetime
    n_requests: int
    stored_outputs: bool
    profiles: pd.DataFrame
    scores: pd.DataFrame
    quarantine: pd.DataFrame
    alerts: pd.DataFrame
    contributions: pd.DataFrame
    synthesizers: pd.DataFrame
    curves: pd.DataFrame
    generated: pd.DataFrame
    fidelity: pd.DataFrame
    effects: pd.DataFrame

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name not in COLUMNS:
                continue
            frame = getattr(self, field.name)
            if tuple(frame.columns) != COLUMNS[field.name]:
                raise ContractError(
                    f"report frame {field.name} has columns {list(frame.columns)}, "
                    f"expected {list(COLUMNS[field.name])}"
                )


def empty(name: str) -> pd.DataFrame:
    """Return frame `name` without rows, for a step that did not run."""
    return pd.DataFrame(columns=list(COLUMNS[name]))


def read_report_data(job: Job) -> ReportData:
    """Read what the report needs of one run.

    Raises:
        ContractError: the run has no replay, no segment profiles or no drift scores; tables of
            later steps may be missing.
    """
    run, version = {"run_id": job.run_id}, {"segmentation_version": job.segmentation_version}
    production, experimental, n_requests = _replayed(job)
    profiles = job.store.read(SEGMENT_PROFILES, **version).where(F.col("rank") <= PROFILE_FEATURES)
    scores = job.store.read(DRIFT_SCORES, **run)
    fitted = _rows(job, SYNTHESIZERS, run)
    return ReportData(
        run_id=job.run_id,
        production_model=production,
        experimental_model=experimental,
        start=_utc(job.settings.replay.start),
        end=_utc(job.settings.replay.end),
        n_requests=n_requests,
        stored_outputs=job.settings.models.stored,
        profiles=_needed(job, SEGMENT_PROFILES, _frame("profiles", profiles)),
        scores=_needed(job, DRIFT_SCORES, _frame("scores", scores)),
        quarantine=_frame("quarantine", _quarantined(_rows(job, QUARANTINE, run))),
        alerts=_frame("alerts", _rows(job, ALERTS, run)),
        contributions=_frame("contributions", _rows(job, DRIFT_CONTRIBUTIONS, run)),
        synthesizers=_frame("synthesizers", fitted),
        curves=_frame("curves", _curves(fitted)),
        generated=_frame("generated", _generated(job)),
        fidelity=_frame("fidelity", _rows(job, FIDELITY, run)),
        effects=_frame("effects", _rows(job, EFFECTS, run)),
    )


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None) - (instant.utcoffset() or timedelta())


def _rows(job: Job, contract: TableContract, slice_values: Mapping[str, str]) -> DataFrame | None:
    return job.store.read(contract, **slice_values) if job.store.exists(contract) else None


def _frame(name: str, rows: DataFrame | None) -> pd.DataFrame:
    """Bring one bounded table to the driver, in an order that does not depend on partitions."""
    if rows is None:
        return empty(name)
    columns = COLUMNS[name]
    frame = rows.select(*columns).toPandas()
    order = [column for column in _ORDER if column in columns]
    return frame.sort_values(order, kind="stable", na_position="first", ignore_index=True)


def _needed(job: Job, contract: TableContract, frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        raise ContractError(
            f"{contract.name} has no rows of run {job.run_id}; "
            f"`rehearsal {contract.made_by}` with the same run id makes them"
        )
    return frame


def _replayed(job: Job) -> tuple[str, str, int]:
    """Return both models and the number of logged requests; a count and one row."""
    logged = job.store.read(REPLAYS, run_id=job.run_id, origin="logged")
    found = logged.agg(
        F.min("production_model").alias("production"),
        F.min("experimental_model").alias("experimental"),
        F.count("*").alias("n"),
    ).first()
    if found is None or found["n"] == 0:
        raise ContractError(
            f"replays has no logged rows of run {job.run_id}; "
            f"`rehearsal {REPLAYS.made_by}` with the same run id makes them"
        )
    return found["production"], found["experimental"], found["n"]


def _quarantined(rows: DataFrame | None) -> DataFrame | None:
    if rows is None:
        return None
    return rows.groupBy("step", "source_table", "reason").agg(F.count("*").alias("n_rows"))


def _curves(fitted: DataFrame | None) -> DataFrame | None:
    return None if fitted is None else fitted.select("segment_id", F.inline("curves"))


def _generated(job: Job) -> DataFrame | None:
    rows = _rows(job, SYNTHETIC_REQUESTS, {"rehearsal_run_id": job.run_id})
    if rows is None:
        return None
    cell = (
        F.col("rehearsal_segment_id").alias("segment_id"),
        F.col("rehearsal_base_request_type").alias("request_type"),
    )
    return rows.groupBy(*cell).agg(F.count("*").alias("n_synthetic"))


_ORDER = (
    "step", "source_table", "scope", "segment_id", "window_start", "output", "metric",
    "column_name", "bin", "rank", "request_type", "epoch", "reason",
)  # fmt: skip
