"""Which request types bring the drift: a waterfall from nothing to the whole."""

from typing import Any, Literal

import altair as alt

from rehearsal.report.charts import BLUE, GREY, INK, ORANGE, Figure, Width

_KINDS = {"up": ORANGE, "down": BLUE, "rest": GREY, "total": INK}
_ROW_PIXELS = 26
_TITLE = "share of the drift, added up"
_SIDES: tuple[tuple[str, str, Literal["left", "right"], int], ...] = (
    (">=", "max", "left", 5),
    ("<", "min", "right", -5),
)


def waterfall(width: Width) -> Figure:
    """Signed parts of the chosen segment's drift, each from where the one above ended."""
    base = alt.Chart(alt.NamedData(name="contributions")).transform_filter(
        "datum.key === segment && datum.part === part"
    )
    y = alt.Y("request_type:N", title=None, sort=alt.EncodingSortField("rank", op="min")).axis(
        labelLimit=230, ticks=False, domain=False, labelPadding=6
    )
    x = alt.X("start:Q", title=_TITLE).axis(format="%", tickCount=5)
    x = x.scale(zero=True, padding=52, nice=False)
    bars = base.mark_bar(height={"band": 0.7}).encode(
        x=x,
        x2="end:Q",
        y=y,
        color=alt.Color(
            "kind:N", scale=alt.Scale(domain=list(_KINDS), range=list(_KINDS.values()))
        ).legend(None),
        tooltip=_TOOLTIP,
    )
    # The step down from each bar to the next one keeps the eye on the running sum.
    links = (
        base.transform_filter("isValid(datum.after)")
        .mark_rule(color=GREY, strokeWidth=1)
        .encode(x=alt.X("end:Q", title=_TITLE), y=y, y2="after:N")
    )
    chart = alt.layer(links, bars, *_texts(base, y)).properties(
        width=width,
        height=alt.Step(_ROW_PIXELS),
        description=(
            "Waterfall of the signed share of the chosen segment's drift that each request type "
            "brings; the last bar is the whole drift."
        ),
    )
    return Figure(chart, "contributions", ("key", "part"))


def _texts(base: Any, y: alt.Y) -> list[Any]:
    """Write each share beyond the end that its bar points to."""
    return [
        base.transform_calculate(
            tip=f"{side}(datum.start, datum.end)",
            told="abs(datum.share) < 0.0005 ? '0.0%' : format(datum.share, '+.1%')",
        )
        .transform_filter(f"datum.share {sign} 0")
        .mark_text(align=align, dx=dx, color=INK)
        .encode(x=alt.X("tip:Q", title=_TITLE), y=y, text="told:N")
        for sign, side, align, dx in _SIDES
    ]


_TOOLTIP = [
    alt.Tooltip("request_type:N", title="request type"),
    alt.Tooltip("share:Q", title="share of the drift", format="+.1%"),
    alt.Tooltip("end:Q", title="sum so far", format="+.1%"),
    alt.Tooltip("contribution:Q", title="part of the statistic", format=".4~g"),
    alt.Tooltip("statistic:Q", title="statistic in all", format=".4~g"),
    alt.Tooltip("size_share:Q", title="share of the size", format="+.1%"),
    alt.Tooltip("size_contribution:Q", title="part of the size", format=".4~g"),
    alt.Tooltip("size_metric:N", title="size is"),
    alt.Tooltip("request_share:Q", title="share of requests", format=".1%"),
    alt.Tooltip("n_requests:Q", title="requests", format=","),
]
