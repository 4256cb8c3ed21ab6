"""The rows of `alerts` as what is told: one breach per segment, and a digest of them all."""

from dataclasses import dataclass

import pandas as pd

from rehearsal.seeds import short_hash

COLUMNS = (
    "segment_id", "segment_name", "window_start", "output", "metric", "score", "threshold",
)  # fmt: skip
ALL = "all"
"""How 'all users' (segment_id NULL) is keyed."""


@dataclass(frozen=True)
class Breach:
    """The worst measure of one segment, and since when the segment breaches."""

    segment_id: str
    name: str
    output: str
    metric: str
    score: float
    ratio: float
    since: str


def breaches(alerts: pd.DataFrame) -> tuple[Breach, ...]:
    """Return one breach per segment, and one for all users if they breach, the worst first."""
    rows = rated(alerts)
    since = rows.groupby("key")["day"].min().to_dict()
    return tuple(
        Breach(
            segment_id=row["key"],
            name=row["segment_name"],
            output=row["output"],
            metric=row["metric"],
            score=row["score"],
            ratio=row["ratio"],
            since=since[row["key"]],
        )
        for row in rows.drop_duplicates("key").to_dict("records")
    )


def newest(alerts: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (segment, output, metric): its newest breaching window, worst first."""
    rows = rated(alerts)
    series = ["key", "output", "metric"]
    last = rows.groupby(series)["window_start"].transform("max")
    return rows[rows["window_start"] == last].drop_duplicates(series)


def rated(alerts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, worst first, with `key`, `day` (window's first) and `ratio`.

    ratio is |score| / threshold, from 1 up.
    """
    ids = alerts["segment_id"]
    rows = alerts.assign(
        key=ids.where(ids.notna(), ALL).astype(str),
        day=pd.to_datetime(alerts["window_start"]).dt.strftime("%Y-%m-%d"),
        ratio=alerts["score"].astype(float).abs() / alerts["threshold"].astype(float),
    )
    order = ["ratio", "key", "output", "metric", "window_start"]
    return rows.sort_values(order, ascending=[False, *[True] * 4], ignore_index=True)


def digest(alerts: pd.DataFrame) -> str:
    """Return a short hash of what breaches, the same whatever the order of the rows.

    Names and sentences derive from the rest. Scores count to six digits: sums that were added up
    in another order differ beyond.
    """
    rows = rated(alerts)
    texts = (
        f"{row.key} {row.window_start:%Y-%m-%dT%H:%M} {row.output} {row.metric} "
        f"{row.score:.6g} {row.threshold:.6g}"
        for row in rows.itertuples()
    )
    return short_hash(*sorted(texts))
