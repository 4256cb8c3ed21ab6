"""Users between segments since the run before: what a matrix and a Sankey diagram are drawn from.

Flows have `source` and `target`: segment ids, `NEW` or `GONE` at the ends of a user's time, and
`others (n)` for the segments that a chart leaves no room for.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from rehearsal.tables.schemas import COLD, NOISE

NEW, GONE = "(new)", "(gone)"
UNUSUAL = "unusual"
MATRIX_SEGMENTS, SANKEY_SEGMENTS = 15, 12
SANKEY_HEIGHT, SANKEY_GAP, NODE_WIDTH = 380, 16.0, 0.012
"""Pixels, pixels between nodes (a line of text must fit), share of the width."""

_NODE = ["name", "side", "n_users", "x", "x2", "y", "y2"]
_STEPS, _OTHERS = 13, "others ("
WORTH = [
    "expected_share", "requests_before", "requests_after", "value_before", "value_after",
    "direction", "q_value", "reason",
]  # fmt: skip


def ended(migrations: pd.DataFrame) -> pd.DataFrame:
    """Return the flows with `source`, `target` and `unusual`; none if there was no run before."""
    known = migrations[migrations["previous_run_id"].notna()]
    source, target = known["from_segment_id"], known["to_segment_id"]
    return known.assign(
        n_users=known["n_users"].astype(int),
        source=source.where(source.notna(), NEW).astype(str),
        target=target.where(target.notna(), GONE).astype(str),
        unusual=(known["status"] == UNUSUAL).astype(bool),
    )


def movers(flows: pd.DataFrame) -> pd.DataFrame:
    """Return the flows whose users changed segment, came or went; unusual ones first."""
    moved = flows[flows["source"] != flows["target"]]
    return moved.sort_values(
        ["unusual", "n_users", "source", "target"],
        ascending=[False, False, True, True],
        kind="stable",
        ignore_index=True,
    )


def summed(flows: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return the flows among the `limit` segments of the unusual and the largest flows.

    All other segments are one. share is of the source's users, 0..1; what users of a flow are
    worth is told of single flows only.
    """
    ends = movers(flows)[["source", "target"]].to_numpy().ravel()
    still = in_order(set(flows["source"]) | set(flows["target"]))
    segments = [name for name in dict.fromkeys([*ends, *still]) if name not in {NEW, GONE}]
    rest = f"{_OTHERS}{len(segments) - limit})"
    names = {name: name if place < limit else rest for place, name in enumerate(segments)}
    names |= {NEW: NEW, GONE: GONE}
    named = flows.assign(source=flows["source"].map(names), target=flows["target"].map(names))
    merged = named.groupby(["source", "target"], as_index=False, sort=True).agg(
        n_users=("n_users", "sum"), unusual=("unusual", "any"), n_flows=("n_users", "size"),
        **{name: (name, "first") for name in WORTH},
    )  # fmt: skip
    merged.loc[merged["n_flows"] > 1, WORTH] = None
    total = merged.groupby("source")["n_users"].transform("sum")
    return merged.assign(share=merged["n_users"] / total.where(total > 0))


def in_order(names: Iterable[str]) -> list[str]:
    """Return segments as a reader counts them (s2 before s10), those apart at the end."""
    last = {COLD: 1, NOISE: 2, NEW: 4, GONE: 4}

    def place(name: str) -> tuple[int, list[tuple[int, str]]]:
        parts = [part for part in re.split(r"(\d+)", name) if part]
        apart = 3 if name.startswith(_OTHERS) else last.get(name, 0)
        return apart, [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]

    return sorted(names, key=place)


def sankey(flows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return nodes and ribbons of moved users, placed in a unit width and `SANKEY_HEIGHT` pixels.

    Nodes: (name, side, n_users, x, x2, y, y2). Ribbons: the flows' columns, `flow` and points
    (x, y, y2) along a cubic Bezier curve whose control points lie half-way between the sides.
    """
    moved = flows[(flows["source"] != flows["target"]) & (flows["n_users"] > 0)]
    columns = {side: in_order(moved[side].unique()) for side in ("source", "target")}
    room = min(SANKEY_HEIGHT - SANKEY_GAP * (len(names) - 1) for names in columns.values())
    # A flow stays visible, however small beside the largest.
    scale = max(room, SANKEY_HEIGHT / 3) / max(int(moved["n_users"].sum()), 1)
    moved = moved.assign(high=np.maximum(moved["n_users"] * scale, 1.0))
    nodes = []
    for side, other in (("source", "target"), ("target", "source")):
        moved, placed = _stacked(moved, side, columns[side], columns[other], other)
        nodes += placed
    return pd.DataFrame(nodes, columns=_NODE), _ribbons(moved)


def _stacked(
    flows: pd.DataFrame, side: str, names: Sequence[str], others: Sequence[str], other: str
) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """Place one side's nodes below one another, and where each flow leaves or enters them."""
    order = {name: place for place, name in enumerate(others)}
    starts = pd.Series(0.0, index=flows.index)
    top, nodes = 0.0, []
    x = 0.0 if side == "source" else 1.0 - NODE_WIDTH
    for name in names:
        own = flows[flows[side] == name]
        own = own.loc[own[other].map(order).sort_values(kind="stable").index]
        starts[own.index] = top + own["high"].cumsum() - own["high"]
        end = top + float(own["high"].sum())
        nodes.append(
            {
                "name": name, "side": side, "n_users": int(own["n_users"].sum()),
                "x": x, "x2": x + NODE_WIDTH, "y": top, "y2": end,
            }
        )  # fmt: skip
        top = end + SANKEY_GAP
    return flows.assign(**{f"{side}_y": starts}), nodes


def _ribbons(flows: pd.DataFrame) -> pd.DataFrame:
    t = np.linspace(0, 1, _STEPS)
    along, across = 1.5 * t * (1 - t) + t**3, 3 * t**2 - 2 * t**3
    # Later areas are drawn over earlier ones: what is unusual stays in sight.
    ordered = flows.sort_values(["unusual", "high"], kind="stable").reset_index(drop=True)
    every = ordered.loc[ordered.index.repeat(_STEPS)]
    count = len(ordered)
    begin, end = every["source_y"].to_numpy(), every["target_y"].to_numpy()
    y = begin + (end - begin) * np.tile(across, count)
    return every.assign(
        flow=every.index,
        x=NODE_WIDTH + (1 - 2 * NODE_WIDTH) * np.tile(along, count),
        y=y,
        y2=y + every["high"].to_numpy(),
    ).reset_index(drop=True)
