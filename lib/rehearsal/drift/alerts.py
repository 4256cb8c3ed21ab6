"""Breaches as rows of `alerts`, each with its sentence."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

ALL_USERS = "all users"
_KEPT = (
    "segment_id", "window_start", "window_end", "granularity", "output", "metric", "test",
    "threshold", "threshold_origin", "p_value", "q_value", "n_requests",
)  # fmt: skip


def alerts(scores: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return one row per breach, less run and version.

    Args:
        scores: rows of `drift_scores`.
        names: segment id -> readable name.
    """
    red = scores[scores["status"] == "red"]
    rows = red[list(_KEPT)].copy()
    rows["score"] = red["score_bias_corrected"]
    rows["segment_name"] = [ALL_USERS if pd.isna(i) else names.get(i, i) for i in red["segment_id"]]
    rows["message"] = [_sentence(row) for row in rows.to_dict("records")]
    return rows


def _sentence(row: Mapping[Hashable, Any]) -> str:
    segment = row["segment_id"]
    who = ALL_USERS if pd.isna(segment) else f"segment {segment} ({row['segment_name']})"
    origin = "" if row["threshold_origin"] == "set" else f", {row['threshold_origin']}"
    return (
        f"{who}: {row['metric']} of {row['output']} is {row['score']:.3g} in the "
        f"{row['granularity']} from {row['window_start']:%Y-%m-%d}, over {row['threshold']:.3g}"
        f"{origin} (q {row['q_value']:.1g}, {row['n_requests']:,} requests)"
    )
