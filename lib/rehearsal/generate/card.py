"""The model card of a synthesizer: what it is of, what it showed, what it is not for."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rehearsal.generate.gate.candidates import RESAMPLED, SEGMENT, SERVING
from rehearsal.settings import Settings

_NOT_FRESH = {
    SERVING: "what an earlier run left serving: the generator of all segments of that run, and "
    "what the segment added to it then, if anything",
    RESAMPLED: "none: logged requests of the segment are drawn again",
}
_WITHOUT = {
    "fitted": "with this segment's adapter it did not pass its gate",
    "no_gain": "an adapter did not improve held-out loss",
    "insufficient_data": "too few rows for an adapter",
    "failed": "the training of an adapter failed",
}


def model_card(
    settings: Settings,
    run_id: str,
    base: Mapping[str, Any],
    row: Mapping[str, Any],
    scores: pd.DataFrame,
) -> str:
    """Return the card of a segment's synthesizer as Markdown.

    The sections follow Mitchell et al. 2019, Model Cards for Model Reporting.

    Args:
        settings: of the rehearsal.
        run_id: of the rehearsal.
        base: the row of the generator of all segments.
        row: the segment's row of `synthesizers`.
        scores: the segment's rows of `generator_scores`.
    """
    segment = row["segment_id"]
    lines = [
        f"# Synthesizer {row['synthesizer_version']} of segment {segment}",
        "",
        f"Makes requests like those of segment {segment}, for replays of a model release.",
        f"Served by: **{row['served_by']}**, {str(row['why']).rstrip('.')}.",
        "",
        *_made(settings, run_id, base, row),
        "",
        *_privacy(base, row),
        "## What it showed",
        *_table(scores),
        "",
        "## Not for",
        "- statements about persons: rows are drawn, nobody sent them",
        "- other segments, other times, or request types it was not asked for",
    ]
    return "\n".join(lines) + "\n"


def _made(
    settings: Settings, run_id: str, base: Mapping[str, Any], row: Mapping[str, Any]
) -> list[str]:
    served_by = row["served_by"]
    if served_by in _NOT_FRESH:
        # This run's training says nothing of it.
        earlier = f"; trained in rehearsal {row['base_run_id']}, whose card says on what"
        told = _NOT_FRESH[served_by] + (earlier if served_by == SERVING else "")
        return ["## Model", f"- {told}"]
    span, version = settings.replay, base["source_version"]
    own = served_by == SEGMENT
    added = "and an adapter of this segment's own" if own else f"alone: {_WITHOUT[row['status']]}"
    loss = row.get("validation_nats" if own else "base_nats")
    return [
        "## Trained on",
        f"- {settings.requests.label}" + (f", version {version}" if version else ""),
        f"- requests from {span.start:%Y-%m-%d} to {span.end:%Y-%m-%d}",
        f"- {row['n_rows']:,} rows of this segment, {base['n_rows']:,} of all segments",
        f"- {base['n_left_out']:,} rows left out that break a declared range or constraint",
        f"- rehearsal {run_id}, rows {base['fingerprint']}",
        "",
        "## Model",
        f"- {row['kind']}: the generator of all segments {added}",
        f"- held-out loss {_number(loss)} nats per row",
        f"- {_private(base)}",
    ]


def _private(base: Mapping[str, Any]) -> str:
    if base["epsilon"] is None:
        return "not differentially private; see the privacy scores below"
    return "differentially private for one user's requests"


def _privacy(base: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Return what epsilon covers and what it does not; nothing of a model without."""
    if base["epsilon"] is None:
        return []
    public = "columns; segments, their profiles and members; which segments and types drift"
    outside = "the scores below, who serves, counts and hashes on this card, all other tables"
    covered = "the codec and the generator of all segments of this run, and what they make"
    spent = f"epsilon {base['epsilon']:.4g}, delta {base['delta']:g}"
    lines = [
        "## Privacy",
        f"- {spent} for one user's requests cover {covered}",
        f"- taken for public: {public}",
        f"- not covered: {outside}; these are of real requests and stay inside",
        "- every fit spends epsilon again; what is given away of several fits adds up",
    ]
    if row["served_by"] == SERVING:
        lines.append(f"- what serves is of run {row['base_run_id']}, which spent its own budget")
    if row["served_by"] == RESAMPLED:
        lines.append("- what serves is logged requests, which nothing protects")
    return [*lines, ""]


def _table(scores: pd.DataFrame) -> list[str]:
    if scores.empty:
        return ["Nobody was judged: no generator was fitted, or too few rows are held out."]
    heads = "| candidate | score | value | real halves | independent columns | limit | passed |"
    rows = [
        f"| {s['candidate']} | {s['score']} | {_number(s['value'])} | {_number(s['half_vs_half'])} "
        f"| {_number(s['independent'])} | {_number(s['limit'])} | "
        f"{'yes' if s['passed'] else '**no**'} |"
        for s in scores.to_dict("records")
    ]
    return [heads, "|---|---|---|---|---|---|---|", *rows]


def _number(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.3f}"
