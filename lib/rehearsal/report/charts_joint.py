"""Which answers moved where: the joint histogram of a cell, and the two histograms beside."""

from typing import Any

import altair as alt

from rehearsal.report.bins import Bins
from rehearsal.report.charts import BLUE, INK, ORANGE, Figure, Width

_MOVED_DOMAIN = [0.0, 0.02, 0.1, 0.3, 0.6]
_MOVED_RANGE = ["#f7f4f0", "#fbe3c8", "#f3b57c", "#dd7a2a", "#a63a00"]
_KEPT_RANGE = ["#f3f6f9", "#8fb4d6"]
_WITH_SHARES, _MAX_PIXELS, _ROW_PIXELS, _LABEL_PIXELS = 12, 400, 32, 110
_STEEP_LABELS = 24
_TOOLTIP = [
    alt.Tooltip("from:N", title="production says"),
    alt.Tooltip("to:N", title="experimental says"),
    alt.Tooltip("n:Q", title="requests", format=","),
    alt.Tooltip("share:Q", title="share of production's row", format=".2%"),
    alt.Tooltip("all_share:Q", title="share of all requests", format=".2%"),
]


def joint_map(bins: Bins, width: Width) -> Figure:
    """Bins of production (rows) by experimental (columns): share of each row, and counts."""
    cells = _cells(bins).transform_calculate(
        told=("datum.share >= 0.005 ? format(datum.share, '.0%') : datum.n > 0 ? '<1%' : ''"),
        same=f"{bins.labels_literal}[datum.row] + (datum.row === datum.column ? ', the same' : '')",
    )
    sides, tooltip = _sides(bins), _TOOLTIP
    edge = {"stroke": "white", "strokeWidth": 1}
    moved = alt.Color("share:Q", title="share of production's row that moved").scale(
        domain=_MOVED_DOMAIN, range=_MOVED_RANGE, clamp=True, interpolate="rgb"
    )
    kept = alt.Color("share:Q", legend=None).scale(domain=[0, 1], range=_KEPT_RANGE)
    off = cells.transform_filter("datum.row !== datum.column")
    layers = [
        off.mark_rect(**edge).encode(
            color=moved.legend(format=".0%", gradientLength=140), tooltip=tooltip, **sides
        ),
        cells.transform_filter("datum.row === datum.column")
        .mark_rect(**edge)
        .encode(color=kept, tooltip=tooltip, **sides),
    ]
    if bins.size <= _WITH_SHARES:
        ink = alt.condition("datum.share > 0.3 && datum.row !== datum.column",
                            alt.value("white"), alt.value(INK))  # fmt: skip
        texts = cells.mark_text(fontSize=11)
        layers.append(texts.encode(text="told:N", color=ink, tooltip=tooltip, **sides))
    chart = (
        alt.layer(*layers)
        .resolve_scale(color="independent")
        .properties(
            width=width,
            height=min(_MAX_PIXELS, _ROW_PIXELS * bins.size),
            description=(
                f"Joint histogram of {bins.output}: share of the requests of each bin of "
                "production, in rows, that the experimental model puts in each bin, in columns."
            ),
        )
    )
    return Figure(chart, f"joint_{bins.output}", ("key", "window"))


def _sides(bins: Bins) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "labelLimit": _LABEL_PIXELS,
        "labelPadding": 5,
        "ticks": False,
        **_overlap(bins),
    }
    return {
        "y": alt.Y("from:N", title="production", sort=None)
        .scale(domain=list(bins.labels))
        .axis(**axis),
        "x": alt.X("to:N", title="experimental", sort=None)
        .scale(domain=list(bins.labels))
        .axis(labelAngle=-40 if _longest(bins) else 0, **axis),
    }


def _longest(bins: Bins) -> bool:
    return max(len(label) for label in bins.labels) * bins.size > _STEEP_LABELS


def _overlap(bins: Bins) -> dict[str, Any]:
    # The check takes slanted labels for wide ones and would drop every other of few.
    return {"labelOverlap": False if bins.size <= _WITH_SHARES else "greedy"}


def _cells(bins: Bins) -> Any:
    """Return one row per pair of bins: n, and its share of the row and of all."""
    labels, k = bins.labels_literal, bins.size
    return (
        alt.Chart(alt.NamedData(name=f"joint_{bins.output}"))
        .transform_filter("datum.key === segment && datum.window === window")
        .transform_calculate(cell="split(datum.counts, ',')", at=f"sequence({k * k})")
        .transform_flatten(["cell", "at"])
        .transform_calculate(
            n="toNumber(datum.cell) || 0",
            row=f"floor(datum.at / {k})",
            column=f"datum.at % {k}",
        )
        .transform_joinaggregate(row_n="sum(n)", groupby=["row"])
        .transform_joinaggregate(all_n="sum(n)")
        .transform_calculate(
            share="datum.row_n > 0 ? datum.n / datum.row_n : 0",
            all_share="datum.n / datum.all_n",
            **{"from": f"{labels}[datum.row]", "to": f"{labels}[datum.column]"},
        )
    )


def bin_shares(bins: Bins, width: Width) -> Figure:
    """Share of requests in each bin under both models: what divergences compare."""
    k = bins.size
    cells = _cells(bins)
    order = list(bins.labels)
    scale = alt.Scale(domain=["production", "experimental"], range=[BLUE, ORANGE])
    parts = []
    for model, side, dash in (("production", "from", [1, 0]), ("experimental", "to", [1, 0])):
        shares = cells.transform_aggregate(
            share="sum(all_share)", n="sum(n)", groupby=[side]
        ).transform_calculate(model=f"'{model}'", bin=f"datum.{side}")
        parts.append(
            shares.mark_bar(strokeDash=dash).encode(
                x=alt.X("bin:N", title=None, sort=None)
                .scale(domain=order)
                .axis(
                    labelAngle=-40 if _longest(bins) else 0,
                    labelLimit=_LABEL_PIXELS, ticks=False, **_overlap(bins),
                ),
                xOffset=alt.XOffset("model:N").scale(domain=["production", "experimental"]),
                y=alt.Y("share:Q", title="share of requests").axis(format="%", tickCount=4),
                color=alt.Color("model:N", title=None, scale=scale),
                tooltip=[
                    alt.Tooltip("bin:N"),
                    alt.Tooltip("model:N"),
                    alt.Tooltip("n:Q", title="requests", format=","),
                    alt.Tooltip("share:Q", title="share of requests", format=".2%"),
                ],
            )
        )  # fmt: skip
    chart = alt.layer(*parts).properties(
        width=width,
        height=140,
        description=f"Share of requests in each of {k} bins of {bins.output} under both models.",
    )
    return Figure(chart, f"joint_{bins.output}", ("key", "window"))
