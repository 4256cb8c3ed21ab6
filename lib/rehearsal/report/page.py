"""The report as one HTML page that needs nothing but itself."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from rehearsal.report import (
    charts,
    charts_flows,
    charts_gate,
    charts_generated,
    charts_joint,
    charts_parts,
    charts_segments,
    charts_series,
)
from rehearsal.report.charts import Figure
from rehearsal.report.findings import verdict
from rehearsal.report.frames import ReportData
from rehearsal.report.glossary import GLYPHS, STATUS_NOTES, STATUS_WORDS
from rehearsal.report.reading import Reading
from rehearsal.report.rows import (
    chart_rows,
    compact_json,
    marginal_columns,
    plain,
    script_json,
)
from rehearsal.report.rows_generated import BASE_KEY, generator_rows
from rehearsal.report.rows_joint import WHOLE
from rehearsal.report.rows_segments import MAX_COLUMNS
from rehearsal.report.scores import ALL_KEY
from rehearsal.report.terms import (
    GLOSSARY,
    NUMBER_GLOSSARY,
    OUTPUT_GLOSSARY,
    SEGMENT_GLOSSARY,
    TEST_GLOSSARY,
)
from rehearsal.report.terms_generated import GENERATOR_GLOSSARY
from rehearsal.report.texts import FILTERS, page_tables
from rehearsal.report.texts_generated import generator_texts
from rehearsal.report.texts_segments import segment_texts
from rehearsal.report.texts_why import why
from rehearsal.settings import METRICS

_PACKAGE = "rehearsal.report"
_GLOBALS = "window.vegaEmbed = vegaEmbed;"


def render(data: ReportData) -> str:
    """Return the page: no request leaves it, and no text of the user's is markup in it."""
    run = Reading(data)
    frames = chart_rows(run) | generator_rows(data, run.keys)
    state = first_state(run, frames)
    figures = _figures(run) | _segment_figures(data, frames) | _generator_figures(frames)
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
        found=run.found,
        measures=run.offered,
        verdict=verdict(run.found),
        state=state,
        all_key=ALL_KEY,
        granularity=data.scores["granularity"].iloc[0],
        n_measures=len(run.measures),
        joints=list(run.bins),
        **_words(),
        figures=set(figures),
        n_drawn=len(run.shown) - 1,
        absent=_absent(data),
        rows=Markup(compact_json(frames)),  # noqa: S704 no '<' is left in it
        specs=Markup(script_json(specs)),  # noqa: S704 likewise
        glyphs_json=Markup(  # noqa: S704 likewise
            script_json({one: f"{GLYPHS[one]} {STATUS_WORDS[one]}" for one in GLYPHS})
        ),
        state_json=Markup(script_json(state)),  # noqa: S704 likewise
        why=why(run),
        **page_tables(run),
        **generator_texts(run),
        **segment_texts(data, run.found),
        **_assets(),
    )


def _words() -> dict[str, Any]:
    """Return what the page's words and symbols mean."""
    return {
        "glyphs": GLYPHS,
        "status_words": STATUS_WORDS,
        "status_notes": STATUS_NOTES,
        "whole": WHOLE,
        "glossary": {
            "Metrics": {name: GLOSSARY[name] for name in METRICS},
            "What they are of": OUTPUT_GLOSSARY,
            "What is tested": TEST_GLOSSARY,
            "Numbers beside them": NUMBER_GLOSSARY,
            "Words of the section on segments": SEGMENT_GLOSSARY,
            "Words of the sections on generators": GENERATOR_GLOSSARY,
        },
    }


def first_state(run: Reading, frames: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Return what the page shows at first: the worst segment in its worst window."""
    worst = run.found[1] if len(run.found) > 1 else run.found[0]
    held = frames["windows"]
    windows = held.loc[(held["key"] == worst.key) & (held["place"] == 0), "window"]
    parts = frames["contributions"]
    own = list(parts.loc[parts["key"] == worst.key, "part"].unique())
    measure = run.offered[0]
    return {
        "segment": worst.key,
        "measure": measure.key,
        "part": own[0] if own and measure.split not in own else measure.split,
        "window": str(windows.iloc[0]) if len(windows) else WHOLE,
    }


def _figures(run: Reading) -> dict[str, Figure]:
    data = run.data
    figures = {
        "heat_map": charts.heat_map(run.shown, len(run.windows), "container"),
        "time_series": charts_series.time_series(run.windows, "container"),
        "profile": charts.profile_bars("container"),
    }
    for output, bins in run.bins.items():
        figures[f"joint_{output}"] = charts_joint.joint_map(bins, "container")
        figures[f"bins_{output}"] = charts_joint.bin_shares(bins, "container")
    if len(data.contributions):
        figures["contributions"] = charts_parts.waterfall("container")
    for place, (column, kind) in enumerate(marginal_columns(data).items()):
        name = f"marginals_{place}"
        figures[name] = charts_generated.marginals(
            column, name, categorical=kind == "categorical", width="container"
        )
    if len(data.effects):
        figures["effect"] = charts_generated.effect("container")
    return figures


def _generator_figures(frames: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Return the charts of generators that have something to show."""
    figures = {}
    if len(frames["curves"]):
        figures["losses_all"] = charts_generated.losses(
            f"'{BASE_KEY}'", "the generator of all segments", (), "container"
        )
        figures["losses"] = charts_generated.losses(
            "segment", "what the chosen segment adds", ("key",), "container"
        )
    if len(frames["gate"]):
        figures["scales"] = charts_gate.scales("container")
    if len(frames["rounds"]):
        for name, title in (("auc", "C2ST AUC"), ("quality", "quality")):
            figures[f"rounds_{name}"] = charts_gate.rounds(name, title, "container")
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
    red = data.scores[data.scores["status"] == "red"]
    if red.empty:
        why = "nothing breaches a threshold, so there is nothing to amplify"
    elif red["segment_id"].isna().all():
        why = "no segment breaches a threshold, only all users together"
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
