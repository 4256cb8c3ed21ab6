"""The charts of the segments themselves: where users lie, what is unlike, and why so many."""

from typing import Any

import altair as alt
import pandas as pd

from rehearsal.report.charts import BLUE, INK, ORANGE, Figure, Width

DIVERGING = ["#1b4f86", "#7fa8d1", "#f4f5f6", "#eda261", "#a63a00"]
"""Below average is blue, above is orange; they differ in hue for every colour blindness."""

INDICES = {
    "silhouette": ("Silhouette", "higher is better", ".3~g"),
    "davies_bouldin": ("Davies-Bouldin", "lower is better", ".3~g"),
    "calinski_harabasz": ("Calinski-Harabasz", "higher is better", "~s"),
    "cost": ("Cost", "falls with every k: look for the bend", ".3~g"),
    "smallest_share": ("Smallest segment", "share of users", ".2~p"),
}
"""Each index of a k: its name, how to read it, its number format."""

_CHOSEN = "datum.key === segment"
_ALL_OR_CHOSEN = "segment === '*' || datum.key === segment"
_EFFECTS = [-2.0, -0.75, 0.0, 0.75, 2.0]
_MAP_PIXELS, _ROW_PIXELS, _TEXT_PIXELS, _LEVEL_IDS = 430, 22, 33, 12


def segment_map(n_segments: int, width: Width) -> Figure:
    """Sampled users on the two axes of largest variance, prototypes ringed, chosen ones on top.

    Of many segments only prototypes that carry an id are shown, and all of the chosen one.
    """
    rows = alt.Chart(alt.NamedData(name="segment_map"))
    axis = alt.Axis(format="~g", tickCount=6)
    first = f"datum.label || {_CHOSEN}" if n_segments > _LEVEL_IDS else "true"
    ringed = f"isValid(datum.rank) && ({first})"
    place = {
        "x": alt.X("x:Q", title="first principal component", axis=axis).scale(
            zero=False, padding=10
        ),
        "y": alt.Y("y:Q", title="second principal component", axis=axis).scale(
            zero=False, padding=10
        ),
    }
    users = [alt.Tooltip("row:N", title="segment")]
    typical = [
        *users,
        alt.Tooltip("user:N", title="prototype, user"),
        alt.Tooltip("rank:Q", title="rank from the centre"),
        alt.Tooltip("distance:Q", title="distance to the centre", format=".3~g"),
    ]
    look = {
        "color": alt.Color("paint:N", scale=None),
        "shape": alt.Shape("shape:N", scale=None),
    }
    points: dict[str, Any] = {"filled": True, "cursor": "pointer"}
    drawn = rows.transform_filter("!isValid(datum.rank)")
    others = drawn.transform_filter(f"!({_CHOSEN})").mark_point(size=26, **points)
    chosen = drawn.transform_filter(_CHOSEN).mark_point(size=40, opacity=0.95, **points)
    layers = [
        others.encode(
            **place, **look, tooltip=users,
            opacity=alt.condition(_ALL_OR_CHOSEN, alt.value(0.75), alt.value(0.2)),
        ),
        chosen.encode(**place, **look, tooltip=users),
        *_prototypes(rows.transform_filter(ringed), place, look, typical),
    ]  # fmt: skip
    chart = alt.layer(*layers).properties(
        width=width,
        height=_MAP_PIXELS,
        description=(
            "Map of a sample of users by the two principal components of their features, one "
            "colour and shape per segment, prototypes ringed, the chosen segment highlighted."
        ),
    )
    return Figure(chart, "segment_map", (), picks=True)


def _prototypes(
    rows: Any, place: dict[str, Any], look: dict[str, Any], tooltip: list[alt.Tooltip]
) -> list[Any]:
    """Rings, and the id of the segment at its first prototype."""
    faint = alt.condition(_ALL_OR_CHOSEN, alt.value(1), alt.value(0.3))
    shown = {**place, "opacity": faint, "tooltip": tooltip}
    # The ring is apart from the mark, so that it is seen around a dark one too.
    marks = rows.mark_point(filled=True, size=62, cursor="pointer").encode(**shown, **look)
    rings = rows.mark_point(shape="circle", size=170, stroke=INK, strokeWidth=1.6, cursor="pointer")
    told = rows.transform_filter(f"datum.rank === 1 && (datum.label || {_CHOSEN})")
    text = {"text": alt.Text("key:N"), **place}
    halo = told.mark_text(
        dy=-13, fontSize=13, fontWeight="bold", stroke="white", strokeWidth=4, strokeJoin="round"
    ).encode(**text)
    ids = told.mark_text(dy=-13, fontSize=13, fontWeight="bold", fill=INK, cursor="pointer").encode(
        **text, opacity=alt.condition(_ALL_OR_CHOSEN, alt.value(1), alt.value(0.55))
    )
    return [rings.encode(**shown), marks, halo, ids]


def profile_map(n_segments: int, n_features: int, limit: int, width: Width) -> Figure:
    """Effect size of the features that tell most, a column per segment."""
    rows = alt.Chart(alt.NamedData(name="profile_map")).transform_filter(
        f"datum.place < {limit} || {_CHOSEN}"
    )
    shown = min(n_segments, limit)
    by_place = alt.EncodingSortField("place", op="min")
    x = alt.X("key:N", title="segment", sort=by_place, axis=column_axis(shown))
    y = alt.Y("feature:N", title=None, sort=alt.EncodingSortField("rank", op="min")).axis(
        labelLimit=190, ticks=False, domain=False
    )
    color = alt.Color("effect:Q", title="standard deviations from all users").scale(
        domain=_EFFECTS, range=DIVERGING, clamp=True, interpolate="rgb"
    )
    tooltip = [
        alt.Tooltip("row:N", title="segment"),
        alt.Tooltip("feature:N"),
        alt.Tooltip("effect:Q", title="effect size", format="+.2f"),
        alt.Tooltip("mean:Q", title="mean in the segment", format=".4~g"),
    ]
    cells = rows.mark_rect(stroke="white", strokeWidth=1, cursor="pointer").encode(
        x=x, y=y, color=color, tooltip=tooltip
    )
    dark = alt.condition("abs(datum.effect) > 1.3", alt.value("white"), alt.value(INK))
    roomy = f"width / {shown} < {_TEXT_PIXELS} ? 0 : 1"
    # Without a sign where there is nothing to see: "-0.0" is no number of ours.
    told = rows.transform_calculate(
        told="abs(datum.effect) < 0.05 ? '0' : format(datum.effect, '+.1f')"
    )
    texts = told.mark_text(fontSize=11, cursor="pointer", opacity=alt.ExprRef(roomy)).encode(
        x=x, y=y, text=alt.Text("told:N"), color=dark, tooltip=tooltip
    )
    chosen = (
        rows.transform_filter(_CHOSEN)
        .transform_aggregate(place="min(place)", groupby=["key"])
        .mark_rect(fillOpacity=0, stroke=INK, strokeWidth=2, cornerRadius=2)
        .encode(x=x)
    )
    chart = alt.layer(cells, texts, chosen).properties(
        width=width,
        height=_ROW_PIXELS * n_features,
        description="Heat map of effect sizes, one column per segment and one row per feature.",
    )
    return Figure(chart, "profile_map", (), picks=True)


def column_axis(columns: int) -> alt.Axis:
    """Return an axis above columns that each carry a segment's id, level while they are few.

    The angle is fixed: Vega's layout lags behind labels that turn when the page gets narrow.
    """
    few = columns <= _LEVEL_IDS
    turned: dict[str, Any] = {} if few else {"labelAlign": "left", "labelBaseline": "middle"}
    return alt.Axis(
        orient="top", ticks=False, domain=False, labelOverlap=False, labelLimit=90,
        labelFontSize=11, labelAngle=0 if few else -90, **turned,
    )  # fmt: skip


def k_index(name: str, curve: pd.DataFrame, chosen: int | None, width: Width) -> Figure:
    """One index of the segmentation over k, the chosen k marked."""
    title, _, number = INDICES[name]
    counts = sorted(int(k) for k in curve["k"].dropna())
    rows = alt.Chart(alt.NamedData(name="k_curve")).transform_filter(f"isValid(datum.{name})")
    many = len(counts) > 12  # noqa: PLR2004 ticks side by side
    ticks: dict[str, Any] = {"tickCount": 8} if many else {"values": counts}
    x = alt.X("k:Q", title="k").scale(zero=False, padding=12, nice=False)
    x = x.axis(format="d", grid=False, labelOverlap="parity", labelSeparation=5, **ticks)
    y = alt.Y(f"{name}:Q", title=None).scale(zero=False, padding=8)
    y = y.axis(format=number, tickCount=4)
    tooltip = [alt.Tooltip("k:Q"), alt.Tooltip(f"{name}:Q", title=title, format=number)]
    line = rows.mark_line(color=BLUE, strokeWidth=2).encode(x=x, y=y)
    points = rows.mark_point(color=BLUE, filled=True, size=34, opacity=1)
    layers = [line, points.encode(x=x, y=y, tooltip=tooltip)]
    if chosen is not None:
        best = rows.transform_filter(f"datum.k === {chosen}")
        rule = best.mark_rule(color=INK, strokeDash=[4, 3]).encode(x=x)
        mark = best.mark_point(
            shape="diamond", size=120, filled=True, opacity=1, color=ORANGE, stroke=INK
        )
        layers = [rule, *layers, mark.encode(x=x, y=y, tooltip=tooltip)]
    chart = alt.layer(*layers).properties(
        width=width, height=130, description=f"{title} for every number of segments tried."
    )
    return Figure(chart, "k_curve", ())


def k_distances(eps: float | None, width: Width) -> Figure:
    """Distance to the min_points-th neighbour over users, and the radius taken at its knee."""
    rows = alt.Chart(alt.NamedData(name="k_distances"))
    x = alt.X("share:Q", title="sampled users, the densest places first")
    x = x.axis(format="%", grid=False).scale(domain=[0, 1])
    y = alt.Y("distance:Q", title="k-distance, scaled units")
    tooltip = [alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("distance:Q", format=".4~g")]
    layers = [rows.mark_line(color=BLUE, strokeWidth=2).encode(x=x, y=y, tooltip=tooltip)]
    if eps is not None:
        level = rows.transform_aggregate(n="count()").transform_calculate(eps=repr(float(eps)))
        rule = level.mark_rule(color=INK, strokeDash=[6, 4]).encode(y="eps:Q")
        text = level.mark_text(align="left", baseline="bottom", dx=6, dy=-3, color=INK)
        told = alt.value(f"eps = {eps:.4g}")
        layers += [rule, text.encode(x=alt.value(0), y="eps:Q", text=told)]
    chart = alt.layer(*layers).properties(
        width=width,
        height=220,
        description="Rising curve of k-distances with the radius eps as a dashed line.",
    )
    return Figure(chart, "k_distances", ())
