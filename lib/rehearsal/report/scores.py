"""Scores as the page keys them: which measures there are, and which a reader is offered."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rehearsal.report.frames import ReportData
from rehearsal.report.glossary import METRIC_LABELS, NO_THRESHOLD
from rehearsal.settings import METRICS

ALL_KEY, ALL_LABEL = "*", "All users"
"""How 'all users' (segment_id NULL) is keyed and called in the report."""


@dataclass(frozen=True)
class Measure:
    """One metric of one output; `judged`: it has a threshold, or breaches."""

    output: str
    metric: str
    test: str
    judged: bool = True

    @property
    def key(self) -> str:
        """Identify the measure in the page's data."""
        return f"{self.output}/{self.metric}"

    @property
    def part(self) -> str:
        """Identify what is tested, which several measures may share."""
        return f"{self.output}/{self.test}"

    @property
    def split(self) -> str:
        """Identify what is split by request type, see `parts_of`."""
        return _split(self.output, self.test, self.metric)

    @property
    def short(self) -> str:
        """Name the measure as the glossary does."""
        return f"{self.output}: {self.metric}"

    @property
    def label(self) -> str:
        """Name the measure for a reader, with its direction and unit."""
        return f"{self.output}: {METRIC_LABELS.get(self.metric, self.metric)}"


def parts_of(contributions: pd.DataFrame) -> pd.Series:
    """Return what each row of contributions is a part of, as `Measure.split` has it."""
    names = contributions[["output", "test", "size_metric"]].itertuples(index=False, name=None)
    return pd.Series([_split(*one) for one in names], contributions.index, dtype=object)


def _split(output: str, test: str, metric: str) -> str:
    # The metrics of a distribution share its split; a mean and each size have their own.
    return f"{output}/{test if test == 'distribution' else metric}"


def keyed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a `key` column: the segment, or `ALL_KEY` where it is NULL."""
    ids = frame["segment_id"]
    return frame.assign(key=ids.where(ids.notna(), ALL_KEY).astype(str))


def first_day(starts: pd.Series) -> pd.Series:
    """Return the first day of windows as text, which the page knows them by."""
    # Few are distinct, and to write a date takes longer than to look one up.
    days = {one: f"{one:%Y-%m-%d}" for one in pd.to_datetime(starts.dropna().unique())}
    return starts.map(days).astype(object)


def scored(data: ReportData) -> pd.DataFrame:
    """Return the scores with `key`, `measure`, `window` (its first day) and `ratio`.

    ratio is |bias-corrected score| / threshold: 1 = at the threshold, NaN without a score or a
    threshold. `told` is the status, `NO_THRESHOLD` where it is green only for want of one.
    """
    frame = keyed(data.scores)
    score, threshold, detectable = (
        pd.to_numeric(frame[name]) for name in ("score_bias_corrected", "threshold", "detectable")
    )
    bare = (frame["status"] == "green") & threshold.isna()
    return frame.assign(
        told=frame["status"].mask(bare, NO_THRESHOLD),
        measure=frame["output"] + "/" + frame["metric"],
        window=first_day(frame["window_start"]),
        score=score,
        threshold=threshold,
        detectable=detectable,
        ratio=(score.abs() / threshold).where(threshold > 0),
    )


def window_starts(data: ReportData) -> list[str]:
    """Return the first day of each window, in order."""
    return sorted(first_day(pd.Series(data.scores["window_start"].unique())))


def measures(data: ReportData) -> tuple[Measure, ...]:
    """Return every metric of every output, the one to look at first in front.

    First comes what breaches most often, then what has a threshold, then the order of `METRICS`.
    """
    frame = data.scores.assign(
        red=data.scores["status"] == "red", threshold=pd.to_numeric(data.scores["threshold"])
    )
    grouped = frame.groupby(["output", "metric"], as_index=False).agg(
        red=("red", "sum"), threshold=("threshold", "max"), test=("test", "first")
    )
    rank = {metric: place for place, metric in enumerate(METRICS)}
    grouped = grouped.assign(
        bare=grouped["threshold"].isna(),
        place=grouped["metric"].map(lambda metric: rank.get(metric, len(rank))),
    ).sort_values(["red", "bare", "place", "output"], ascending=[False, True, True, True])
    return tuple(
        Measure(str(row.output), str(row.metric), str(row.test), bool(row.red or not row.bare))
        for row in grouped.itertuples()
    )


def offered(every: Sequence[Measure]) -> tuple[Measure, ...]:
    """Return the measures a reader can choose: those judged, and one for each test without any.

    Of the metrics of an output most share a test and tell the same story; what is left
    out is in the table of all measures of a window.
    """
    judged = [one for one in every if one.judged]
    told = {one.part for one in judged}
    others = []
    for one in every:
        if one.part not in told:
            told.add(one.part)
            others.append(one)
    return (*judged, *others)
