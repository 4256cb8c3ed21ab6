"""The charts of the gate: every score on its scale, and fresh against serving over rounds."""

from typing import Any, Literal

import altair as alt

from rehearsal.report.charts import BLUE, GREY, INK, ORANGE, Figure, Width
from rehearsal.report.rows_generated import CANDIDATES

_LINE_PIXELS = 17
_ALLOWED, _TRACK = "#e6f0f8", "#cbd2d9"
_VERDICTS = {"within the limit": BLUE, "refused": ORANGE}
_SHAPES = dict(zip(CANDIDATES.values(), ("triangle-up", "circle", "square"), strict=True))
_ENDS = {"independent columns": "diamond", "real halves": "circle"}
_SIDES: tuple[tuple[str, Literal["left", "right"], int], ...] = (
    ("< 0.85", "left", 9),
    (">= 0.85", "right", -9),
)
_DOMAIN, _THICK = [-0.04, 1.04], 0.002
_TOOLTIP = [
    alt.Tooltip("score:N"),
    alt.Tooltip("candidate:N", title="generator"),
    alt.Tooltip("verdict:N"),
    alt.Tooltip("value:Q", format=".4~g"),
    alt.Tooltip("limit_told:N", title="limit"),
    alt.Tooltip("half:Q", title="real halves", format=".4~g"),
    alt.Tooltip("independent:Q", title="independent columns", format=".4~g"),
    alt.Tooltip("note:N"),
]


def scales(width: Width) -> Figure:
    """Every score of the chosen segment: both ends of its scale, the limit, and who was tried."""
    rows = (
        alt.Chart(alt.NamedData(name="gate"))
        .transform_filter("datum.key === segment")
        # A line of its own for whatever would lie over something else; its first bears the name.
        .transform_calculate(
            row="datum.score + '|' + datum.line", nth="datum.place * 10 + datum.line"
        )
    )
    y = alt.Y("row:N", title=None, sort=alt.EncodingSortField("nth", op="min"))
    y = y.scale(paddingInner=0, paddingOuter=0).axis(
        ticks=False, domain=False, labelPadding=10, labelFontSize=13, labelOverlap=False,
        labelExpr="test(/[|]0$/, datum.value) ? split(datum.value, '|')[0] : ''",
    )  # fmt: skip
    chart = alt.layer(*_ground(rows, y), *_ends(rows, y), *_tried(rows, y))
    chart = chart.resolve_scale(shape="independent").properties(
        width=width,
        height=alt.Step(_LINE_PIXELS),
        description=(
            "Scores of the generators tried for the chosen segment, better to the right: both ends "
            "of each scale, the limit, and each generator's value, refused ones crossed; the table "
            "below has the same numbers."
        ),
    )
    return Figure(chart, "gate", ("key",))


def _x(field: str) -> alt.X:
    axis = alt.Axis(labels=False, ticks=False, grid=False, domain=False)
    title = "worse  ←  each score on its own scale  →  better"
    return alt.X(f"{field}:Q", title=title, axis=axis).scale(domain=_DOMAIN, nice=False)


def _ground(rows: Any, y: alt.Y) -> tuple[Any, ...]:
    """The part of each scale within the limit, and the limit as a line."""
    # One of each line: grounds over one another would darken.
    limit = rows.transform_filter(
        "isValid(datum.limit_at) && indexof(['candidate', 'limit'], datum.kind) >= 0"
    ).transform_calculate(end=f"{_DOMAIN[1]}", edge=f"datum.limit_at + {_THICK}")
    place = _x("limit_at")
    allowed = limit.mark_bar(color=_ALLOWED).encode(x=place, x2="end:Q", y=y)
    line = limit.mark_bar(color=INK).encode(x=place, x2="edge:Q", y=y, tooltip=_TOOLTIP)
    gap = rows.transform_filter("datum.kind === 'gap'").mark_text(text="").encode(y=y)
    return allowed, line, gap


def _ends(rows: Any, y: alt.Y) -> tuple[Any, ...]:
    """A track between both ends, their marks, and the numbers that have room."""
    ends = rows.transform_filter(f"indexof({list(_ENDS)}, datum.kind) >= 0")
    track = (
        ends.transform_aggregate(first="min(at)", last="max(at)", groupby=["row", "nth"])
        .mark_rule(color=_TRACK, strokeWidth=3)
        .encode(x=_x("first"), x2="last:Q", y=y)
    )
    shape = alt.Shape("kind:N", legend=None).scale(domain=list(_ENDS), range=list(_ENDS.values()))
    marks = ends.mark_point(size=80, opacity=1, color=GREY, strokeWidth=1.8).encode(
        x=_x("at"), y=y, shape=shape, tooltip=_TOOLTIP
    )
    limit = rows.transform_filter("datum.kind === 'limit' && isValid(datum.limit_at)")
    return (
        track,
        marks,
        _below(ends, "at", "told", GREY, y),
        _below(limit, "limit_at", "limit_told", INK, y),
    )


def _tried(rows: Any, y: alt.Y) -> tuple[Any, ...]:
    """A mark and its number per candidate, a cross before the number where it is refused."""
    known = rows.transform_filter("datum.kind === 'candidate' && isValid(datum.at)")
    marks = known.mark_point(filled=True, size=110, opacity=1, stroke="white").encode(
        x=_x("at"),
        y=y,
        color=alt.Color("verdict:N", legend=None).scale(
            domain=list(_VERDICTS), range=list(_VERDICTS.values())
        ),
        shape=alt.Shape("candidate:N", legend=None).scale(
            domain=list(_SHAPES), range=list(_SHAPES.values())
        ),
        tooltip=_TOOLTIP,
    )
    said = known.transform_calculate(said="(datum.verdict === 'refused' ? '✕ ' : '') + datum.told")
    texts = [
        said.transform_filter(f"datum.at {side}")
        .mark_text(align=align, dx=dx, fontSize=12, color=INK)
        .encode(x=_x("at"), y=y, text="said:N")
        for side, align, dx in _SIDES
    ]
    # Beside the marks' own lines, so that nobody takes it for a score at the worst end.
    unknown = (
        rows.transform_filter("datum.kind === 'candidate' && !isValid(datum.at)")
        .transform_calculate(at="0")
        .mark_text(align="left", fontSize=12, color=GREY, text="– not computable")
        .encode(x=_x("at"), y=y, tooltip=_TOOLTIP)
    )
    return marks, *texts, unknown


def _below(rows: Any, at: str, text: str, color: str, y: alt.Y) -> Any:
    """Numbers of the scale below it, as an axis has them; the empty line makes room for them."""
    under = rows.transform_calculate(
        row="datum.score + '|' + (datum.line + 1)", nth="datum.nth + 1"
    )
    return under.mark_text(fontSize=11, color=color, dy=-2).encode(x=_x(at), y=y, text=f"{text}:N")


_WHO = {"fresh": ORANGE, "serving": BLUE}
_ROUND_TOOLTIP = [
    alt.Tooltip("round:Q"),
    alt.Tooltip("run:N"),
    alt.Tooltip("who:N", title="generator"),
    alt.Tooltip("value:Q", format=".3f"),
    alt.Tooltip("keeps:N", title="kept"),
    alt.Tooltip("why:N"),
    alt.Tooltip("effect:N", title="more disagreements per 1,000 in that run"),
]


def rounds(name: str, title: str, width: Width) -> Figure:
    """One number of the fresh and of the serving generator over rounds; the kept one is ringed."""
    history = alt.Chart(alt.NamedData(name="rounds")).transform_filter("datum.key === segment")
    both = (
        history.transform_calculate(fresh=f"datum.fresh_{name}", serving=f"datum.serving_{name}")
        .transform_fold(list(_WHO), as_=["who", "value"])
        .transform_filter("isValid(datum.value)")
    )
    # Ticks between two rounds bear no number, and equal scores keep their decimals.
    whole = "datum.value % 1 ? '' : datum.value"
    x = alt.X("round:Q", title="round").axis(tickMinStep=1, labelExpr=whole, grid=False)
    x = x.scale(zero=False, padding=14, nice=False)
    y = alt.Y("value:Q", title=title).axis(format=".3~f").scale(zero=False, padding=14)
    sides: dict[str, Any] = {"x": x, "y": y}
    color = alt.Color("who:N", title=None).scale(domain=list(_WHO), range=list(_WHO.values()))
    shape = alt.Shape("who:N", title=None).scale(domain=list(_WHO), range=["circle", "square"])
    layers = [
        both.mark_line(strokeWidth=1.6, opacity=0.6).encode(color=color, **sides),
        both.transform_filter("datum.kept === datum.who")
        .mark_point(size=260, strokeWidth=1.8, color=INK)
        .encode(**sides),
        both.mark_point(filled=True, size=70, opacity=1).encode(
            color=color, shape=shape, tooltip=_ROUND_TOOLTIP, **sides
        ),
        history.transform_filter("datum.kept === 'resampled'")
        .mark_text(text="✕", baseline="bottom", fontSize=13, color=ORANGE)
        .encode(x=x, y=alt.value("height"), tooltip=_ROUND_TOOLTIP),
    ]
    chart = alt.layer(*layers).properties(
        width=width,
        height=200,
        description=(
            f"{title} of the fresh generator and of the one that served, per round; the one that "
            "was kept is ringed. The table below has the same numbers."
        ),
    )
    return Figure(chart, "rounds", ("key",))
