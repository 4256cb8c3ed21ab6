"""The chart of one segment over time: score, interval, threshold, and since when it drifts."""

from collections.abc import Sequence
from math import ceil
from typing import Any, Literal

import altair as alt

from rehearsal.report.charts import (
    GREY,
    INK,
    ORANGE,
    WITH_NUMBERS,
    Figure,
    Width,
    score_tooltip,
    with_seen,
)
from rehearsal.report.glossary import GLYPHS, NO_THRESHOLD, STATUS_WORDS, STATUSES
from rehearsal.report.scores import ALL_KEY

_SIGNED = "_change"
_TITLE, _WINDOW = "bias-corrected score", "window starting (UTC)"
_BAND = "#f3ead9"
_HALO: dict[str, Any] = {"stroke": "white", "strokeWidth": 3, "strokeJoin": "round"}


_LABEL_SIDES: tuple[tuple[str, Literal["left", "right"], int], ...] = (
    ("!datum.early", "right", -6),
    ("datum.early", "left", 6),
)


def time_series(windows: Sequence[str], width: Width, height: int = 260) -> Figure:
    """Score of the chosen segment with its 95% interval, all users, and the threshold."""
    rows = with_seen(
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
    x, y = _window_axis(windows), alt.Y("score:Q", title=_TITLE)
    who = alt.Color("who:N", title=None).scale(
        domain=["chosen segment", "all users"], range=[ORANGE, GREY]
    )
    low = alt.Y("low:Q", title=_TITLE)
    span = {"x": x, "y": low, "y2": "high:Q"}
    band = chosen.mark_area(color=ORANGE, opacity=0.18).encode(**span)
    ends = chosen.mark_rule(color=ORANGE, opacity=0.35).encode(**span)
    line = chosen.mark_line(strokeWidth=2.5).encode(x=x, y=y, color=who)
    others = everyone.mark_line(strokeWidth=2, strokeDash=[2, 3]).encode(x=x, y=y, color=who)
    layers = [
        *_since(chosen, x, windows), band, ends, others, line, *_threshold(chosen, x),
        _points(chosen, x, y), _unjudged(chosen, x),
    ]  # fmt: skip
    chart = alt.layer(*layers).properties(
        width=width,
        height=height,
        description=(
            "Drift score of the chosen segment per window with its 95% interval, all users for "
            "comparison, the threshold of each window as a dashed step line, and the window in "
            "which the drift begins as a vertical line."
        ),
    )
    return Figure(chart, "scores", ("measure", "key"), picks=True)


def _unjudged(chosen: Any, x: alt.X) -> Any:
    return (
        chosen.transform_filter("!isValid(datum.score)")
        .mark_text(text=GLYPHS["insufficient_data"], fontSize=16, color=GREY)
        .encode(x=x, y=alt.value("height"), tooltip=score_tooltip())
    )


def _window_axis(windows: Sequence[str]) -> alt.X:
    """One tick per window while they fit side by side."""
    few = len(windows) <= WITH_NUMBERS
    ticks: dict[str, Any] = {"values": list(windows)} if few else {"tickCount": 10}
    return (
        alt.X("at:T", title=_WINDOW)
        .scale(type="utc", padding=16)
        .axis(format="%d %b", labelOverlap="greedy", labelSeparation=10, grid=False, **ticks)
    )


def _since(chosen: Any, x: alt.X, windows: Sequence[str]) -> tuple[Any, ...]:
    """Mark where the drift begins, and from when to when it may as well have begun.

    The words stand before the line, where there is no drift yet; for a drift that begins in the
    first windows there is no room, and they stand after it.
    """
    near = (
        chosen.transform_filter("isValid(datum.onset)")
        .transform_aggregate(opens="min(at)", closes="max(at)", n="count()")
        .transform_filter("datum.n > 1")
        .transform_calculate(first="toDate(datum.opens)", last="toDate(datum.closes)")
        .mark_rect(color=_BAND)
        .encode(x=alt.X("first:T", title=_WINDOW), x2="last:T")
    )
    start = chosen.transform_filter("datum.onset === 'start'")
    rule = start.mark_rule(color=INK, strokeWidth=1.5, strokeDash=[1, 3]).encode(x=x)
    told = start.transform_calculate(
        told="'drifts since ' + utcFormat(datum.at, '%d %b')",
        early=f"indexof({list(windows[: ceil(len(windows) / 4)])}, datum.window) >= 0",
    )
    texts = [
        told.transform_filter(side)
        .mark_text(align=align, baseline="top", dx=dx, dy=2, color=INK)
        .encode(x=x, y=alt.value(0), text="told:N")
        for side, align, dx in _LABEL_SIDES
    ]
    return near, rule, *texts


def _points(chosen: Any, x: alt.X, y: alt.Y) -> Any:
    """One mark per window; its shape is the status."""
    judged = [*(status for status in STATUSES if status != "insufficient_data"), NO_THRESHOLD]
    words = ", ".join(
        f"{status}: {STATUS_WORDS.get(status, 'no threshold')!r}" for status in judged
    )
    shape = alt.Shape("status:N", title=None).scale(
        domain=judged, range=["triangle-up", "diamond", "circle", "square"]
    )
    return (
        chosen.transform_filter("isValid(datum.score)")
        .mark_point(size=75, filled=True, opacity=1, color=ORANGE, cursor="pointer")
        .encode(
            x=x,
            y=y,
            shape=shape.legend(labelExpr=f"({{{words}}})[datum.value]"),
            tooltip=score_tooltip(),
        )
    )


def _threshold(chosen: Any, x: alt.X) -> tuple[Any, ...]:
    """A dashed line that steps midway between windows; a change of a mean breaches both ways."""
    level = (
        chosen.transform_filter("isValid(datum.threshold)")
        .transform_calculate(
            level=f"test(/{_SIGNED}$/, measure)"
            " ? [datum.threshold, -datum.threshold] : [datum.threshold]"
        )
        .transform_flatten(["level"])
        .transform_calculate(side="datum.level > 0")
    )
    y = alt.Y("level:Q", title=_TITLE)
    steps = level.mark_line(
        color=INK, strokeDash=[6, 4], strokeWidth=1.2, interpolate="step"
    ).encode(x=x, y=y, detail="side:N")
    marks = level.mark_point(shape="stroke", size=300, color=INK, strokeWidth=1.6).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("window:N", title="window from"),
            alt.Tooltip("level:Q", title="threshold", format=".4~g"),
            alt.Tooltip("threshold_origin:N", title="it is"),
        ],
    )
    told = (
        "'threshold' + (datum.threshold_origin === 'set' ? ' ' + format(datum.level, '.3~g') : '')"
    )
    first = (
        level.transform_window(nth="row_number()", sort=[alt.SortField("at")], groupby=["side"])
        .transform_filter("datum.nth === 1")
        .transform_calculate(told=told)
    )
    place: dict[str, Any] = {"align": "left", "baseline": "bottom", "dx": 10, "dy": -5}
    # Lines and intervals may pass below the words: white around them keeps them readable.
    halo, text = first.mark_text(**place, **_HALO), first.mark_text(**place, color=INK)
    return steps, marks, *(one.encode(x=x, y=y, text="told:N") for one in (halo, text))
