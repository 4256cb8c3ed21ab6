"""The charts of users between segments: a matrix of all flows, and a Sankey diagram of movers."""

import json
from typing import Any

import altair as alt
import pandas as pd

from rehearsal.report.charts import BLUE, GREY, INK, ORANGE, Figure, Width
from rehearsal.report.charts_segments import column_axis
from rehearsal.report.flows import SANKEY_HEIGHT, in_order

_STAYED = "datum.source === datum.target"
_MOVED = ["#eaf1f8", "#8fb8dd", "#2b6cb0", "#123a66"]
_CELL_PIXELS, _TEXT_PIXELS = 34, 46
_NARROW = "width < 560"
_SIDES: tuple[tuple[str, Any, int], ...] = (("source", "right", -6), ("target", "left", 6))


def migration_matrix(flows: pd.DataFrame, width: Width) -> Figure:
    """Users from (rows) and to (columns) segments: share and count, unusual flows marked."""
    rows = alt.Chart(alt.NamedData(name="migration_matrix"))
    sources, targets = (in_order(flows[side].unique()) for side in ("source", "target"))
    x = alt.X("target:N", title="to", sort=targets, axis=column_axis(len(targets)))
    x = x.scale(domain=targets)
    y = alt.Y("source:N", title="from", sort=sources).scale(domain=sources)
    y = y.axis(ticks=False, domain=False, labelLimit=110)
    fill = alt.Color("share:Q", title="share of the segment's users that moved").scale(
        type="sqrt", domain=[0, 0.05, 0.25, 1], range=_MOVED, clamp=True, interpolate="rgb"
    )
    fill = fill.legend(format="%", values=[0, 0.05, 0.25, 1])
    square: dict[str, Any] = {"stroke": "white", "strokeWidth": 2, "cursor": "pointer"}
    where = {"x": x, "y": y, "tooltip": _tooltip()}
    stayed = rows.transform_filter(_STAYED).mark_rect(color="#e4e7eb", **square)
    moved = rows.transform_filter(f"!({_STAYED})").mark_rect(**square)
    alarm = rows.transform_filter("datum.unusual").mark_rect(
        fillOpacity=0, stroke=INK, strokeWidth=2
    )
    layers = [
        stayed.encode(**where),
        moved.encode(**where, color=fill),
        alarm.encode(x=x, y=y),
        *_cell_texts(rows, where, len(targets)),
        *_chosen_bands(rows, x, y),
    ]
    chart = alt.layer(*layers).properties(
        width=width,
        height=_CELL_PIXELS * len(sources),
        description=(
            "Matrix of users from segment to segment since the run before; unusual flows carry "
            "a triangle. The table of movers holds the flows as text."
        ),
    )
    return Figure(chart, "migration_matrix", (), picks=True)


def _cell_texts(rows: Any, where: dict[str, Any], columns: int) -> list[Any]:
    """Share and count while they fit in a cell; the mark of an unusual flow always."""
    wide = f"width / {columns} >= {_TEXT_PIXELS}"
    ink = alt.condition(f"datum.share > 0.12 && !({_STAYED})", alt.value("white"), alt.value(INK))
    told = rows.transform_calculate(
        percent="datum.share >= 0.0005 ? format(datum.share, '.1~%') : '<0.1%'",
        count="format(datum.n_users, datum.n_users < 1000 ? 'd' : '.3~s')",
    ).transform_calculate(marked="(datum.unusual ? '▲ ' : '') + datum.percent")
    fits: dict[str, Any] = {"opacity": alt.ExprRef(f"{wide} ? 1 : 0"), "cursor": "pointer"}
    shares = told.mark_text(fontSize=12, dy=-6, **fits)
    counts = told.mark_text(fontSize=10, dy=8, **fits)
    symbol = rows.transform_filter("datum.unusual").mark_text(
        text="▲", fontSize=13, opacity=alt.ExprRef(f"{wide} ? 0 : 1"), cursor="pointer"
    )
    return [
        shares.encode(**where, text="marked:N", color=ink),
        counts.encode(**where, text="count:N", color=ink),
        symbol.encode(**where, color=ink),
    ]


def _chosen_bands(rows: Any, x: alt.X, y: alt.Y) -> list[Any]:
    """Outline the chosen segment's row and column."""
    bands = []
    for side, place in (("source", {"y": y}), ("target", {"x": x})):
        own = rows.transform_filter(f"datum.{side} === segment").transform_aggregate(
            n="count()", groupby=[side]
        )
        mark = own.mark_rect(fillOpacity=0, stroke=ORANGE, strokeWidth=2.5, cornerRadius=2)
        bands.append(mark.encode(**place))
    return bands


def _tooltip() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("from:N"),
        alt.Tooltip("to:N"),
        alt.Tooltip("n_users:Q", title="users", format=","),
        alt.Tooltip("share:Q", title="of the users before", format=".2%"),
        alt.Tooltip("expected_share:Q", title="usual share", format=".2%"),
        alt.Tooltip("requests_before:Q", title="requests per user before", format=".4~g"),
        alt.Tooltip("requests_after:Q", title="requests per user after", format=".4~g"),
        alt.Tooltip("value_before:Q", title="value per user before", format=".4~g"),
        alt.Tooltip("value_after:Q", title="value per user after", format=".4~g"),
        alt.Tooltip("q_value:Q", title="q-value", format=".2~g"),
        alt.Tooltip("reason:N"),
    ]


def sankey(rows_shown: pd.DataFrame, width: Width) -> Figure:
    """Ribbons of users who moved, as wide as they are many; unusual ones stand out."""
    names = sorted(set(rows_shown["name"].dropna()))
    touches = f"indexof({json.dumps(names)}, segment) < 0"
    touches += " || datum.source === segment || datum.target === segment"
    rows = alt.Chart(alt.NamedData(name="sankey"))
    margin = alt.ExprRef(f"{_NARROW} ? 66 : 116")
    across = alt.Scale(domain=[0, 1], nice=False, padding=margin)
    # Minimal widths can make it a little higher than planned, so the domain follows the rows.
    down = alt.Scale(reverse=True, zero=False, nice=False)
    x, y = alt.X("x:Q", axis=None, scale=across), alt.Y("y:Q", axis=None, scale=down)
    middle = alt.Y("middle:Q", axis=None, scale=down)
    ribbons = rows.transform_filter("datum.part === 'ribbon'")
    tooltip = [
        alt.Tooltip("from:N"),
        alt.Tooltip("to:N"),
        alt.Tooltip("n_users:Q", title="users", format=","),
        alt.Tooltip("share:Q", title="of the users before", format=".2%"),
        alt.Tooltip("reason:N"),
    ]
    areas = ribbons.mark_area(interpolate="monotone", cursor="pointer").encode(
        x=x, y=y, y2="y2:Q", detail="flow:N", tooltip=tooltip,
        color=alt.condition("datum.unusual", alt.value(ORANGE), alt.value(BLUE)),
        opacity=alt.condition(touches, alt.value(0.5), alt.value(0.12)),
    )  # fmt: skip
    nodes = rows.transform_filter("datum.part === 'node'")
    picked = "datum.key !== null && datum.key === segment"
    bars = nodes.mark_rect(cursor="pointer").encode(
        x=x, x2="x2:Q", y=y, y2="y2:Q",
        color=alt.condition(picked, alt.value(INK), alt.value(GREY)),
        tooltip=[alt.Tooltip("name:N", title="segment"),
                 alt.Tooltip("n_users:Q", title="users who moved", format=",")],
    )  # fmt: skip
    ends = alt.X("end:Q", axis=None, scale=across)
    layers = [areas, _marks(ribbons, x, middle), bars, *_names(nodes, ends, middle)]
    chart = alt.layer(*layers).properties(
        width=width,
        height=SANKEY_HEIGHT,
        description=(
            "Sankey diagram of the users who changed segment since the run before, from the "
            "segments then on the left to those of now on the right."
        ),
    )
    return Figure(chart, "sankey", (), picks=True)


def _marks(ribbons: Any, x: alt.X, middle: alt.Y) -> Any:
    """A triangle half-way along every unusual ribbon."""
    return (
        ribbons.transform_filter("datum.unusual && abs(datum.x - 0.5) < 1e-6")
        .transform_calculate(middle="(datum.y + datum.y2) / 2")
        .mark_text(text="▲", fontSize=14, color=INK)
        .encode(x=x, y=middle)
    )


def _names(nodes: Any, end: alt.X, middle: alt.Y) -> list[Any]:
    """Id and, where there is room, count beside each node."""
    told = nodes.transform_calculate(
        middle="(datum.y + datum.y2) / 2",
        end="datum.side === 'source' ? datum.x : datum.x2",
        count="' · ' + format(datum.n_users, datum.n_users < 1000 ? 'd' : '.3~s')",
    ).transform_calculate(told=f"datum.name + ({_NARROW} ? '' : datum.count)")
    return [
        told.transform_filter(f"datum.side === '{side}'")
        .mark_text(align=align, dx=dx, color=INK, fontSize=12, cursor="pointer")
        .encode(x=end, y=middle, text="told:N")
        for side, align, dx in _SIDES
    ]
