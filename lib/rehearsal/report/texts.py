"""Rows and number formats of the page's tables."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from rehearsal.report.findings import Finding
from rehearsal.report.frames import ReportData
from rehearsal.report.reading import Reading
from rehearsal.report.rows import effect_place, marginal_columns, plain, total_variation
from rehearsal.report.scores import keyed

MISSING = "–"
MAX_MESSAGES = 300
_SMALLEST = 0.001


def page_tables(run: Reading) -> dict[str, Any]:
    """Return what the page's tables hold, as plain values the template escapes."""
    data, labels, shown = run.data, run.labels, set(run.keys)
    cells, effects = (
        frame[frame["key"].isin(shown)] for frame in map(keyed, (data.generated, data.effects))
    )
    cells = cells.sort_values(["key", "n_synthetic", "request_type"], ascending=[True, False, True])
    return {
        "n_quarantined": int(data.quarantine["n_rows"].sum()),
        "quarantine": _records(data.quarantine),
        "messages": [str(message) for message in data.alerts["message"].head(MAX_MESSAGES)],
        "n_messages": len(data.alerts),
        "n_synthetic": int(data.generated["n_synthetic"].sum()),
        "cells": _labelled(cells, labels),
        "marginals": _marginals(data, shown),
        "effects": _effects(effects, labels),
    }


def top_types(types: Sequence[tuple[str, float]]) -> str:
    """Return request types with their share of the drift."""
    return ", ".join(f"{kind} {share:.0%}" for kind, share in types) or MISSING


def seen(one: Finding) -> str:
    """Return how large a drift a green finding would have shown, empty for others."""
    if one.status != "green" or one.measure is None:
        return ""
    if one.detectable is None:
        return "too few users are answered differently to test it"
    told = f"{max(one.detectable, one.threshold or 0.0):.2g} or more would have shown"
    weak = one.threshold is not None and one.detectable > one.threshold
    return f"only {told}, above the threshold {one.threshold:.2g}" if weak else told


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")
    ]


def _labelled(frame: pd.DataFrame, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return _records(frame.assign(segment=frame["key"].map(labels).fillna(frame["key"])))


def _marginals(data: ReportData, shown: Collection[str]) -> list[dict[str, Any]]:
    distances = total_variation(data)
    distances = distances[distances["key"].isin(shown)]
    listed = []
    for place, (column, kind) in enumerate(marginal_columns(data).items()):
        of_column = distances[distances["column_name"] == column]
        pairs = list(zip(of_column["key"], of_column["distance"], strict=True))
        listed.append(
            {"name": f"marginals_{place}", "column": column, "kind": kind, "distances": pairs}
        )
    return listed


def _effects(effects: pd.DataFrame, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "key": one.key,
            "where": effect_place(one, labels),
            "baseline": _span(one.baseline_per_1000, one.baseline_ci_low, one.baseline_ci_high),
            "augmented": _span(one.augmented_per_1000, one.augmented_ci_low, one.augmented_ci_high),
            "effect": _span(one.effect_per_1000, one.effect_ci_low, one.effect_ci_high, signed="+"),
            "n_baseline": plain(one.n_baseline),
            "n_augmented": plain(one.n_augmented),
        }
        for one in effects.itertuples()
    ]


def _span(rate: Any, low: Any, high: Any, signed: str = "") -> str:
    known = [plain(value) for value in (rate, low, high)]
    told = [MISSING if value is None else f"{value:{signed}.1f}" for value in known]
    return f"{told[0]} [{told[1]}, {told[2]}]" if known[1] is not None else told[0]


def _count(value: float | None) -> str:
    return MISSING if value is None else f"{int(value):,}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _chance(value: float | None) -> str:
    if value is None:
        return MISSING
    return "< 0.001" if value < _SMALLEST else f"{value:.2g}"


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1%}"


def _instant(value: datetime) -> str:
    return value.strftime(
        "%Y-%m-%d" if value == datetime.combine(value, datetime.min.time()) else "%Y-%m-%d %H:%M"
    )


FILTERS: dict[str, Callable[..., str]] = {
    "count": _count,
    "number": _number,
    "percent": _percent,
    "chance": _chance,
    "instant": _instant,
    "types": top_types,
    "seen": seen,
}
"""Formats the template uses, by name."""
