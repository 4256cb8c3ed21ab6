"""What the figures say: measures, one row per segment, the verdict in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rehearsal.report.data import ReportData
from rehearsal.report.glossary import METRIC_LABELS, STATUSES
from rehearsal.settings import METRICS

ALL_KEY, ALL_LABEL = "*", "All users"
"""How 'all users' (segment_id NULL) is keyed and called in the report."""

_TOP_TYPES, _TOLD_SEGMENTS = 3, 3
_MAX_DRAWN, _MIN_DRAWN, _MAX_SCORES, _SCORES_PER_SEGMENT = 61, 6, 20_000, 20


@dataclass(frozen=True)
class Measure:
    """One metric of one output."""

    output: str
    metric: str

    @property
    def key(self) -> str:
        """Identify the measure in the page's data."""
        return f"{self.output}/{self.metric}"

    @property
    def short(self) -> str:
        """Name the measure as the glossary does."""
        return f"{self.output}: {self.metric}"

    @property
    def label(self) -> str:
        """Name the measure for a reader, with its direction and unit."""
        return f"{self.output}: {METRIC_LABELS.get(self.metric, self.metric)}"


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
    since: str | None
    top_types: tuple[tuple[str, float], ...]
    n_synthetic: int

    @property
    def label(self) -> str:
        """Return id and name together: names alone need not be unique."""
        return self.name if self.key == ALL_KEY else f"{self.key} · {self.name}"

    @property
    def title(self) -> str:
        """Return the id with the first trait of the name, short enough for a sentence."""
        return self.name if self.key == ALL_KEY else f"{self.key} ({self.name.split(', ')[0]})"


def keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a `key` column: the segment, or `ALL_KEY` where it is NULL."""
    ids = frame["segment_id"]
    return frame.assign(key=ids.where(ids.notna(), ALL_KEY).astype(str))


def scored(data: ReportData) -> pd.DataFrame:
    """Return the scores with `key`, `measure`, `window` (its first day) and `ratio`.

    ratio is |bias-corrected score| / threshold: 1 = at the threshold, NaN without a score or a
    threshold.
    """
    frame = keyed(data.scores)
    score, threshold = (
        pd.to_numeric(frame[name]) for name in ("score_bias_corrected", "threshold")
    )
    return frame.assign(
        measure=frame["output"] + "/" + frame["metric"],
        window=pd.to_datetime(frame["window_start"]).dt.strftime("%Y-%m-%d"),
        score=score,
        threshold=threshold,
        ratio=(score.abs() / threshold).where(threshold > 0),
    )


def window_starts(data: ReportData) -> list[str]:
    """Return the first day of each window, in order."""
    return sorted(scored(data)["window"].unique())


def measures(data: ReportData) -> tuple[Measure, ...]:
    """Return every metric of every output, the one to look at first in front.

    First comes what breaches most often, then what has a threshold, then the order of `METRICS`.
    """
    frame = scored(data).assign(red=lambda rows: rows["status"] == "red")
    grouped = frame.groupby(["output", "metric"], as_index=False).agg(
        red=("red", "sum"), threshold=("threshold", "max")
    )
    rank = {metric: place for place, metric in enumerate(METRICS)}
    grouped = grouped.assign(
        bare=grouped["threshold"].isna(),
        place=grouped["metric"].map(lambda metric: rank.get(metric, len(rank))),
    ).sort_values(["red", "bare", "place", "output"], ascending=[False, True, True, True])
    return tuple(Measure(str(row.output), str(row.metric)) for row in grouped.itertuples())


def findings(data: ReportData) -> tuple[Finding, ...]:
    """Return one finding for all users and one per segment, the worst segment first."""
    frame = scored(data)
    rows = {str(key): own for key, own in frame.groupby("key")}
    none = frame.iloc[:0]
    named = data.profiles.drop_duplicates("segment_id")
    segments = [
        _finding(data, rows.get(str(one.segment_id), none), *one)
        for one in named[["segment_id", "segment_name", "n_users", "user_share"]].itertuples(
            index=False
        )
    ]
    segments.sort(key=lambda one: (STATUSES.index(one.status), -(one.ratio or 0.0), one.key))
    total = int(named["n_users"].sum())
    every = _finding(data, rows.get(ALL_KEY, none), ALL_KEY, ALL_LABEL, total, 1.0)
    return (every, *segments)


def drawn(data: ReportData, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that charts and long tables hold: all users and the worst segments.

    The page would not load with the scores of hundreds of segments, or be read. What it holds of
    every segment takes the room of some scores.
    """
    frame = data.scores
    each = frame["window_start"].nunique() * len(frame[["output", "metric"]].drop_duplicates())
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
    measure = Measure(str(top["output"]), str(top["metric"])) if top is not None else None
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
        since=str(worst["window"].min()) if status == "red" and len(worst) else None,
        top_types=_top_types(data.contributions, key, measure) if status == "red" else (),
        n_synthetic=int(generated.loc[_of(generated, key), "n_synthetic"].sum()),
    )


def _of(frame: pd.DataFrame, key: str) -> pd.Series:
    every = pd.Series(data=True, index=frame.index)
    return every if key == ALL_KEY else frame["segment_id"] == key


def _top_types(
    contributions: pd.DataFrame, key: str, measure: Measure | None
) -> tuple[tuple[str, float], ...]:
    """Return the request types that add most to the drift, by the output of its worst measure."""
    rows = contributions[contributions["segment_id"] == key]
    same = rows[rows["output"] == measure.output] if measure else rows
    rows = same if len(same) else rows[rows["output"] == rows["output"].min()]
    rows = rows[rows["share"] > 0].sort_values("rank").head(_TOP_TYPES)
    return tuple(zip(rows["request_type"], rows["share"].astype(float), strict=True))
