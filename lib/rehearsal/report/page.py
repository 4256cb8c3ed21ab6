"""The report as one HTML page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import altair as alt
import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from rehearsal.report import charts, charts_flows, charts_generated, charts_segments
from rehearsal.report.charts import Figure
from rehearsal.report.data import ReportData
from rehearsal.report.findings import (
    ALL_KEY,
    Finding,
    Measure,
    drawn,
    findings,
    measures,
    verdict,
    window_starts,
)
from rehearsal.report.glossary import (
    GLOSSARY,
    GLYPHS,
    SEGMENT_GLOSSARY,
    STATUS_NOTES,
    STATUS_WORDS,
)
from rehearsal.report.rows import (
    chart_rows,
    compact_json,
    marginal_columns,
    plain,
    script_json,
)
from rehearsal.report.rows_segments import MAX_COLUMNS
from rehearsal.report.texts import FILTERS, page_tables
from rehearsal.report.texts_segments import segment_texts
from rehearsal.settings import METRICS

_PACKAGE = "rehearsal.report"
_GLOBALS = "window.vegaEmbed = vegaEmbed;"


def render(data: ReportData) -> str:
    """Return the page: no request leaves it, and no text of the user's is markup in it."""
    found, metrics = findings(data), measures(data)
    state = first_state(found, metrics)
    frames = chart_rows(data, found)
    figures = _figures(data, found) | _segment_figures(data, frames)
    specs = {
        name: {
            "spec": figure.spec(state),
            "rows": figure.rows,
            "follows": figure.follows,
            "picks": figure.picks,
        }
        for name, figure in figures.items()
    }
    return _template().render(
        data=data,
        found=found,
        measures=metrics,
        verdict=verdict(found),
        state=state,
        all_key=ALL_KEY,
        granularity=data.scores["granularity"].iloc[0],
        glyphs=GLYPHS,
        status_words=STATUS_WORDS,
        status_notes=STATUS_NOTES,
        glossary=[(name, GLOSSARY[name]) for name in METRICS],
        segment_glossary=SEGMENT_GLOSSARY,
        figures=set(figures),
        n_drawn=len(drawn(data, found)) - 1,
        absent=_absent(data),
        rows=Markup(compact_json(frames)),  # noqa: S704 no '<' is left in it
        specs=Markup(script_json(specs)),  # noqa: S704 likewise
        state_json=Markup(script_json(state)),  # noqa: S704 likewise
        **page_tables(data, found),
        **segment_texts(data, found),
        **_assets(),
    )


def first_state(found: Sequence[Finding], metrics: Sequence[Measure]) -> dict[str, str]:
    """Return what the page shows at first: the worst segment in the first measure."""
    worst = found[1] if len(found) > 1 else found[0]
    return {"segment": worst.key, "measure": metrics[0].key, "output": metrics[0].output}


def _figures(data: ReportData, found: Sequence[Finding]) -> dict[str, Figure]:
    windows = window_starts(data)
    figures = {
        "heat_map": charts.heat_map(drawn(data, found), len(windows), "container"),
        "time_series": charts.time_series(windows, "container"),
        "profile": charts.profile_bars("container"),
    }
    if len(data.contributions):
        figures["contributions"] = charts.contribution_bars("container")
    if len(data.synthesizers):
        figures["losses"] = charts_generated.losses("container")
    for place, (column, kind) in enumerate(marginal_columns(data).items()):
        name = f"marginals_{place}"
        figures[name] = charts_generated.marginals(
            column, name, categorical=kind == "categorical", width="container"
        )
    if len(data.effects):
        figures["effect"] = charts_generated.effect("container")
    return figures


def _segment_figures(data: ReportData, frames: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Return the charts of the segments that have something to show."""
    profiles = frames["profile_map"]
    sizes = profiles["key"].nunique(), profiles["feature"].nunique()
    figures = {
        "segment_map": charts_segments.segment_map(sizes[0], "container"),
        "profile_map": charts_segments.profile_map(*sizes, MAX_COLUMNS, "container"),
        "migration_matrix": charts_flows.migration_matrix(frames["migration_matrix"], "container"),
        "sankey": charts_flows.sankey(frames["sankey"], "container"),
    }
    curve, fitted = data.k_curve, data.segmentation
    chosen = None if fitted.empty else plain(fitted["k"].iloc[0])
    for name in charts_segments.INDICES:
        if curve[name].notna().any():
            figures[f"k_{name}"] = charts_segments.k_index(name, curve, chosen, "container")
    if not fitted.empty:
        eps = plain(fitted["eps"].iloc[0])
        figures["k_distances"] = charts_segments.k_distances(eps, "container")
    return {name: figure for name, figure in figures.items() if len(frames[figure.rows])}


def _absent(data: ReportData) -> dict[str, str]:
    """Return what each section says instead of its rows; empty where it has some."""
    if not (data.scores["status"] == "red").any():
        why = "nothing breaches a threshold, so there is nothing to amplify"
    elif data.stored_outputs:
        why = "the models' outputs come from the log, so synthetic requests could not be scored"
    else:
        why = "the steps that make it have not been run, or had too few rows"
    said = {
        "contributions": "No contributions in this run",
        "generated": "No synthetic requests in this run",
        "synthesizers": "No generator was fitted in this run",
        "fidelity": "No synthetic requests to compare in this run",
        "effects": "No effect was measured in this run",
    }
    frames = {name: getattr(data, name) for name in said}
    return {name: f"{text}: {why}." if frames[name].empty else "" for name, text in said.items()}


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
    )
    environment.filters |= FILTERS
    return environment.get_template("page.html.j2")


@cache
def _assets() -> dict[str, Markup]:
    """Return style, script and the charting library: our own texts, so not escaped."""
    folder = files(_PACKAGE)
    texts = {
        "css": (folder / "page.css").read_text(encoding="utf-8"),
        "script": (folder / "page.js").read_text(encoding="utf-8"),
        "bundle": str(vl_convert.javascript_bundle(_GLOBALS)),
    }
    return {name: Markup(text) for name, text in texts.items()}  # noqa: S704 none is user input


def picture(data: ReportData, width: int = 900) -> bytes:
    """Return heat map above time series as PNG, drawn without a browser."""
    found, metrics = findings(data), measures(data)
    state = first_state(found, metrics)
    windows = window_starts(data)
    rows = chart_rows(data, found)["scores"]
    records = [
        {name: plain(value) for name, value in one.items()} for one in rows.to_dict("records")
    ]
    parts = [
        charts.heat_map(drawn(data, found), len(windows), width),
        charts.time_series(windows, width),
    ]
    titles = [metrics[0].label, f"{found[1].label if len(found) > 1 else found[0].label}"]
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
