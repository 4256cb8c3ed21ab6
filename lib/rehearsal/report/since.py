"""Since when a segment drifts: the change point of what was tested, else the first breach."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rehearsal.drift.onset import onset_of
from rehearsal.report.frames import ReportData
from rehearsal.report.scores import Measure, first_day, keyed, window_starts


@dataclass(frozen=True)
class Since:
    """From when to when a segment drifts, as first days of windows.

    `between` has the earliest and latest start that fit about as well, where they differ; `last`
    the last window in breach, where there are later ones.
    """

    start: str
    between: tuple[str, str] | None = None
    last: str | None = None


@dataclass(frozen=True)
class Onsets:
    """The change points of one run, to be asked for one segment and measure."""

    rows: pd.DataFrame
    final: str

    def of(self, key: str, measure: Measure) -> Since | None:
        """Return the change point of what the measure tests, None where there is none."""
        row = onset_of(self.rows[self.rows["key"] == key], measure.output, measure.test)
        if row is None:
            return None
        between = (str(row["earliest_window_start"]), str(row["latest_window_start"]))
        return Since(
            str(row["window_start"]),
            between if between[0] != between[1] else None,
            self.ended(str(row["last_window_start"])),
        )

    def first_breach(self, windows: Sequence[str]) -> Since:
        """Return the first and last of windows in breach, for what has no change point."""
        return Since(min(windows), None, self.ended(max(windows)))

    def ended(self, last: str) -> str | None:
        """Return the last window in breach, None where it is the run's last."""
        return last if last != self.final else None


def onsets(data: ReportData) -> Onsets:
    """Return the run's change points, windows told by their first days."""
    rows = keyed(data.onsets)
    days = {name: first_day(rows[name]) for name in rows.columns if name.endswith("window_start")}
    return Onsets(rows.assign(**days), window_starts(data)[-1])
