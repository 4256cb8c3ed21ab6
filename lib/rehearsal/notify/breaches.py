"""The rows of `alerts` as what is told: one line per segment, and every measure in breach."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rehearsal.drift.onset import onset_of

COLUMNS = (
    "segment_id", "segment_name", "window_start", "output", "metric", "test", "score", "threshold",
)  # fmt: skip
ONSET_COLUMNS = ("segment_id", "output", "test", "window_start")
ALL = "all"
"""How 'all users' (segment_id NULL) is keyed."""

MeasureKey = tuple[str, str, str]
"""A segment or ALL, an output of it, and the metric in breach."""

_SERIES = ["key", "output", "metric"]


@dataclass(frozen=True)
class BreachingSegment:
    """The worst measure of one segment, or of all users, and since when it drifts in that."""

    segment_id: str
    name: str
    output: str
    metric: str
    score: float
    ratio: float
    since: str


def breaching_segments(alerts: pd.DataFrame, onsets: pd.DataFrame) -> tuple[BreachingSegment, ...]:
    """Return one per segment, and one for all users if they breach, the worst first.

    Args:
        alerts: rows of `alerts` of one run, COLUMNS.
        onsets: its rows of `drift_onsets`, ONSET_COLUMNS. What has none drifts since its first
            window in breach.
    """
    rows, starts = rated(alerts), _keyed(onsets)
    return tuple(
        BreachingSegment(
            segment_id=row["key"],
            name=row["segment_name"],
            output=row["output"],
            metric=row["metric"],
            score=row["score"],
            ratio=row["ratio"],
            since=f"{_since(row, rows, starts):%Y-%m-%d}",
        )
        for row in rows.drop_duplicates("key").to_dict("records")
    )


def _since(row: Mapping[Hashable, Any], rows: pd.DataFrame, starts: pd.DataFrame) -> pd.Timestamp:
    found = onset_of(starts[starts["key"] == row["key"]], row["output"], row["test"])
    if found is not None:
        return pd.Timestamp(found["window_start"])
    own = rows[(rows[_SERIES] == [row[name] for name in _SERIES]).all(axis=1)]
    return pd.Timestamp(own["window_start"].min())


def ratios(alerts: pd.DataFrame) -> dict[MeasureKey, float]:
    """Return the ratio of each measure in breach in its worst window."""
    rows = rated(alerts).drop_duplicates(_SERIES).to_dict("records")
    return {(row["key"], row["output"], row["metric"]): row["ratio"] for row in rows}


def newest(alerts: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (segment, output, metric): its newest breaching window, worst first."""
    rows = rated(alerts)
    last = rows.groupby(_SERIES)["window_start"].transform("max")
    return rows[rows["window_start"] == last].drop_duplicates(_SERIES)


def rated(alerts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, worst first, with `key` and `ratio`: |score| / threshold, from 1 up."""
    ratio = alerts["score"].astype(float).abs() / alerts["threshold"].astype(float)
    rows = _keyed(alerts).assign(ratio=ratio)
    order = ["ratio", "key", "output", "metric", "window_start"]
    return rows.sort_values(order, ascending=[False, *[True] * 4], ignore_index=True)


def _keyed(frame: pd.DataFrame) -> pd.DataFrame:
    ids = frame["segment_id"]
    return frame.assign(key=ids.where(ids.notna(), ALL).astype(str))
