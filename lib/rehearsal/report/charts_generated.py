"""The charts of the loop's second half: what was generated, how close it is, what it changes."""

import altair as alt

from rehearsal.report.charts import BLUE, GREY, INK, ORANGE, Figure, Width

_ORIGINS = alt.Scale(domain=["logged", "synthetic"], range=[BLUE, ORANGE])
_STREAMS = ["logged stream", "augmented stream"]
_EFFECT_TOOLTIP = [
    alt.Tooltip("row:N", title="where"),
    alt.Tooltip("stream:N"),
    alt.Tooltip("rate:Q", title="per 1,000", format=".1f"),
    alt.Tooltip("low:Q", title="from", format=".1f"),
    alt.Tooltip("high:Q", title="to", format=".1f"),
    alt.Tooltip("n_requests:Q", title="requests", format=","),
]


def losses(who: str, told: str, follows: tuple[str, ...], width: Width) -> Figure:
    """Loss per epoch on rows learnt from and held out; the epoch whose weights are kept is ringed.

    Args:
        who: expression of whose rows they are.
        told: the same in words.
        follows: as of `Figure`.
        width: of the chart.
    """
    names, rows = ["training", "held-out"], alt.Chart(alt.NamedData(name="curves"))
    both = (
        rows.transform_filter(f"datum.key === {who}")
        .transform_fold(["training", "held-out"], as_=["rows", "nats"])
        .transform_filter("isValid(datum.nats)")
    )
    x = alt.X("epoch:Q", title="epoch").axis(tickMinStep=1, format="d", grid=False)
    x = x.scale(zero=False, nice=False, padding=8)
    y = alt.Y("nats:Q", title="loss, nats per row").scale(zero=False)
    lines = both.mark_line(point=alt.OverlayMarkDef(size=18), strokeWidth=2).encode(
        x=x,
        y=y,
        color=alt.Color("rows:N", title=None)
        .scale(domain=names, range=[GREY, ORANGE])
        .legend(symbolType="stroke"),
        strokeDash=alt.StrokeDash("rows:N", title=None).scale(domain=names, range=[[4, 3], [1, 0]]),
        tooltip=[
            "epoch:Q",
            "rows:N",
            alt.Tooltip("nats:Q", format=".4~g"),
            alt.Tooltip("membership:N", title="membership advantage"),
        ],
    )
    kept = both.transform_filter("datum.kept === 1 && datum.rows === 'held-out'")
    ring = kept.mark_point(size=200, color=INK, strokeWidth=1.8).encode(x=x, y=y)
    chart = alt.layer(lines, ring).properties(
        width=width,
        height=200,
        description=f"Loss per epoch of {told}, lower is better; ringed: the weights kept.",
    )
    return Figure(chart, "curves", follows)


def marginals(column: str, rows: str, *, categorical: bool, width: Width) -> Figure:
    """Logged and synthetic shares of one column's bins, side by side."""
    base = (
        alt.Chart(alt.NamedData(name=rows))
        .transform_filter("datum.key === segment")
        .transform_fold(["logged", "synthetic"], as_=["origin", "share"])
    )
    share = "share of requests"
    by_bin = alt.EncodingSortField("bin", op="min", order="ascending")
    color = alt.Color("origin:N", title=None, scale=_ORIGINS)
    shown = alt.Tooltip("share:Q", format=".2%")
    tooltip = [alt.Tooltip("label:N", title=column), alt.Tooltip("origin:N"), shown]
    percent = alt.Axis(format="%", tickCount=3)
    if categorical:
        chart = base.mark_bar().encode(
            y=alt.Y("label:N", title=None, sort=by_bin, axis=alt.Axis(labelLimit=120)),
            yOffset=alt.YOffset("origin:N", sort=["logged", "synthetic"]),
            x=alt.X("share:Q", title=share, axis=percent),
            color=color,
            tooltip=tooltip,
        )
        height: int | alt.Step = alt.Step(9)
    else:
        # Step lines over many narrow bins stay readable where paired bars do not.
        chart = base.mark_line(interpolate="step", strokeWidth=2, point=False).encode(
            x=alt.X("label:O", title=None, sort=by_bin).axis(
                labelAngle=-40, labelOverlap="greedy", labelLimit=90, labelSeparation=6
            ),
            y=alt.Y("share:Q", title=share, axis=percent),
            color=color,
            strokeDash=alt.StrokeDash("origin:N", title=None).scale(
                domain=["logged", "synthetic"], range=[[1, 0], [5, 2]]
            ),
            tooltip=tooltip,
        )
        height = 150
    told = f"Shares of logged and synthetic requests per value of {column}."
    return Figure(chart.properties(width=width, height=height, description=told), rows, ("key",))


def effect(width: Width) -> Figure:
    """Disagreements per 1,000 requests on both streams, with intervals.

    All users and every segment are shown; cells of the chosen segment only.
    """
    base = alt.Chart(alt.NamedData(name="effects")).transform_filter(
        "datum.scope !== 'cell' || datum.key === segment"
    )
    y = alt.Y("row:N", title=None, sort=alt.EncodingSortField("place", op="min"))
    offset = alt.YOffset("stream:N", sort=_STREAMS)
    title = "disagreements per 1,000 requests, with interval"
    scale = alt.Scale(domain=_STREAMS, range=[BLUE, ORANGE])
    color = alt.Color("stream:N", title=None, scale=scale)
    spans = base.mark_rule(strokeWidth=2.5).encode(
        y=y,
        yOffset=offset,
        x=alt.X("low:Q", title=title).scale(zero=True),
        x2="high:Q",
        color=color,
    )
    points = base.mark_point(filled=True, size=80, opacity=1, stroke="white").encode(
        y=y,
        yOffset=offset,
        x=alt.X("rate:Q", title=title),
        color=color,
        shape=alt.Shape("stream:N", title=None).scale(domain=_STREAMS, range=["circle", "diamond"]),
        tooltip=_EFFECT_TOOLTIP,
    )
    texts = base.mark_text(align="left", dx=9, color=INK, fontSize=11).encode(
        y=y, yOffset=offset, x=alt.X("high:Q", title=title), text=alt.Text("rate:Q", format=".1f")
    )
    chart = alt.layer(spans, points, texts).properties(
        width=width,
        height=alt.Step(17),
        description=(
            "Disagreements per 1,000 requests on the logged and the augmented stream with their "
            "intervals, for all users, per segment, and per targeted cell of the chosen segment."
        ),
    )
    return Figure(chart, "effects", ())
