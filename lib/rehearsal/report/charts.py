"""The report's charts as Vega-Lite: what is marked and encoded; rows come from `rows`.

Every chart refers to its rows by name, so that the page holds them once, and follows the
parameters `segment`, `measure` or `output`, which the page's script sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from rehearsal.report.findings import ALL_KEY, Finding
from rehearsal.report.glossary import GLYPHS, STATUS_WORDS, STATUSES

Width = int | Literal["container"]

BLUE, ORANGE, INK, GREY = "#2b6cb0", "#c2500a", "#1f2933", "#8a94a0"
"""Blue and orange differ for every common colour blindness, in lightness too."""

HEAT_DOMAIN = [0.0, 0.5, 1.0, 2.0, 4.0]
HEAT_RANGE = ["#edf3f8", "#c9dcec", "#fbe3c8", "#ee8f3c", "#a63a00"]
NO_SCORE = "#ececec"
_GLYPH = f"({{{', '.join(f'{status}: {glyph!r}' for status, glyph in GLYPHS.items())}}})"
_WITH_NUMBERS, _WITH_GLYPHS, _LEVEL_DATES = 16, 60, 10
_SIGNED = "kpi_relative_change"
_ROW_PIXELS = 30
_SIDES: tuple[tuple[str, Literal["left", "right"], int], ...] = (
    (">=", "left", 5),
    ("<", "right", -5),
)

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": "#52606d", "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "gridColor": "#e8ecf0", "domainColor": "#cbd2d9",
        "tickColor": "#cbd2d9", "labelLimit": 250,
    },
    "legend": {
        "labelColor": INK, "titleColor": "#52606d", "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "orient": "top", "titleLimit": 400,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A chart, the rows it shows, the state that picks them; `picks`: a click chooses a segment."""

    chart: Any
    rows: str
    follows: tuple[str, ...]
    picks: bool = False

    def spec(self, state: Mapping[str, str]) -> dict[str, Any]:
        """Return the Vega-Lite specification with its parameters at `state`, without rows."""
        parameters = [{"name": name, "value": value} for name, value in state.items()]
        spec: dict[str, Any] = self.chart.to_dict(context={"pre_transform": False})
        fit = {"type": "fit-x", "contains": "padding"}
        return {
            **spec,
            "autosize": fit,
            "config": CONFIG,
            "params": [*spec.get("params", []), *parameters],
        }


def heat_map(found: Sequence[Finding], n_windows: int, width: Width) -> Figure:
    """Segments x windows of one measure: fill = score / threshold, symbol = status."""
    labels = [one.label for one in found]
    base = (
        alt.Chart(alt.NamedData(name="scores"))
        .transform_filter("datum.measure === measure")
        .transform_calculate(
            glyph=f"{_GLYPH}[datum.status]",
            text=_cell_text(n_windows),
            dark="datum.ratio > 2.2",
        )
    )
    y = alt.Y("row:N", title=None, sort=labels, scale=alt.Scale(domain=labels))
    x = alt.X("window:O", title="window starting (UTC)").axis(
        labelAngle=0 if n_windows <= _LEVEL_DATES else -45,
        labelOverlap="parity",
        ticks=False,
    )
    chart = alt.layer(*_cells(base, x, y), _chosen_row(base, y)).properties(
        width=width,
        height=_ROW_PIXELS * len(labels),
        description=(
            "Heat map of drift scores relative to the threshold, one row per segment and one "
            "column per window; the segments table holds the same findings as text."
        ),
    )
    return Figure(chart, "scores", ("measure",), picks=True)


def _cells(base: Any, x: alt.X, y: alt.Y) -> tuple[Any, ...]:
    """Ground for cells without a ratio, the coloured cells, and what is written in them."""
    fill = alt.Color("ratio:Q", title="score ÷ threshold (1 = threshold)").scale(
        domain=HEAT_DOMAIN, range=HEAT_RANGE, clamp=True, interpolate="rgb"
    )
    ink = alt.condition("datum.dark", alt.value("white"), alt.value(INK))
    square = {"stroke": "white", "strokeWidth": 2, "cursor": "pointer"}
    ground = base.mark_rect(color=NO_SCORE, **square)
    cells = base.mark_rect(**square).encode(color=fill, tooltip=_score_tooltip())
    texts = base.mark_text(fontSize=12, cursor="pointer").encode(
        text="text:N", color=ink, tooltip=_score_tooltip()
    )
    return tuple(layer.encode(x=x, y=y) for layer in (ground, cells, texts))


def _chosen_row(base: Any, y: alt.Y) -> Any:
    return (
        base.transform_filter("datum.key === segment")
        .transform_aggregate(n="count()", groupby=["row"])
        .mark_rect(fillOpacity=0, stroke=INK, strokeWidth=2, cornerRadius=2)
        .encode(y=y)
    )


def _cell_text(n_windows: int) -> str:
    if n_windows > _WITH_GLYPHS:
        return "datum.status === 'red' ? datum.glyph : ''"
    if n_windows > _WITH_NUMBERS:
        return "datum.glyph"
    # Nobody compares 0.0000083 with 0.000055 in a cell; the tooltip has all digits.
    number = "abs(datum.score) < 0.0005 ? '0' : format(datum.score, '.2~g')"
    return f"datum.glyph + (isValid(datum.score) ? ' ' + ({number}) : '')"


def _score_tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("row:N", title="segment"),
        alt.Tooltip("window:N", title="window from"),
        alt.Tooltip("status:N"),
        alt.Tooltip("score:Q", format=".4~g"),
        alt.Tooltip("low:Q", title="95% from", format=".4~g"),
        alt.Tooltip("high:Q", title="95% to", format=".4~g"),
        alt.Tooltip("threshold:Q", format=".4~g"),
        alt.Tooltip("q_value:Q", title="q-value", format=".2~g"),
        alt.Tooltip("n_requests:Q", title="requests", format=","),
        alt.Tooltip("n_users:Q", title="users", format=","),
        alt.Tooltip("reason:N"),
    ]


def time_series(windows: Sequence[str], width: Width, height: int = 240) -> Figure:
    """Score of the chosen segment with its 95% interval, all users, and the threshold."""
    rows = (
        alt.Chart(alt.NamedData(name="scores"))
        .transform_filter("datum.measure === measure")
        .transform_calculate(at="toDate(datum.window)")
    )
    chosen = rows.transform_filter("datum.key === segment").transform_calculate(
        who="'chosen segment'"
    )
    everyone = rows.transform_filter(f"datum.key === '{ALL_KEY}'").transform_calculate(
        who="'all users'"
    )
    x, y = _window_axis(windows), alt.Y("score:Q", title="bias-corrected score")
    who = alt.Color("who:N", title=None).scale(
        domain=["chosen segment", "all users"], range=[ORANGE, GREY]
    )
    low = alt.Y("low:Q", title="bias-corrected score")
    band = chosen.mark_area(color=ORANGE, opacity=0.18).encode(x=x, y=low, y2="high:Q")
    ends = chosen.mark_rule(color=ORANGE, opacity=0.35).encode(x=x, y=low, y2="high:Q")
    line = chosen.mark_line(strokeWidth=2.5).encode(x=x, y=y, color=who)
    others = everyone.mark_line(strokeWidth=2, strokeDash=[2, 3]).encode(x=x, y=y, color=who)
    unjudged = (
        chosen.transform_filter("!isValid(datum.score)")
        .mark_text(text=GLYPHS["insufficient_data"], fontSize=16, color=GREY)
        .encode(x=x, y=alt.value("height"), tooltip=_score_tooltip())
    )
    layers = [band, ends, others, line, *_threshold(rows), _points(chosen, x, y), unjudged]
    chart = alt.layer(*layers).properties(
        width=width,
        height=height,
        description=(
            "Drift score of the chosen segment per window with its 95% interval, "
            "all users for comparison, and the threshold as a dashed line."
        ),
    )
    return Figure(chart, "scores", ("measure", "key"))


def _window_axis(windows: Sequence[str]) -> alt.X:
    """One tick per window while they fit side by side."""
    few = len(windows) <= _WITH_NUMBERS
    ticks: dict[str, Any] = {"values": list(windows)} if few else {"tickCount": 10}
    return (
        alt.X("at:T", title="window starting (UTC)")
        .scale(type="utc", padding=12)
        .axis(format="%d %b", labelOverlap="greedy", labelSeparation=10, grid=False, **ticks)
    )


def _points(chosen: Any, x: alt.X, y: alt.Y) -> Any:
    """One mark per window; its shape is the status."""
    judged = [status for status in STATUSES if status != "insufficient_data"]
    words = ", ".join(f"{status}: {STATUS_WORDS[status]!r}" for status in judged)
    shape = alt.Shape("status:N", title=None).scale(
        domain=judged, range=["triangle-up", "diamond", "circle"]
    )
    return (
        chosen.transform_filter("isValid(datum.score)")
        .mark_point(size=75, filled=True, opacity=1, color=ORANGE)
        .encode(
            x=x,
            y=y,
            shape=shape.legend(labelExpr=f"({{{words}}})[datum.value]"),
            tooltip=_score_tooltip(),
        )
    )


def _threshold(rows: alt.Chart) -> tuple[alt.Chart, alt.Chart]:
    """Dashed lines; a change of a KPI breaches downwards too."""
    level = (
        rows.transform_aggregate(threshold="max(threshold)")
        .transform_filter("isValid(datum.threshold)")
        .transform_calculate(
            level=f"test(/{_SIGNED}$/, measure)"
            " ? [datum.threshold, -datum.threshold] : [datum.threshold]"
        )
        .transform_flatten(["level"])
    )
    rule = level.mark_rule(color=INK, strokeDash=[6, 4]).encode(y="level:Q")
    text = level.transform_calculate(told="'threshold ' + format(datum.level, '.3~g')").mark_text(
        align="left", baseline="bottom", dx=4, dy=-3, color=INK
    )
    return rule, text.encode(x=alt.value(0), y="level:Q", text="told:N")


def profile_bars(width: Width) -> Figure:
    """Effect sizes of the chosen segment's most telling features."""
    return _signed_bars(
        "profiles", ("key",), "feature:N", "effect_size:Q", width,
        "difference from all users, in standard deviations", "+.2f",
        [
            alt.Tooltip("feature:N"),
            alt.Tooltip("segment_mean:Q", title="mean in the segment", format=".4~g"),
            alt.Tooltip("overall_mean:Q", title="mean of all users", format=".4~g"),
            alt.Tooltip("effect_size:Q", title="effect size", format="+.2f"),
        ],
        "Bars of the features in which the chosen segment differs most from all users.",
    )  # fmt: skip


def contribution_bars(width: Width) -> Figure:
    """Signed share of the chosen segment's drift per request type."""
    return _signed_bars(
        "contributions", ("key", "output"), "request_type:N", "share:Q", width,
        "share of the segment's drift (shares sum to 100%)", "+.1%",
        [
            alt.Tooltip("request_type:N", title="request type"),
            alt.Tooltip("share:Q", title="share of drift", format="+.1%"),
            alt.Tooltip("request_share:Q", title="share of requests", format=".1%"),
            alt.Tooltip("n_requests:Q", title="requests", format=","),
        ],
        "Bars of the signed share of the chosen segment's drift that each request type brings.",
    )  # fmt: skip


def _signed_bars(
    rows: str, follows: tuple[str, ...], name: str, value: str, width: Width,
    title: str, number: str, tooltip: list[alt.Tooltip], description: str,
) -> Figure:  # fmt: skip
    state = {"key": "segment", "output": "output"}
    base = alt.Chart(alt.NamedData(name=rows)).transform_filter(
        " && ".join(f"datum.{field} === {state[field]}" for field in follows)
    )
    field = value.split(":", maxsplit=1)[0]
    axis = alt.Axis(format=number.removeprefix("+").replace(".1%", "%").replace(".2f", "~g"))
    y = alt.Y(name, title=None, sort=alt.EncodingSortField("rank", op="min", order="ascending"))
    x = alt.X(value, title=title, axis=axis).scale(padding=46)
    bars = base.mark_bar(height={"band": 0.72}).encode(
        x=x,
        y=y,
        color=alt.condition(f"datum.{field} >= 0", alt.value(ORANGE), alt.value(BLUE)),
        tooltip=tooltip,
    )
    texts = [
        base.transform_filter(f"datum.{field} {sign} 0")
        .mark_text(align=align, dx=dx, color=INK)
        .encode(x=x, y=y, text=alt.Text(value, format=number))
        for sign, align, dx in _SIDES
    ]
    chart = alt.layer(bars, *texts).properties(
        width=width, height=alt.Step(24), description=description
    )
    return Figure(chart, rows, follows)
