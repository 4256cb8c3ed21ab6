"""Replays to scores: the whole of step 3 as one function over frames, for jobs and notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from pyspark.sql import DataFrame

from rehearsal.drift.alerts import alerts
from rehearsal.drift.attribute import contributions
from rehearsal.drift.bins import Bins, check_classes, pin_bins
from rehearsal.drift.cells import Cells, build_cells
from rehearsal.drift.counts import drift_counts
from rehearsal.drift.kpis import Kpis
from rehearsal.drift.measure import measure
from rehearsal.drift.onset import onsets
from rehearsal.drift.threshold import noise_run_names, with_thresholds
from rehearsal.drift.verdict import with_verdicts
from rehearsal.errors import ContractError
from rehearsal.settings import OUTPUTS, Drift

DRIFT_TYPE = "EXPERIMENTAL_VS_PRODUCTION"


@dataclass(frozen=True)
class Scored:
    """Rows of `drift_scores` and `drift_onsets`, less run and versions, and their cells."""

    cells: Cells
    scores: pd.DataFrame
    onsets: pd.DataFrame


def score_counts(
    counts: pd.DataFrame,
    bins: Bins,
    settings: Drift,
    segments: list[str],
    *,
    n_windows: int | None = None,
    since: datetime | None = None,
    noise_runs: Mapping[str, pd.DataFrame] | None = None,
) -> Scored:
    """Return every metric of every segment and window with its verdict, and since when.

    Args:
        counts: rows of `drift_counts` whose request_type is NULL.
        bins: the bins they were made with.
        settings: minima, thresholds, alpha and the rest.
        segments: segments that must be told of, also where they made no request.
        n_windows: windows there will be; default: those in the counts.
        since: an instant in the first of them; default: the first with requests.
        noise_runs: rows of `drift_scores` of the runs that thresholds name.

    Raises:
        ContractError: there is nothing to score, or a run or output that a threshold names is not
            given.
    """
    if counts.empty:
        raise ContractError(
            "there is no request with an output of both models, a user, a type and a time to score"
        )
    lacking = sorted(set(noise_run_names(settings)) - set(noise_runs or {}))
    if lacking:
        raise ContractError(
            f"thresholds name run {', '.join(lacking)}: give its rows of drift_scores as noise_runs"
        )
    cells = build_cells(counts, bins, segments, since)
    known = list(dict.fromkeys((*OUTPUTS, *cells.stacks)))
    unknown = [name for name in settings.output_thresholds if name not in known]
    if unknown:
        raise ContractError(
            f"output_thresholds names {', '.join(unknown)}, but counted are {', '.join(known)}"
        )
    planned = max(n_windows or 0, len(cells.grid.windows))
    rows = measure(cells, bins.edges, settings, planned)
    rows = with_thresholds(rows, settings, noise_runs or {})
    rows = with_verdicts(rows, settings, planned)
    rows = rows.assign(granularity=settings.window, drift_type=DRIFT_TYPE)
    return Scored(cells, rows, onsets(rows, cells))


@dataclass(frozen=True)
class DriftTables:
    """What `score_drift` finds: Spark frames of counts, pandas frames of what derives from them."""

    bins: Bins
    counts: DataFrame
    scores: pd.DataFrame
    onsets: pd.DataFrame
    alerts: pd.DataFrame
    contributions: pd.DataFrame


def score_drift(
    replays: DataFrame,
    segments: DataFrame,
    settings: Drift | None = None,
    *,
    kpis: Kpis = (),
    bins: Bins | None = None,
    seed: int = 0,
    noise_runs: Mapping[str, pd.DataFrame] | None = None,
) -> DriftTables:
    """Return the drift of every segment and window of any frame of replays, for notebooks.

    Nothing is written. `counts` is computed once and kept; the rest is bounded by segments x
    windows x request types and has come to the driver.

    Args:
        replays: columns of `replays` (without run and origin); `outcome` may be missing.
        segments: (user_id, segment_id), each user once.
        settings: as the configuration's section `drift`; default: its defaults.
        kpis: names in `replays.kpis`, and `Ratio`s of two of them (`rehearsal.drift.kpis`).
        bins: pinned bins; default: production's quantiles, and the classes as they are.
        seed: of the sample that quantiles are taken from.
        noise_runs: rows of `drift_scores` of the runs that thresholds name, by run.

    Raises:
        ContractError: there is nothing to score, or bins have other classes than the replays.
    """
    drift = settings or Drift()
    pinned = bins or pin_bins(replays, drift, seed)
    check_classes(replays, pinned)
    graded = "outcome" in replays.columns
    counts = drift_counts(replays, segments, pinned, drift.window, kpis, graded=graded).persist()
    rows = counts.toPandas()
    whole, typed = rows[rows["request_type"].isna()], rows[rows["request_type"].notna()]
    found = score_counts(whole, pinned, drift, [], noise_runs=noise_runs)
    return DriftTables(
        pinned,
        counts,
        found.scores,
        found.onsets,
        alerts(found.scores, {}),
        contributions(found.scores, typed, found.cells),
    )
