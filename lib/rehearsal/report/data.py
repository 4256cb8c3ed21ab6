"""One run's tables as small pandas frames: everything the report shows, and nothing else.

What comes to the driver is bounded by segments x windows x metrics, segments x request types,
segments x columns x bins, segments x epochs, segments x features, segments x segments, or the size
of a sample that is fixed; nothing here grows with users or requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

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
    SEGMENT_MIGRATIONS,
    SEGMENT_PROFILES,
    SEGMENT_SAMPLES,
    SEGMENTATIONS,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "quarantine": ("step", "source_table", "reason", "n_rows"),
    "profiles": (
        "segment_id", "segment_name", "n_users", "user_share", "is_small", "stability",
        "feature", "segment_mean", "overall_mean", "effect_size", "rank",
    ),
    "segmentation": (
        "run_id", "method", "decision", "reason", "as_of", "valid_from", "k", "n_users",
        "n_fit_users", "n_moved", "n_new", "n_gone", "psi", "cost_ratio", "far_share",
        "silhouette", "cost", "eps",
    ),
    "k_curve": (
        "k", "silhouette", "davies_bouldin", "calinski_harabasz", "cost", "smallest_share",
    ),
    "k_distances": ("position", "distance"),
    "events": ("event", "segment_id", "other_ids", "share", "n_users"),
    "samples": ("segment_id", "user_id", "x", "y", "distance", "prototype_rank"),
    "migrations": (
        "previous_run_id", "from_segment_id", "to_segment_id", "n_users", "from_share",
        "expected_share", "requests_before", "requests_after", "value_before", "value_after",
        "direction", "q_value", "status", "reason",
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

    `segment_id` is None for all users. Times are UTC and naive. `segmentation` has the row of the
    segments in force, or none; `k_curve`, `k_distances` and `events` are that row's lists.
    """

    run_id: str
    production_model: str
    experimental_model: str
    start: datetime
    end: datetime
    n_requests: int
    stored_outputs: bool
    segmentation: pd.DataFrame
    k_curve: pd.DataFrame
    k_distances: pd.DataFrame
    events: pd.DataFrame
    profiles: pd.DataFrame
    samples: pd.DataFrame
    migrations: pd.DataFrame
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
        ContractError: the run has no replay, no segments in force, no profiles of them or no drift
            scores; tables of later steps may be missing.
    """
    production, experimental, n_requests = _replayed(job)
    run, segmented = {"run_id": job.run_id}, {"run_id": job.segmentation.run_id}
    history = {"segmentation": job.settings.segments.name, **segmented}
    profiles = job.store.read(SEGMENT_PROFILES, **segmented)
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
        **_segmentation(job.store.read(SEGMENTATIONS, **history)),
        profiles=_needed(SEGMENT_PROFILES, _frame("profiles", profiles), segmented["run_id"]),
        samples=_frame("samples", _rows(job, SEGMENT_SAMPLES, segmented)),
        migrations=_frame("migrations", _rows(job, SEGMENT_MIGRATIONS, history)),
        scores=_needed(DRIFT_SCORES, _frame("scores", scores), job.run_id),
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


def _segmentation(rows: DataFrame) -> dict[str, pd.DataFrame]:
    """Return the one row of a segmentation as frames: itself, and each of its lists."""
    lists = ("k_curve", "k_distances", "events")
    # The model itself stays where it is: it is large, and eps is all of it the page shows.
    reach = F.get_json_object("model_json", "$.reach")
    given = F.get_json_object("settings_json", "$.dbscan.eps")
    eps = F.when(F.col("method") == "dbscan", F.coalesce(reach, given)).try_cast("double")
    names = [name for name in COLUMNS["segmentation"] if name != "eps"]
    row = rows.select(*names, eps.alias("eps"), *lists).head()
    if row is None:
        return {name: empty(name) for name in ("segmentation", *lists)}
    held = row.asDict(recursive=True)
    for name in ("as_of", "valid_from"):
        # A collected instant is in the driver's own zone.
        held[name] = held[name] and held[name].astimezone(UTC).replace(tzinfo=None)
    listed = {name: held.pop(name) or [] for name in lists}
    listed["k_distances"] = list(enumerate(listed["k_distances"]))
    frames = {"segmentation": [held], **listed}
    return {name: pd.DataFrame(rows, columns=list(COLUMNS[name])) for name, rows in frames.items()}


def _needed(contract: TableContract, frame: pd.DataFrame, run_id: str) -> pd.DataFrame:
    if frame.empty:
        raise ContractError(
            f"{contract.name} has no rows of run {run_id}; "
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
    "column_name", "bin", "rank", "request_type", "epoch", "from_segment_id", "to_segment_id",
    "user_id", "reason",
)  # fmt: skip
