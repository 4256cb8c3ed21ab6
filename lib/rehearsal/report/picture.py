"""Charts of the report where there is no page: in a notebook, or as a picture."""

from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from rehearsal.report import charts, charts_series
from rehearsal.report.charts import Figure
from rehearsal.report.frames import ReportData
from rehearsal.report.page import first_state
from rehearsal.report.reading import Reading
from rehearsal.report.rows import chart_rows, plain


def picture(data: ReportData, width: int = 900) -> bytes:
    """Return heat map above time series as PNG, drawn without a browser."""
    run = Reading(data)
    frames = chart_rows(run)
    state, records = first_state(run, frames), _records(frames["scores"])
    parts = [
        charts.heat_map(run.shown, len(run.windows), width),
        charts_series.time_series(run.windows, width),
    ]
    titles = [run.offered[0].label, run.labels[state["segment"]]]
    specs = [
        {
            **part.chart.to_dict(context={"pre_transform": False}),
            "title": {"text": title, "anchor": "start"},
        }
        for part, title in zip(parts, titles, strict=True)
    ]
    for spec in specs:
        for inherited in ("$schema", "config"):
            spec.pop(inherited, None)
    return bytes(
        vl_convert.vegalite_to_png(
            {
                "$schema": alt.SCHEMA_URL,
                "vconcat": specs,
                "datasets": {"scores": records},
                "params": [{"name": name, "value": value} for name, value in state.items()],
                "resolve": {"scale": {"color": "independent", "shape": "independent"}},
                "config": {**charts.CONFIG, "background": "white"},
                "padding": 16,
            },
            scale=2,
        )
    )


def with_rows(figure: Figure, rows: pd.DataFrame, **state: str) -> Any:
    """Return a chart of the report as an altair chart that holds its rows: a notebook shows it.

    Args:
        figure: the chart, of a fixed width.
        rows: what it shows.
        state: what is chosen, e.g. `segment`.
    """
    held = {"datasets": {figure.rows: _records(rows)}}
    return alt.Chart.from_dict(figure.spec(state) | held)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): plain(value) for k, value in one.items()} for one in rows.to_dict("records")]
