"""What the figures say: one row per segment, since when it drifts, the verdict in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rehearsal.report.frames import ReportData
from rehearsal.report.glossary import STATUSES
from rehearsal.report.scores import (
    ALL_KEY,
    ALL_LABEL,
    Measure,
    keyed,
    measures,
    offered,
    parts_of,
    scored,
)
from rehearsal.report.since import Onsets, Since, onsets

_TOP_TYPES, _TOLD_SEGMENTS = 3, 3
_MAX_DRAWN, _MIN_DRAWN, _MAX_SCORES = 61, 6, 15_000
# What is held beside a segment's scores, as scores of that size.
_SCORES_PER_SEGMENT, _SCORES_PER_GENERATOR = 12, 60


@dataclass(frozen=True)
class Finding:
    """What is to be said of one segment, or of all users."""

    key: str
    name: str
    n_users: int | None
    user_share: float | None
    status: str
    measure: Measure | None
    score: float | None
    threshold: float | None
    ratio: float | None
    drifts: Since | None
    detectable: float | None
    top_types: tuple[tuple[str, float], ...]
    n_synthetic: int

    @property
    def since(self) -> str | None:
        """Return the first window of the drift, by its first day."""
        return self.drifts.start if self.drifts else None

    @property
    def label(self) -> str:
        """Return id and name together: names alone need not be unique."""
        return self.name if self.key == ALL_KEY else f"{self.key} · {self.name}"

    @property
    def title(self) -> str:
        """Return the id with the first trait of the name, short enough for a sentence."""
        return self.name if self.key == ALL_KEY else f"{self.key} ({self.name.split(', ')[0]})"


def findings(data: ReportData) -> tuple[Finding, ...]:
    """Return one finding for all users and one per segment, the worst segment first."""
    frame = scored(data)
    rows = {str(key): own for key, own in frame.groupby("key")}
    none, since = frame.iloc[:0], onsets(data)
    named = data.profiles.drop_duplicates("segment_id")
    segments = [
        _finding(data, since, rows.get(str(one.segment_id), none), *one)
        for one in named[["segment_id", "segment_name", "n_users", "user_share"]].itertuples(
            index=False
        )
    ]
    known = {ALL_KEY, *named["segment_id"].astype(str)}
    for key in sorted(set(rows) - known):  # users without a segment are 'cold', profiled or not
        n_users = int(rows[key]["n_users"].max())
        share = n_users / max(int(named["n_users"].sum()) + n_users, 1)
        segments.append(_finding(data, since, rows[key], key, key, n_users, share))
    segments.sort(key=lambda one: (STATUSES.index(one.status), -(one.ratio or 0.0), one.key))
    total = int(named["n_users"].sum())
    every = _finding(data, since, rows.get(ALL_KEY, none), ALL_KEY, ALL_LABEL, total, 1.0)
    return (every, *segments)


def drawn(data: ReportData, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that charts and long tables hold: all users and the worst segments.

    The page would not load with the scores of hundreds of segments, or be read. What it holds of
    every segment takes the room of some scores.
    """
    each = data.scores["window_start"].nunique() * len(offered(measures(data)))
    each += _SCORES_PER_GENERATOR * bool(len(data.gate))
    room = _MAX_SCORES - _SCORES_PER_SEGMENT * len(found)
    fitting = max(room // max(each, 1), _MIN_DRAWN)
    return tuple(found[: min(fitting, _MAX_DRAWN)])


def breaching(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the segments, without 'all users', that have a breach."""
    return tuple(one for one in found if one.key != ALL_KEY and one.status == "red")


def verdict(found: Sequence[Finding]) -> str:
    """Return the outcome of the run in one sentence."""
    segments = [one for one in found if one.key != ALL_KEY]
    drifting = breaching(found)
    if not drifting:
        overall = next(one for one in found if one.key == ALL_KEY)
        none = f"None of {len(segments)} segments breaches a threshold"
        if overall.status != "red":
            return f"{none}."
        return f"{none}, but all users together do since {overall.since}."
    told = "; ".join(_told(one) for one in drifting[:_TOLD_SEGMENTS])
    more = len(drifting) - _TOLD_SEGMENTS
    verb = "drifts" if len(drifting) == 1 else "drift"
    return f"{len(drifting)} of {len(segments)} segments {verb}: {told}" + (
        f"; and {more} more." if more > 0 else "."
    )


def _told(one: Finding) -> str:
    types = " and ".join(f"{kind} ({share:.0%})" for kind, share in one.top_types[:2])
    driven = f", driven by {types}" if types else ""
    return f"{one.title} since {one.since}{driven}"


def _finding(
    data: ReportData,
    since: Onsets,
    rows: pd.DataFrame,
    key: str,
    name: str,
    n_users: float,
    user_share: float,
) -> Finding:
    present = set(rows["status"])
    status = next((one for one in STATUSES if one in present), "insufficient_data")
    worst = rows[(rows["status"] == status) & rows["ratio"].notna()]
    top = worst.loc[worst["ratio"].idxmax()] if len(worst) else None
    measure = None
    if top is not None:
        measure = Measure(str(top["output"]), str(top["metric"]), str(top["test"]))
    red = status == "red"
    generated = data.generated
    return Finding(
        key=key,
        name=name,
        n_users=int(n_users),
        user_share=float(user_share),
        status=status,
        measure=measure,
        score=None if top is None else float(top["score"]),
        threshold=None if top is None else float(top["threshold"]),
        ratio=None if top is None else float(top["ratio"]),
        drifts=_drifts(since, worst, key, measure) if red and measure else None,
        detectable=_detectable(rows, measure) if status == "green" and measure else None,
        top_types=_top_types(data.contributions, key, measure) if red else (),
        n_synthetic=int(generated.loc[_of(generated, key), "n_synthetic"].sum()),
    )


def _drifts(since: Onsets, breaching: pd.DataFrame, key: str, measure: Measure) -> Since:
    windows = breaching.loc[breaching["measure"] == measure.key, "window"]
    return since.of(key, measure) or since.first_breach(list(windows))


def _detectable(rows: pd.DataFrame, measure: Measure) -> float | None:
    """Return what would have shown in whichever window, or None where one could not be tested."""
    own = rows.loc[(rows["measure"] == measure.key) & rows["score"].notna(), "detectable"]
    return float(own.max()) if len(own) and own.notna().all() else None


def _of(frame: pd.DataFrame, key: str) -> pd.Series:
    every = pd.Series(data=True, index=frame.index)
    return every if key == ALL_KEY else frame["segment_id"] == key


def _top_types(
    contributions: pd.DataFrame, key: str, measure: Measure | None
) -> tuple[tuple[str, float], ...]:
    """Return the request types that add most to the drift, as its worst measure has it."""
    rows = keyed(contributions)
    rows = rows[rows["key"] == key]
    if measure is None or rows.empty:
        return ()
    parts = parts_of(rows)
    rows = rows[parts == (measure.split if measure.split in set(parts) else parts.iloc[0])]
    rows = rows[rows["share"] > 0].sort_values("rank").head(_TOP_TYPES)
    return tuple(zip(rows["request_type"], rows["share"].astype(float), strict=True))
