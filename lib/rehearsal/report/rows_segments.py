"""The rows behind the charts of segments: map, profiles, choice of k, and flows of users."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from rehearsal.report import flows
from rehearsal.report.frames import ReportData
from rehearsal.report.scores import keyed
from rehearsal.tables.schemas import COLD, NOISE

MAX_POINTS, MAX_FEATURES, MAX_COLUMNS = 2000, 20, 40
"""Users on the map, features and segments of the heat map; the chosen segment is added."""

MAX_LABELS, MAX_PROTOTYPES, MAX_DISTANCES = 25, 3, 300
GREY = "#8a94a0"
COLOURS = (
    "#0072b2", "#e69f00", "#882255", "#5aae61", "#332288", "#d9a6d9", "#5a5a00", "#00441b",
)  # fmt: skip
"""Apart for every common colour blindness; segments beyond them differ by shape."""

SHAPES = ("circle", "square", "triangle-up", "diamond")
_APART = 0.06


@dataclass(frozen=True)
class Look:
    """How a segment is drawn wherever segments stand side by side."""

    colour: str
    shape: str


def by_size(data: ReportData) -> pd.DataFrame:
    """Return (key, segment_name, n_users, user_share, is_small, stability, place) per segment.

    The largest comes first; cold and noise, which no centre stands for, come last.
    """
    named = keyed(data.profiles.drop_duplicates("segment_id"))
    apart = named["key"].isin([COLD, NOISE])
    ordered = named.assign(apart=apart).sort_values(
        ["apart", "n_users", "key"], ascending=[True, False, True], ignore_index=True
    )
    columns = ["key", "segment_name", "n_users", "user_share", "is_small", "stability"]
    return ordered[columns].assign(place=ordered.index)


def looks(data: ReportData) -> dict[str, Look]:
    """Return each segment's colour and shape; those beyond every pair of them are grey."""
    found = {}
    for key, place in by_size(data)[["key", "place"]].itertuples(index=False):
        plain = key in (COLD, NOISE) or place >= len(COLOURS) * len(SHAPES)
        colour = GREY if plain else COLOURS[place % len(COLOURS)]
        shape = "circle" if plain else SHAPES[place // len(COLOURS)]
        found[str(key)] = Look(colour, shape)
    return found


def segment_rows(data: ReportData, labels: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return the named frames of the charts of segments."""
    moved = flows.ended(data.migrations)
    return {
        "segment_map": _map(data, labels),
        "profile_map": _profile_map(data, labels),
        "k_curve": data.k_curve.sort_values("k", ignore_index=True),
        "k_distances": _distances(data),
        "migration_matrix": _matrix(moved, labels),
        "sankey": _sankey(moved, labels),
    }


def telling_features(data: ReportData) -> list[str]:
    """Return the features that the segments tell apart best, the best first.

    The sum of user share x effect size squared is the share of a feature's variance that lies
    between segments (eta squared); cold users, who lack all behaviour, would hide the others.
    """
    frame = keyed(data.profiles)
    warm = frame[frame["key"] != COLD]
    frame = warm if len(warm) else frame
    effect, share = (frame[name].astype(float) for name in ("effect_size", "user_share"))
    eta = (share * effect**2).groupby(frame["feature"]).sum()
    return list(eta.sort_values(ascending=False, kind="stable").index)


def _map(data: ReportData, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return drawn users without, and prototypes with their ids."""
    frame = keyed(data.samples[data.samples["x"].notna() & data.samples["y"].notna()])
    rank = pd.to_numeric(frame["prototype_rank"])
    drawn = frame[rank.isna()]
    drawn = drawn.iloc[:: max(1, -(-len(drawn) // MAX_POINTS))]
    kept = pd.concat([drawn, frame[rank <= MAX_PROTOTYPES]], ignore_index=True)
    look, grey = looks(data), Look(GREY, "circle")
    prototype = kept["prototype_rank"].notna()
    kept = kept.assign(
        row=kept["key"].map(labels).fillna(kept["key"]),
        user=kept["user_id"].where(prototype),
        paint=[look.get(key, grey).colour for key in kept["key"]],
        shape=[look.get(key, grey).shape for key in kept["key"]],
        rank=kept["prototype_rank"],
    )
    kept["label"] = _labelled(kept, by_size(data))
    return kept[["key", "row", "x", "y", "distance", "rank", "user", "paint", "shape", "label"]]


def _labelled(points: pd.DataFrame, sizes: pd.DataFrame) -> list[bool]:
    """Return which first prototypes carry their segment's id: no two too near to be read."""
    order = dict(zip(sizes["key"], sizes["place"], strict=True))
    unit = points[["x", "y"]].astype(float)
    unit = unit / (unit.max() - unit.min()).clip(lower=1e-9)
    first = points.index[points["rank"] == 1].tolist()
    placed: list[tuple[float, float]] = []
    chosen = set()
    for index in sorted(first, key=lambda one: order.get(points["key"][one], len(order))):
        here = (unit["x"][index], unit["y"][index])
        near = any(abs(here[0] - x) < _APART and abs(here[1] - y) < _APART for x, y in placed)
        if not near and len(placed) < MAX_LABELS:
            placed.append(here)
            chosen.add(index)
    return [index in chosen for index in points.index]


def _profile_map(data: ReportData, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return the effect sizes of the most telling features in every segment."""
    rank = {name: place for place, name in enumerate(telling_features(data)[:MAX_FEATURES])}
    place = by_size(data).set_index("key")["place"]
    frame = keyed(data.profiles)
    frame = frame[frame["feature"].isin(rank)]
    frame = frame.assign(
        row=frame["key"].map(labels).fillna(frame["key"]),
        place=frame["key"].map(place),
        rank=frame["feature"].map(rank),
        effect=frame["effect_size"].astype(float).round(2),
        mean=frame["segment_mean"],
    ).sort_values(["place", "rank"], ignore_index=True)
    return frame[["key", "row", "place", "feature", "rank", "effect", "mean"]]


def _distances(data: ReportData) -> pd.DataFrame:
    """Return the k-distance curve over the share of sampled users, thinned to what is seen."""
    frame = data.k_distances
    step = max(1, -(-len(frame) // MAX_DISTANCES))
    # From the end: the largest distance is what makes the knee.
    kept = frame.iloc[::-1].iloc[::step].iloc[::-1]
    share = (kept["position"].astype(float) + 1) / max(len(frame), 1)
    return pd.DataFrame({"share": share, "distance": kept["distance"]}).reset_index(drop=True)


def _matrix(moved: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    frame = flows.summed(moved, flows.MATRIX_SEGMENTS) if len(moved) else moved.assign(share=None)
    return frame.assign(**_told(frame, labels))[
        ["source", "target", "from", "to", "key", "n_users", "share", "unusual", *flows.WORTH]
    ]


def _sankey(moved: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return ribbons and nodes in one frame; `part` tells which."""
    frame = flows.summed(moved, flows.SANKEY_SEGMENTS) if len(moved) else moved.assign(share=None)
    nodes, ribbons = flows.sankey(frame)
    ribbons = ribbons.assign(part="ribbon", **_told(ribbons, labels))
    nodes = nodes.assign(part="node", key=nodes["name"].where(nodes["name"].isin(list(labels))))
    together = pd.concat([ribbons, nodes], ignore_index=True)
    return together[
        [
            "part", "flow", "source", "target", "from", "to", "key", "name", "side", "n_users",
            "share", "unusual", "reason", "x", "x2", "y", "y2",
        ]
    ]  # fmt: skip


def _told(frame: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, pd.Series]:
    """Return the ends' names, and the segment a click chooses: where the users are now."""
    target, source = frame["target"], frame["source"]
    known = target.where(target.isin(list(labels)), source.where(source.isin(list(labels))))
    return {
        "from": source.map(labels).fillna(source),
        "to": target.map(labels).fillna(target),
        "key": known,
    }
