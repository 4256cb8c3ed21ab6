"""One run's tables as small pandas frames: everything the report shows, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime

import pandas as pd

from rehearsal.errors import ContractError

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
        "segment_id", "window_start", "window_end", "granularity", "output", "metric", "test",
        "score_bias_corrected", "ci_low", "ci_high", "production_level", "experimental_level",
        "q_value", "threshold", "threshold_origin", "detectable", "n_requests", "n_users", "status",
        "reason",
    ),
    "onsets": (
        "segment_id", "output", "test", "window_start", "earliest_window_start",
        "latest_window_start", "last_window_start",
    ),
    "bins": ("output", "edges", "classes"),
    "joints": ("segment_id", "output", "window_start", "joint_bins"),
    "alerts": ("segment_id", "window_start", "output", "metric", "message"),
    "contributions": (
        "segment_id", "output", "test", "request_type", "n_requests", "request_share",
        "contribution", "share", "statistic", "size_metric", "size_contribution", "size_share",
        "rank",
    ),
    "reasons": ("segment_id", "output", "test", "size_metric", "verdict", "reason"),
    "drivers": (
        "segment_id", "output", "test", "size_metric", "rank", "dimension_1", "value_1",
        "dimension_2", "value_2", "n_requests", "request_share", "share", "lift", "q_value",
        "status",
    ),
    "synthesizers": (
        "segment_id", "kind", "status", "served_by", "reason", "n_rows", "n_left_out", "n_epochs",
        "best_epoch", "base_nats", "validation_nats", "kl_nats", "device", "epsilon", "delta",
        "base_run_id",
    ),
    "curves": ("segment_id", "epoch", "train_nats", "validation_nats", "membership"),
    "gate": (
        "segment_id", "candidate", "judged_on", "n_test", "score", "direction", "value",
        "half_vs_half", "independent", "limit", "passed", "note",
    ),
    "rounds": (
        "segment_id", "round", "run_id", "kept", "why", "fresh_c2st_auc", "serving_c2st_auc",
        "fresh_quality", "serving_quality", "serving_run_id", "effect_per_1000", "effect_ci_low",
        "effect_ci_high",
    ),
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
    `joints` has the joint histograms of the segments that are drawn, and of all users.
    In `synthesizers` and `curves` no segment means the generator of all segments. `rounds` has
    those of earlier runs too, and the effect that each round's own run measured of the segment.
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
    onsets: pd.DataFrame
    bins: pd.DataFrame
    joints: pd.DataFrame
    quarantine: pd.DataFrame
    alerts: pd.DataFrame
    contributions: pd.DataFrame
    reasons: pd.DataFrame
    drivers: pd.DataFrame
    synthesizers: pd.DataFrame
    curves: pd.DataFrame
    gate: pd.DataFrame
    rounds: pd.DataFrame
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
