"""One run's replays to its tables of counts and scores."""

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.alerts import ALL_USERS, alerts
from rehearsal.drift.attribute import breaching_segments
from rehearsal.drift.bins import Bins, check_classes, pin_bins
from rehearsal.drift.blocks import stored
from rehearsal.drift.counted_with import counted_with
from rehearsal.drift.counts import drift_counts
from rehearsal.drift.explain import explain_run
from rehearsal.drift.kpis import counted_kpis
from rehearsal.drift.monitor_table import drift_metrics
from rehearsal.drift.score import attributed, score_counts
from rehearsal.drift.stored import bins_rows, read_bins, segment_names
from rehearsal.drift.threshold import SERIES, noise_run_names
from rehearsal.errors import ContractError
from rehearsal.runtime import Job
from rehearsal.span import windows_between
from rehearsal.tables.contract import no_rows_of
from rehearsal.tables.frames import to_spark
from rehearsal.tables.made_with import COLUMN, as_json, refuse_other
from rehearsal.tables.schemas import (
    ALERTS,
    DRIFT_BINS,
    DRIFT_CONTRIBUTIONS,
    DRIFT_COUNTS,
    DRIFT_METRICS,
    DRIFT_ONSETS,
    DRIFT_SCORES,
    REPLAYS,
    SEGMENT_PROFILES,
)


def count_run(job: Job) -> Bins:
    """Replace the run's rows of `drift_counts`, and return the bins they were made with.

    With a span only its windows are counted anew, in the bins of the run's other windows, and
    only files with requests in them are read.

    Raises:
        ContractError: the run's other windows are not there, or were counted otherwise.
    """
    store, drift = job.store, job.settings.drift
    replays = store.read(REPLAYS, run_id=job.run_id, origin="logged")
    bins = _bins(job, replays)
    made_with = as_json(
        counted_with(job.settings, _replayed_with(replays), bins, job.segmentation.version)
    )
    span = job.span.over_windows(drift.window) if job.span else None
    if span is not None:
        kept = store.read(DRIFT_COUNTS, run_id=job.run_id)
        refuse_other(DRIFT_COUNTS, kept, job.run_id, made_with)
        at = F.col("requested_at")
        replays = replays.where((at >= F.lit(span.start)) & (at < F.lit(span.end)))
    graded = job.settings.requests.columns.outcome is not None
    kpis = counted_kpis(job.settings.kpis)
    rows = drift_counts(replays, job.segments(), bins, drift.window, kpis, graded=graded)
    keyed = rows.withColumns(_versions(job, bins) | {COLUMN: F.lit(made_with)})
    if span is None:
        store.replace(DRIFT_COUNTS, keyed, run_id=job.run_id)
    else:
        within = ("window_start", span.start, span.end)
        store.replace_within(DRIFT_COUNTS, keyed, within, run_id=job.run_id)
    return bins


def _replayed_with(replays: DataFrame) -> str | None:
    row = replays.select(COLUMN).head()
    return row[COLUMN] if row is not None else None


def _bins(job: Job, replays: DataFrame) -> Bins:
    """Return the bins that settings name, those of the run if a part of it is kept, or new ones."""
    store, version = job.store, job.settings.drift.bins_version
    if job.span is not None:
        kept = _kept_version(job)
        version = version or kept
    if version is None:
        bins = pin_bins(replays, job.settings.drift, job.settings.seed)
        store.replace(DRIFT_BINS, bins_rows(job.spark, bins), bins_version=bins.version)
        return bins
    bins = read_bins(store.read(DRIFT_BINS, bins_version=version))
    check_classes(replays, bins)
    return bins


def _kept_version(job: Job) -> str:
    """Return the bins of the run's counts, which a part of it must go on with.

    Raises:
        ContractError: there are none.
    """
    kept = None
    if job.store.exists(DRIFT_COUNTS):
        kept = job.store.read(DRIFT_COUNTS, run_id=job.run_id).select("bins_version").head()
    if kept is None:
        raise ContractError(
            f"run {job.run_id} has no counts yet that a part could be added to; "
            "run score-drift without --since and --until first"
        )
    return str(kept["bins_version"])


def score_run(job: Job, bins: Bins) -> tuple[list[str], int]:
    """Replace everything that derives from the run's counts.

    Returns:
        What is in breach, segments or ALL_USERS, and how many segments there are.
    """
    store, held = job.store, job.segmentation
    names = segment_names(store.read(SEGMENT_PROFILES, run_id=held.run_id))
    found = score_counts(
        stored(store.read(DRIFT_COUNTS, run_id=job.run_id)),
        bins,
        job.settings.drift,
        list(names),
        n_windows=windows_between(job.settings.replay, job.settings.drift.window),
        since=job.settings.replay.start,
        noise_runs=_noise_runs(job),
    )
    version = {"segmentation_version": F.lit(held.version)}
    scores = to_spark(job.spark, found.scores, DRIFT_SCORES).withColumns(_versions(job, bins))
    store.replace(DRIFT_SCORES, scores, run_id=job.run_id)
    since = to_spark(job.spark, found.onsets, DRIFT_ONSETS).withColumns(version)
    store.replace(DRIFT_ONSETS, since, run_id=job.run_id)
    metrics = drift_metrics(store.read(DRIFT_SCORES, run_id=job.run_id))
    store.replace(DRIFT_METRICS, metrics, run_id=job.run_id)
    breaches = alerts(found.scores, names)
    alerted = to_spark(job.spark, breaches, ALERTS).withColumns(version)
    store.replace(ALERTS, alerted, run_id=job.run_id)
    told = {*names, *found.scores["segment_id"].dropna()}
    return sorted(breaches["segment_id"].fillna(ALL_USERS).unique()), len(told)


def attribute_run(job: Job) -> pd.DataFrame:
    """Replace the run's rows of `drift_contributions`, and return them; explain its breaches."""
    store = job.store
    scores = store.read(DRIFT_SCORES, run_id=job.run_id)
    first = scores.select("bins_version").head()
    if first is None:
        raise no_rows_of(DRIFT_SCORES, job.run_id)
    red = scores.where("status = 'red'").toPandas()  # bounded by breaches
    windows = scores.select("window_start", "window_end").distinct().toPandas()
    windows = windows.sort_values("window_start", ignore_index=True)
    counts = store.read(DRIFT_COUNTS, run_id=job.run_id)
    bins = read_bins(store.read(DRIFT_BINS, bins_version=first["bins_version"]))
    breaching = breaching_segments(red)
    counted = stored(counts.where(F.col("segment_id").isin(breaching)))
    parts = attributed(counts, counted, red, bins, windows)
    rows = to_spark(job.spark, parts, DRIFT_CONTRIBUTIONS).withColumn(
        "segmentation_version", F.lit(job.segmentation.version)
    )
    store.replace(DRIFT_CONTRIBUTIONS, rows, run_id=job.run_id)
    explain_run(job, red, counted.cells(bins, breaching, windows), bins)
    return parts


def _versions(job: Job, bins: Bins) -> dict[str, Column]:
    return {
        "segmentation_version": F.lit(job.segmentation.version),
        "bins_version": F.lit(bins.version),
    }


def _noise_runs(job: Job) -> dict[str, pd.DataFrame]:
    """Read the runs of production against itself that thresholds are taken from."""
    found = {}
    for run_id in noise_run_names(job.settings.drift):
        scores = job.store.read(DRIFT_SCORES, run_id=run_id)
        first = scores.select("granularity", "segmentation_version").head()
        if first is None:
            raise ContractError(
                f"drift.thresholds names run {run_id}, but drift_scores has no rows of it; "
                "rehearse production against itself under that run id first"
            )
        made, wanted = tuple(first), (job.settings.drift.window, job.segmentation.version)
        if made != wanted:
            raise ContractError(
                f"run {run_id}, which drift.thresholds names, has windows and segmentation {made}, "
                f"this run {wanted}: its noise is not that of this run's segments"
            )
        found[run_id] = scores.select(*SERIES, "score_bias_corrected").toPandas()
    return found
