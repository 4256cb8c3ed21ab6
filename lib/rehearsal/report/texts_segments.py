"""What the page says of the segments in words and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rehearsal.report import flows
from rehearsal.report.charts_segments import INDICES
from rehearsal.report.findings import Finding
from rehearsal.report.frames import ReportData
from rehearsal.report.rows import plain
from rehearsal.report.rows_segments import (
    COLOURS,
    MAX_COLUMNS,
    MAX_FEATURES,
    SHAPES,
    by_size,
    looks,
    telling_features,
)
from rehearsal.tables.schemas import COLD, NOISE

MAX_MOVERS, MAX_EVENTS = 20, 30
STABLE, DOUBTFUL = 0.75, 0.6
"""Mean Jaccard over bootstrap fits: from the one up stable, below the other not to be trusted."""

METHODS = {
    "kmeans": "k-means",
    "bisecting": "bisecting k-means",
    "mixture": "Gaussian mixture",
    "dbscan": "DBSCAN",
}
DECISIONS = {
    "fit": "fitted them for the first time",
    "reassign": "kept them and assigned users again",
    "warm_refit": "fitted them again from where they were",
    "cold_refit": "fitted them again from scratch",
}
_EVENT_ORDER = ("split", "merged", "born", "died", "survived")
_OUTLINES = {
    "circle": "M6 1.4a4.6 4.6 0 1 0 .01 0z",
    "square": "M2 2h8v8h-8z",
    "triangle-up": "M6 1.2L11 10.4H1z",
    "diamond": "M6 .6L11 6L6 11.4L1 6z",
}
"""The shapes of the map as SVG paths in a box of 12 x 12."""


def segment_texts(data: ReportData, found: Sequence[Finding]) -> dict[str, Any]:
    """Return what the section on segments says, as plain values the template escapes."""
    moved = flows.ended(data.migrations)
    labels = {one.key: one.label for one in found}
    titles = {one.key: one.title for one in found} | {COLD: COLD, NOISE: NOISE}
    n_features = len(telling_features(data))
    return {
        "segmentation": _segmentation(data),
        "sized": _sized(data, labels),
        "left_out": {
            "segments": max(0, data.profiles["segment_id"].nunique() - MAX_COLUMNS),
            "looks": max(0, data.profiles["segment_id"].nunique() - len(COLOURS) * len(SHAPES)),
            "features": max(0, n_features - MAX_FEATURES),
            "matrix": _summed(moved, flows.MATRIX_SEGMENTS),
            "sankey": _summed(moved, flows.SANKEY_SEGMENTS),
        },
        "movers": _movers(moved, titles),
        "events": _events(data.events),
        "indices": [(name, *told[:2]) for name, told in INDICES.items()],
    }


def _segmentation(data: ReportData) -> dict[str, Any]:
    """Return the one sentence on the run's decision, and its figures with their meaning."""
    if data.segmentation.empty:
        return {"told": "", "reason": "", "facts": []}
    row = {str(name): plain(value) for name, value in data.segmentation.iloc[0].items()}
    method = METHODS.get(row["method"], row["method"])
    decision = DECISIONS.get(row["decision"], row["decision"])
    count = "1 segment" if row["k"] == 1 else f"{row['k']} segments"
    told = f"{count} by {method}. Run {row['run_id']} {decision}. {_moved_told(row)}"
    return {"told": told, "reason": (row["reason"] or "").rstrip("."), "facts": _facts(row)}


def _moved_told(row: Mapping[str, Any]) -> str:
    if row["decision"] == "fit":
        return f"{row['n_users']:,} users were assigned."
    share = f" ({row['n_moved'] / row['n_users']:.1%})" if row["n_users"] and row["n_moved"] else ""
    counted = {name: row[name] or 0 for name in ("n_moved", "n_new", "n_gone")}
    return (
        f"Of {row['n_users'] or 0:,} users {counted['n_moved']:,}{share} changed segment and "
        f"{counted['n_new']:,} are new; {counted['n_gone']:,} are gone."
    )


def _facts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures that are known, in the order of the decision."""
    formats = {
        "psi": ("PSI of the mix since the fit", "{:.3f}"),
        "cost_ratio": ("Cost per user ÷ that at the fit", "{:.3f}"),
        "far_share": ("Users farther out than 99% were", "{:.1%}"),
        "silhouette": ("Silhouette, all users (-1 to 1)", "{:.3f}"),
        "cost": ("Mean squared distance, scaled units", "{:.4g}"),
        "n_fit_users": ("Users in the fitting sample", "{:,}"),
        "as_of": ("Behaviour before (UTC)", "{:%Y-%m-%d %H:%M}"),
        "valid_from": ("In force since (UTC)", "{:%Y-%m-%d %H:%M}"),
    }
    return [
        (title, shape.format(row[name]))
        for name, (title, shape) in formats.items()
        if row[name] is not None
    ]


def _sized(data: ReportData, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row per segment, the largest first."""
    look = looks(data)
    return [
        {
            "key": one.key,
            "label": labels.get(str(one.key), one.key),
            "n_users": plain(one.n_users),
            "user_share": plain(one.user_share),
            "stability": plain(one.stability),
            "verdict": _told(str(one.key), plain(one.stability), is_small=bool(one.is_small)),
            "colour": look[str(one.key)].colour,
            "outline": _OUTLINES[look[str(one.key)].shape],
        }
        for one in by_size(data).itertuples()
    ]


def _told(key: str, stability: float | None, *, is_small: bool) -> str:
    if key in (COLD, NOISE):
        return "not a fitted segment"
    sure = _stability_told(stability)
    return f"{sure}, small: below segments.min_segment_share" if is_small else sure


def _stability_told(stability: float | None) -> str:
    if stability is None:
        return "not measured"
    if stability < DOUBTFUL:
        return "⚠ doubtful"
    return "✓ stable" if stability >= STABLE else "◆ a pattern with unsure borders"


def _summed(moved: pd.DataFrame, limit: int) -> int:
    names = (set(moved["source"]) | set(moved["target"])) - {flows.NEW, flows.GONE}
    return max(0, len(names) - limit)


def _movers(moved: pd.DataFrame, titles: Mapping[str, str]) -> dict[str, Any]:
    """Return the largest flows with what their users are worth, and how many users stayed."""
    listed = flows.movers(moved)
    total, n_moved = int(moved["n_users"].sum()), int(listed["n_users"].sum())
    rows = [
        {
            **{name: plain(one[name]) for name in ("n_users", "from_share", "expected_share")},
            "source": titles.get(one["source"], one["source"]),
            "target": titles.get(one["target"], one["target"]),
            "requests": _change(one["requests_before"], one["requests_after"]),
            "value": _change(one["value_before"], one["value_after"]),
            "direction": plain(one["direction"]),
            "unusual": bool(one["unusual"]),
            "reason": plain(one["reason"]),
        }
        for one in listed.head(MAX_MOVERS).to_dict("records")
    ]
    return {
        "known": len(moved) > 0,
        "previous": str(moved["previous_run_id"].iloc[0]) if len(moved) else "",
        "stayed": total - n_moved,
        "total": total,
        "rows": rows,
        "n_flows": len(listed),
        "n_unusual": int(listed["unusual"].sum()),
        "valued": any(row["value"] != _change(None, None) for row in rows),
    }


def _change(before: Any, after: Any) -> str:
    told = ["–" if plain(value) is None else f"{value:,.4g}" for value in (before, after)]
    return f"{told[0]} → {told[1]}"


def _events(events: pd.DataFrame) -> dict[str, Any]:
    """Return what a refit did to each segment, in words; changes before survivals."""
    order = {name: place for place, name in enumerate(_EVENT_ORDER)}
    rows = sorted(
        events.to_dict("records"),
        key=lambda row: (order.get(row["event"], len(order)), flows.in_order([row["segment_id"]])),
    )
    told = [
        {
            "event": row["event"],
            "segment": row["segment_id"],
            "n_users": plain(row["n_users"]),
            "told": _event_told(row),
        }
        for row in rows[:MAX_EVENTS]
    ]
    return {"rows": told, "n": len(rows)}


def _event_told(row: Mapping[Any, Any]) -> str:
    """Say one event in words (MONIC, Spiliopoulou et al. 2006)."""
    others = row["other_ids"] if row["other_ids"] is not None else ()
    named = _listed(flows.in_order(str(one) for one in others))
    share = "some" if plain(row["share"]) is None else f"{row['share']:.0%}"
    sentences = {
        "survived": f"goes on with {share} of its users",
        "born": f"is new; {share} of its users came from {named}" if named else "is new",
        "died": f"is no more; {share} of its users went to {named}" if named else "is no more",
        "split": f"came apart: {share} of its users went to {named}",
        "merged": f"took in {named}, which make up {share} of it",
    }
    return sentences.get(row["event"], f"{row['event']} {named}")


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
