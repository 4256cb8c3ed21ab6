"""The rows behind the charts, once for the whole page, keyed and cut to what a chart can show."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from rehearsal.report.frames import ReportData
from rehearsal.report.glossary import STATUS_NOTES
from rehearsal.report.reading import Reading
from rehearsal.report.rows_joint import held_windows, joint_rows, measure_rows
from rehearsal.report.rows_parts import waterfall_rows
from rehearsal.report.rows_segments import segment_rows
from rehearsal.report.scores import ALL_KEY, keyed
from rehearsal.report.since import onsets

MAX_CATEGORIES = 12
"""Categories shown apart; the others are summed."""

PROFILE_FEATURES = 8
"""Features shown per segment."""

_DIGITS = 4
_CATEGORY_KEYS = ["key", "column_name", "kind"]


def chart_rows(run: Reading) -> dict[str, pd.DataFrame]:
    """Return the named frames the charts refer to; marginals are one frame per column."""
    data, shown = run.data, run.keys
    telling = data.profiles[data.profiles["rank"] <= PROFILE_FEATURES]
    held = held_windows(run)
    joint = joint_rows(run, held)
    frames = {
        "scores": _scores(run),
        "windows": held,
        "measures": measure_rows(run, held),
        "profiles": keyed(telling)[
            ["key", "feature", "segment_mean", "overall_mean", "effect_size", "rank"]
        ],
        "contributions": waterfall_rows(_among(keyed(data.contributions), shown)),
        "effects": _among(_effects(data, run.labels), shown),
        **segment_rows(data, run.labels),
    }
    for output in run.bins:
        rows = joint[joint["output"] == output]
        frames[f"joint_{output}"] = rows[["key", "window", "counts"]]
    shares = _among(marginal_rows(data), shown)
    for place, column in enumerate(marginal_columns(data)):
        rows = shares[shares["column_name"] == column]
        frames[f"marginals_{place}"] = rows[["key", "bin", "label", "logged", "synthetic"]]
    return frames


def _among(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    return frame[frame["key"].isin(keys)]


def marginal_columns(data: ReportData) -> dict[str, str]:
    """Return each generated column and its kind, by name."""
    unique = data.fidelity.drop_duplicates("column_name").sort_values("column_name")
    return dict(zip(unique["column_name"], unique["kind"], strict=True))


def marginal_rows(data: ReportData) -> pd.DataFrame:
    """Return (key, column_name, kind, bin, label, logged, synthetic), rare categories summed."""
    frame = keyed(data.fidelity).rename(
        columns={"logged_share": "logged", "synthetic_share": "synthetic"}
    )
    weight = frame["logged"].astype(float) + frame["synthetic"].astype(float)
    order = weight.groupby([frame[name] for name in _CATEGORY_KEYS]).rank(
        method="first", ascending=False
    )
    rare = (frame["kind"] == "categorical") & (order > MAX_CATEGORIES)
    last = int(frame["bin"].max()) + 1 if len(frame) else 0
    frame = frame.assign(
        bin=frame["bin"].where(~rare, last), label=frame["label"].where(~rare, "all others")
    )
    keys = [*_CATEGORY_KEYS, "bin", "label"]
    shares = frame.groupby(keys, as_index=False, dropna=False)[["logged", "synthetic"]]
    return pd.DataFrame(shares.sum())


def total_variation(data: ReportData) -> pd.DataFrame:
    """Return (key, column_name, kind, distance): half the summed |logged - synthetic| shares.

    0 = the same distribution, 1 = nothing in common; over all bins, none summed.
    """
    frame = keyed(data.fidelity)
    gap = (frame["logged_share"].astype(float) - frame["synthetic_share"].astype(float)).abs() / 2
    columns = frame.assign(distance=gap).groupby(_CATEGORY_KEYS, as_index=False)
    return pd.DataFrame(columns[["distance"]].sum())


def compact_json(frames: Mapping[str, pd.DataFrame]) -> str:
    """Return the frames column by column, texts as codes into a list, fit for a <script>.

    No '<' is left, so that no text of the user's can end the element.
    """
    packed = {
        name: {column: _packed(frame[column]) for column in frame.columns}
        for name, frame in frames.items()
    }
    return script_json(packed)


def script_json(value: Any) -> str:
    """Return JSON that can stand inside a <script> element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: missing and non-finite numbers become None."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)) or pd.isna(value):
        return None
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f"{value:.{_DIGITS}g}")
    return value


def _packed(column: pd.Series) -> dict[str, list[Any]]:
    """Return a column's values, or codes into its texts; `runs`: how often each is repeated."""
    values = [plain(value) for value in column]
    if not any(isinstance(value, str) for value in values):
        return _run_lengths("values", values)
    codes, texts = pd.factorize(pd.Series(values, dtype=object))
    return {"texts": [str(text) for text in texts]} | _run_lengths("codes", codes.tolist())


def _run_lengths(name: str, values: list[Any]) -> dict[str, list[Any]]:
    runs = [(value, len(list(same))) for value, same in groupby(values)]
    if len(runs) * 2 >= len(values):
        return {name: values}
    return {name: [value for value, _ in runs], "runs": [count for _, count in runs]}


def _scores(run: Reading) -> pd.DataFrame:
    """Return the scores of the measures offered, with where each segment's drift begins."""
    frame = run.scores
    frame = frame[frame["measure"].isin([one.key for one in run.offered])]
    frame = frame.assign(
        row=frame["key"].map(run.labels).fillna(frame["key"]),
        reason=_reasons(frame),
        onset=_onsets(run, frame),
    ).sort_values(["measure", "key", "window_start"], kind="stable")
    names = {"ci_low": "low", "ci_high": "high", "told": "status"}
    frame = frame.drop(columns="status").rename(columns=names)
    return frame[
        [
            "key", "row", "window", "measure", "score", "low", "high", "threshold",
            "threshold_origin", "detectable", "q_value", "n_requests", "n_users", "status",
            "reason", "onset",
        ]
    ]  # fmt: skip


def _reasons(frame: pd.DataFrame) -> pd.Series:
    """Return why each score has its status: in the status' own words where numbers are the rest.

    Those numbers (q, and what would have shown) are columns of the row already, and without them
    the thousands of reasons of a page are few texts.
    """
    numbers = (frame["told"] == "red") | ((frame["told"] == "green") & frame["detectable"].notna())
    return frame["reason"].fillna("").mask(numbers, frame["told"].map(STATUS_NOTES))


def _onsets(run: Reading, frame: pd.DataFrame) -> pd.Series:
    """Return 'start' where a drift begins, 'near' where it may as well, else None."""
    since, by_key = onsets(run.data), {one.key: one for one in run.offered}
    told = pd.Series(None, index=frame.index, dtype=object)
    drifting = set(since.rows["key"])
    for (key, measure), rows in frame[frame["key"].isin(drifting)].groupby(["key", "measure"]):
        found = since.of(str(key), by_key[str(measure)])
        if found is not None:
            first, last = found.between or (found.start, found.start)
            near = rows["window"].between(first, last)
            told[rows.index[near]] = "near"
            told[rows.index[rows["window"] == found.start]] = "start"
    return told


def _effects(data: ReportData, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return one row per scope and stream, in reading order."""
    frame = keyed(data.effects)
    order = {key: place for place, key in enumerate(labels)}
    frame = frame.assign(
        row=[effect_place(one, labels) for one in frame.itertuples()],
        group=frame["key"].map(order),
        own=(frame["scope"] == "cell").astype(int),
    ).sort_values(["group", "own", "row"], kind="stable", ignore_index=True)
    parts = [
        pd.DataFrame(
            {
                "key": frame["key"],
                "row": frame["row"],
                "place": frame.index,
                "scope": frame["scope"],
                "stream": stream,
                "rate": frame[f"{prefix}_per_1000"],
                "low": frame[f"{prefix}_ci_low"],
                "high": frame[f"{prefix}_ci_high"],
                "n_requests": frame[f"n_{prefix}"],
            }
        )
        for prefix, stream in (("baseline", "logged stream"), ("augmented", "augmented stream"))
    ]
    return pd.concat(parts, ignore_index=True)


def effect_place(one: Any, labels: Mapping[str, str]) -> str:
    """Name where an effect was measured: all users, a segment, or a cell of one."""
    if one.scope == "cell":
        return f"{one.key} → {one.request_type}"
    return labels.get(one.key, one.key) if one.key != ALL_KEY else labels[ALL_KEY]
