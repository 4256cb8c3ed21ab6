"""What the page says of one run, worked out once for its rows, charts and tables."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from rehearsal.report.bins import Bins, shown_bins
from rehearsal.report.findings import Finding, drawn, findings
from rehearsal.report.frames import ReportData
from rehearsal.report.scores import Measure, measures, offered, scored, window_starts


@dataclass(frozen=True)
class Reading:
    """A run with its findings and what can be chosen of it."""

    data: ReportData

    @cached_property
    def found(self) -> tuple[Finding, ...]:
        """All users, then every segment, the worst first."""
        return findings(self.data)

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """Every measure."""
        return measures(self.data)

    @cached_property
    def offered(self) -> tuple[Measure, ...]:
        """The measures a reader can choose."""
        return offered(self.measures)

    @cached_property
    def shown(self) -> tuple[Finding, ...]:
        """The findings that charts are drawn of."""
        return drawn(self.data, self.found)

    @cached_property
    def keys(self) -> list[str]:
        """The segments that charts are drawn of."""
        return [one.key for one in self.shown]

    @cached_property
    def labels(self) -> dict[str, str]:
        """Name of each segment by its key."""
        return {one.key: one.label for one in self.found}

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of the segments drawn, see `scored`."""
        frame = scored(self.data)
        return frame[frame["key"].isin(self.keys)]

    @cached_property
    def windows(self) -> list[str]:
        """First day of each window, in order."""
        return window_starts(self.data)

    @cached_property
    def bins(self) -> dict[str, Bins]:
        """How each binned output is shown."""
        return shown_bins(self.data)
