"""Replays to scores: the whole of step 3 as one function over frames, for jobs and notebooks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

import pandas as pd
from pyspark.sql import DataFrame

from rehearsal.drift.alerts import alerts
from rehearsal.drift.all_users import AllUsers
from rehearsal.drift.alpha import window_levels
from rehearsal.drift.attribute import breaching_segments, contributions
from rehearsal.drift.bins import Bins, check_classes, pin_bins
from rehearsal.drift.blocks import Counted, held, stored, with_types
from rehearsal.drift.cells import Cells, calendar
from rehearsal.drift.counts import drift_counts
from rehearsal.drift.kpis import Kpis
from rehearsal.drift.measure import measure
from rehearsal.drift.onset import COLUMNS, onsets, with_direction
from rehearsal.drift.significance import q_values
from rehearsal.drift.summed import of_all_users
from rehearsal.drift.threshold import noise_of_runs, with_thresholds
from rehearsal.drift.verdict import with_size_tests, with_verdicts
from rehearsal.errors import ContractError
from rehearsal.settings import OUTPUTS, Drift

DRIFT_TYPE = "EXPERIMENTAL_VS_PRODUCTION"


@dataclass(frozen=True)
class Scored:
    """Rows of `drift_scores` and `drift_onsets`, less run and versions."""

    scores: pd.DataFrame
    onsets: pd.DataFrame


def score_counts(
    counts: Counted | pd.DataFrame,
    bins: Bins,
    settings: Drift,
    segments: Sequence[str],
    *,
    n_windows: int | None = None,
    since: datetime | None = None,
    noise_runs: Mapping[str, pd.DataFrame] | None = None,
) -> Scored:
    """Return every metric of every segment and window with its verdict, and since when.

    Counts are read a block of segments at a time, and those of segments with a breach once more;
    what comes out is the same whatever the blocks.

    Args:
        counts: to be read in blocks, or rows of `drift_counts` whose request_type is NULL.
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
    counted = held(counts) if isinstance(counts, pd.DataFrame) else counts
    if counted.sizes.empty:
        raise ContractError(
            "there is no request with an output of both models, a user, a type and a time to score"
        )
    noise = noise_of_runs(settings, noise_runs or {})
    _check_outputs(counted.sizes["output"].unique(), settings)
    windows = calendar(counted.sizes, since)
    planned = max(n_windows or 0, len(windows))
    levels = window_levels(counted.sizes, windows, settings, planned)

    def measured(cells: Cells) -> pd.DataFrame:
        rows = measure(cells, bins.edges, settings, levels)
        return with_size_tests(with_thresholds(rows, settings, noise))

    every = AllUsers(windows)
    known = {*segments, *counted.sizes["segment_id"]}
    blocks = counted.cells(bins, known, windows)
    parts = [measured(every.added(cells)) for cells in blocks]
    parts.insert(0, measured(every.cells))
    scores = _judged(parts, settings, planned)
    red = with_direction(scores)
    again = counted.cells(bins, red["segment_id"].dropna().unique(), windows)
    starts = [row for cells in (*again, every.cells) for row in onsets(red, cells)]
    return Scored(scores, pd.DataFrame(starts, columns=list(COLUMNS)))


def _check_outputs(counted: Iterable[str], settings: Drift) -> None:
    known = list(dict.fromkeys((*OUTPUTS, *counted)))
    unknown = [name for name in settings.output_thresholds if name not in known]
    if unknown:
        raise ContractError(
            f"output_thresholds names {', '.join(unknown)}, but counted are {', '.join(known)}"
        )


def _judged(parts: list[pd.DataFrame], settings: Drift, n_windows: int) -> pd.DataFrame:
    """Return the rows of all parts with their verdicts; empties the list, for they are millions."""
    for place, q in enumerate(q_values(parts, settings, n_windows)):
        rows = with_verdicts(parts[place], q, settings)
        parts[place] = rows.assign(granularity=settings.window, drift_type=DRIFT_TYPE)
    scores = pd.concat(parts, ignore_index=True)
    parts.clear()
    return scores


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
    counted = stored(counts)
    found = score_counts(counted, pinned, drift, [], noise_runs=noise_runs)
    return DriftTables(
        pinned,
        counts,
        found.scores,
        found.onsets,
        alerts(found.scores, {}),
        attributed(counts, counted, found.scores, pinned, calendar(counted.sizes)),
    )


def attributed(
    counts: DataFrame, counted: Counted, scores: pd.DataFrame, bins: Bins, windows: pd.DataFrame
) -> pd.DataFrame:
    """Return the `contributions` of every breach, of segments and of all users.

    Args:
        counts: rows of `drift_counts` of one run, whatever their segment and request type.
        counted: the same of all request types together, of the breaching segments at least.
        scores: rows of `drift_scores`, those in breach at least.
        bins: the bins of the counts.
        windows: of the cells, from `calendar`.
    """
    own = counted.cells(bins, breaching_segments(scores), windows)
    everyone = of_all_users(counts, scores, bins, windows)
    return contributions(scores, chain(with_types(counts, scores, own), everyone))
