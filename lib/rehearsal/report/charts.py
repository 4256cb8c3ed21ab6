"""The report's charts as Vega-Lite: what is marked and encoded; rows come from `rows`.

Every chart refers to its rows by name, so that the page holds them once, and follows the
parameters `segment`, `measure`, `window` or `part`, which the page's script sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from rehearsal.report.findings import Finding
from rehearsal.report.glossary import GLYPHS

Width = int | Literal["container"]

BLUE, ORANGE, INK, GREY = "#2b6cb0", "#c2500a", "#1f2933", "#8a94a0"
"""Blue and orange differ for every common colour blindness, in lightness too."""

HEAT_DOMAIN = [0.0, 0.5, 1.0, 2.0, 4.0]
HEAT_RANGE = ["#edf3f8", "#c9dcec", "#fbe3c8", "#ee8f3c", "#a63a00"]
NO_SCORE = "#ececec"
_GLYPH = f"({{{', '.join(f'{status}: {glyph!r}' for status, glyph in GLYPHS.items())}}})"
WITH_NUMBERS = 16
"""Windows that have room for a number each."""

_WITH_GLYPHS, _LEVEL_DATES = 60, 10
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
    base = with_seen(
        alt.Chart(alt.NamedData(name="scores"))
        .transform_filter("datum.measure === measure")
        .transform_calculate(
            glyph=f"{_GLYPH}[datum.status] || ''",
            text=_cell_text(n_windows),
            # A score that is not known is null, which abs() takes for 0.
            ratio="isValid(datum.score) && datum.threshold > 0"
            " ? abs(datum.score) / datum.threshold : null",
        )
        .transform_calculate(dark="datum.ratio > 2.2")
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
    cells = base.mark_rect(**square).encode(color=fill, tooltip=score_tooltip())
    texts = base.mark_text(fontSize=12, cursor="pointer").encode(
        text="text:N", color=ink, tooltip=score_tooltip()
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
    if n_windows > WITH_NUMBERS:
        return "datum.glyph"
    # Nobody compares 0.0000083 with 0.000055 in a cell; the tooltip has all digits.
    number = "abs(datum.score) < 0.0005 ? '0' : format(datum.score, '.2~g')"
    return f"trim(datum.glyph + (isValid(datum.score) ? ' ' + ({number}) : ''))"


def score_tooltip() -> list[alt.Tooltip]:
    """Return what a score says of itself; `shows` is what `with_seen` adds."""
    return [
        alt.Tooltip("row:N", title="segment"),
        alt.Tooltip("window:N", title="window from"),
        alt.Tooltip("status:N"),
        alt.Tooltip("score:Q", format=".4~g"),
        alt.Tooltip("low:Q", title="95% from", format=".4~g"),
        alt.Tooltip("high:Q", title="95% to", format=".4~g"),
        alt.Tooltip("threshold:Q", format=".4~g"),
        alt.Tooltip("threshold_origin:N", title="threshold is"),
        alt.Tooltip("shows:N", title="would have shown"),
        alt.Tooltip("q_value:Q", title="q-value", format=".2~g"),
        alt.Tooltip("n_requests:Q", title="requests", format=","),
        alt.Tooltip("n_users:Q", title="users", format=","),
        alt.Tooltip("reason:N"),
    ]


def with_seen(rows: Any) -> Any:
    """Add `shows`: how large a drift the window would have shown; empty where it cannot be told."""
    number = "format(datum.detectable, '.2~g')"
    return rows.transform_calculate(
        shows=f"isValid(datum.detectable) ? {number} + ' or more' : '–'"
    )


def profile_bars(width: Width) -> Figure:
    """Effect sizes of the chosen segment's most telling features."""
    base = alt.Chart(alt.NamedData(name="profiles")).transform_filter("datum.key === segment")
    tooltip = [
        alt.Tooltip("feature:N"),
        alt.Tooltip("segment_mean:Q", title="mean in the segment", format=".4~g"),
        alt.Tooltip("overall_mean:Q", title="mean of all users", format=".4~g"),
        alt.Tooltip("effect_size:Q", title="effect size", format="+.2f"),
    ]
    y = alt.Y("feature:N", title=None, sort=alt.EncodingSortField("rank", op="min"))
    x = alt.X(
        "effect_size:Q",
        title="standard deviations from all users",
        axis=alt.Axis(format="~g", tickCount=5),
    ).scale(padding=46, nice=False)
    bars = base.mark_bar(height={"band": 0.72}).encode(
        x=x,
        y=y,
        color=alt.condition("datum.effect_size >= 0", alt.value(ORANGE), alt.value(BLUE)),
        tooltip=tooltip,
    )
    texts = [
        base.transform_filter(f"datum.effect_size {sign} 0")
        .mark_text(align=align, dx=dx, color=INK)
        .encode(x=x, y=y, text=alt.Text("effect_size:Q", format="+.2f"))
        for sign, align, dx in _SIDES
    ]
    chart = alt.layer(bars, *texts).properties(
        width=width,
        height=alt.Step(24),
        description="Bars of the features in which the chosen segment differs most from all users.",
    )
    return Figure(chart, "profiles", ("key",))
