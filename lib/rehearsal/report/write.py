"""Write a run's report, and the figures and table that sum it up."""

import os
import tempfile
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rehearsal.report.data import read_report_data
from rehearsal.report.findings import Finding, breaching, findings
from rehearsal.report.frames import ReportData
from rehearsal.report.glossary import GLYPHS, STATUS_WORDS
from rehearsal.report.page import render
from rehearsal.report.rows import plain
from rehearsal.report.texts import MISSING, top_types
from rehearsal.runtime import Job

_STYLES = {"red": "bold red", "yellow": "yellow", "green": "green", "insufficient_data": "dim"}


def write_report(job: Job) -> Path:
    """Read the run's tables, write `output.report` whole or not at all, and return where."""
    return save_report(read_report_data(job), Path(job.settings.output.report))


def save_report(data: ReportData, place: Path) -> Path:
    """Write the page beside its place and move it there, so that no reader sees half of it."""
    page = render(data)
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        # mkstemp is for the owner's eyes only; a report is for others too.
        unfinished.chmod(0o644)
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)
    return place


def key_metrics(data: ReportData) -> dict[str, float]:
    """Return the run's figures for MLflow; what could not be measured is left out."""
    found = findings(data)
    segments = [one for one in found if one.ratio is not None]
    metrics = {
        "n_segments": len(found) - 1,
        "n_breaching_segments": len(breaching(found)),
        "n_requests": data.n_requests,
        "n_quarantined": data.quarantine["n_rows"].sum(),
        "n_synthetic": data.generated["n_synthetic"].sum(),
    }
    if segments:
        metrics["worst_score_over_threshold"] = max(one.ratio or 0.0 for one in segments)
    metrics |= _segment_metrics(data)
    overall = data.effects[data.effects["scope"] == "all"]
    for row in overall.itertuples():
        metrics["baseline_disagreements_per_1000"] = row.baseline_per_1000
        metrics["augmented_disagreements_per_1000"] = row.augmented_per_1000
    return {name: float(value) for name, value in metrics.items()}


def _segment_metrics(data: ReportData) -> dict[str, float]:
    """Return how far users moved, and how well the segments fit them."""
    if data.segmentation.empty:
        return {}
    row = data.segmentation.iloc[0]
    metrics = {"silhouette": row["silhouette"], "segment_mix_psi": row["psi"]}
    if row["n_users"]:
        metrics["moved_user_share"] = row["n_moved"] / row["n_users"]
    return {name: float(value) for name, value in metrics.items() if plain(value) is not None}


def summary_table(data: ReportData) -> Table:
    """Return one row per segment, the worst first, for the console."""
    table = Table(title=None, header_style="bold", show_edge=False, pad_edge=False)
    for name, justify in (
        ("segment", "left"), ("users", "right"), ("status", "left"),
        ("score ÷ threshold", "right"), ("since", "left"), ("top request types", "left"),
        ("synthetic", "right"),
    ):  # fmt: skip
        table.add_column(name, justify="right" if justify == "right" else "left")
    for one in findings(data):
        table.add_row(*_cells(one))
    return table


def _cells(one: Finding) -> list[Text]:
    # Text, not markup: names and request types may hold brackets.
    style = _STYLES[one.status]
    ratio = MISSING if one.ratio is None else f"{one.ratio:.2f}"
    return [
        Text(one.label),
        Text(f"{one.n_users:,}" if one.n_users is not None else MISSING),
        Text(f"{GLYPHS[one.status]} {STATUS_WORDS[one.status]}", style=style),
        Text(ratio),
        Text(one.since or MISSING),
        Text(top_types(one.top_types)),
        Text(f"{one.n_synthetic:,}"),
    ]
