"""Replays to scores: the whole of step 3 as one function over frames, for jobs and notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import build_cells
from rehearsal.drift.measure import measure
from rehearsal.drift.onset import onsets
from rehearsal.drift.threshold import with_thresholds
from rehearsal.drift.verdict import with_verdicts
from rehearsal.settings import Drift

DRIFT_TYPE = "EXPERIMENTAL_VS_PRODUCTION"


@dataclass(frozen=True)
class Scored:
    """Rows of `drift_scores` and of `drift_onsets`, less run and versions."""

    scores: pd.DataFrame
    onsets: pd.DataFrame


def score_counts(
    counts: pd.DataFrame,
    bins: Bins,
    settings: Drift,
    segments: list[str],
    *,
    n_windows: int | None = None,
    noise_runs: Mapping[str, pd.DataFrame] | None = None,
) -> Scored:
    """Return every metric of every segment and window with its verdict, and since when.

    Args:
        counts: rows of `drift_counts` whose request_type is NULL.
        bins: the bins they were made with.
        settings: minima, thresholds, alpha and the rest.
        segments: segments that must be told of, also where they made no request.
        n_windows: windows there will be; default: those in the counts.
        noise_runs: rows of `drift_scores` of the runs that thresholds name.
    """
    cells = build_cells(counts, bins, segments)
    planned = max(n_windows or 0, len(cells.grid.windows))
    rows = measure(cells, bins.edges, settings, planned)
    rows = with_thresholds(rows, settings.thresholds, noise_runs or {})
    rows = with_verdicts(rows, settings, planned)
    rows = rows.assign(granularity=settings.window, drift_type=DRIFT_TYPE)
    return Scored(rows, onsets(rows, cells))
