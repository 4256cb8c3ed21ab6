"""One run's tables to the frames of its report.

What comes to the driver is bounded by segments x windows x metrics, drawn segments x windows x
bins^2, segments x request types, segments x columns x bins, segments x epochs, segments x
candidates x scores, segments x MAX_ROUNDS, segments x features, segments x segments, or the size
of a sample that is fixed; nothing here grows with users or requests.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.report.findings import drawn, findings
from rehearsal.report.frames import COLUMNS, ReportData, empty
from rehearsal.runtime import Job
from rehearsal.tables.contract import TableContract, no_rows_of
from rehearsal.tables.schemas import (
    ALERTS,
    DRIFT_BINS,
    DRIFT_CONTRIBUTIONS,
    DRIFT_COUNTS,
    DRIFT_DRIVERS,
    DRIFT_ONSETS,
    DRIFT_REASONS,
    DRIFT_SCORES,
    EFFECTS,
    FIDELITY,
    GENERATOR_ROUNDS,
    GENERATOR_SCORES,
    QUARANTINE,
    REPLAYS,
    SEGMENT_MIGRATIONS,
    SEGMENT_PROFILES,
    SEGMENT_SAMPLES,
    SEGMENTATIONS,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)

MAX_ROUNDS = 40
"""Rounds of generators that are shown; older ones are in generator_rounds."""


def read_report_data(job: Job) -> ReportData:
    """Read what the report needs of one run.

    Raises:
        ContractError: the run has no replay, no segments in force, no profiles of them or no drift
            scores; tables of later steps may be missing.
    """
    replayed = _replayed(job)
    run, segmented = {"run_id": job.run_id}, {"run_id": job.segmentation.run_id}
    history = {"segmentation": job.settings.segments.name, **segmented}
    profiles = job.store.read(SEGMENT_PROFILES, **segmented)
    scores = job.store.read(DRIFT_SCORES, **run)
    fitted, counts = (_rows(job, one, run) for one in (SYNTHESIZERS, DRIFT_COUNTS))
    data = ReportData(
        run_id=job.run_id,
        start=_utc(job.settings.replay.start),
        end=_utc(job.settings.replay.end),
        stored_outputs=job.settings.models.stored,
        **(replayed | _segmentation(job.store.read(SEGMENTATIONS, **history))),
        profiles=_needed(SEGMENT_PROFILES, _frame("profiles", profiles), segmented["run_id"]),
        samples=_frame("samples", _rows(job, SEGMENT_SAMPLES, segmented)),
        migrations=_frame("migrations", _rows(job, SEGMENT_MIGRATIONS, history)),
        scores=_needed(DRIFT_SCORES, _frame("scores", scores), job.run_id),
        onsets=_frame("onsets", _rows(job, DRIFT_ONSETS, run)),
        bins=_bins(job, scores),
        joints=empty("joints"),
        quarantine=_frame("quarantine", _quarantined(_rows(job, QUARANTINE, run))),
        alerts=_frame("alerts", _rows(job, ALERTS, run)),
        contributions=_frame("contributions", _rows(job, DRIFT_CONTRIBUTIONS, run)),
        reasons=_frame("reasons", _rows(job, DRIFT_REASONS, run)),
        drivers=_frame("drivers", _rows(job, DRIFT_DRIVERS, run)),
        synthesizers=_frame("synthesizers", fitted),
        curves=_frame("curves", _curves(fitted)),
        gate=_frame("gate", _rows(job, GENERATOR_SCORES, run)),
        rounds=_frame("rounds", _rounds(job)),
        generated=_frame("generated", _generated(job)),
        fidelity=_frame("fidelity", _rows(job, FIDELITY, run)),
        effects=_frame("effects", _rows(job, EFFECTS, run)),
    )
    return _with_joints(data, counts)


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None) - (instant.utcoffset() or timedelta())


def _rows(job: Job, contract: TableContract, slice_values: Mapping[str, str]) -> DataFrame | None:
    return job.store.read(contract, **slice_values) if job.store.exists(contract) else None


def _frame(name: str, rows: DataFrame | None) -> pd.DataFrame:
    """Bring one bounded table to the driver, in an order that does not depend on partitions."""
    if rows is None:
        return empty(name)
    columns = COLUMNS[name]
    frame = rows.select(*columns).toPandas()
    order = [column for column in _ORDER if column in columns]
    return frame.sort_values(order, kind="stable", na_position="first", ignore_index=True)


def _bins(job: Job, scores: DataFrame) -> pd.DataFrame:
    head = scores.select("bins_version").first()
    if head is None or head["bins_version"] is None:
        return empty("bins")
    return _frame("bins", _rows(job, DRIFT_BINS, {"bins_version": head["bins_version"]}))


def _with_joints(data: ReportData, counts: DataFrame | None) -> ReportData:
    """Add the joint histograms per window of the segments drawn, and of all users: their sum."""
    if counts is None:
        return data
    segments = [one.key for one in drawn(data, findings(data))]
    binned = counts.where("request_type IS NULL AND size(joint_bins) > 0").select(
        *COLUMNS["joints"]
    )
    own = _frame("joints", binned.where(F.col("segment_id").isin(segments)))
    cells = binned.select("output", "window_start", F.posexplode("joint_bins").alias("at", "n"))
    summed = cells.groupBy("output", "window_start", "at").agg(F.sum("n").alias("n")).toPandas()
    whole = [
        (None, output, start, np.asarray(one.sort_values("at")["n"]))
        for (output, start), one in summed.groupby(["output", "window_start"])
    ]
    every = pd.DataFrame(whole, columns=list(COLUMNS["joints"]))
    frames = [frame for frame in (every, own) if len(frame)]
    return replace(data, joints=pd.concat(frames, ignore_index=True)) if frames else data


def _segmentation(rows: DataFrame) -> dict[str, pd.DataFrame]:
    """Return the one row of a segmentation as frames: itself, and each of its lists."""
    lists = ("k_curve", "k_distances", "events")
    # The model itself stays where it is: it is large, and eps is all of it the page shows.
    reach = F.get_json_object("model_json", "$.reach")
    given = F.get_json_object("settings_json", "$.dbscan.eps")
    eps = F.when(F.col("method") == "dbscan", F.coalesce(reach, given)).try_cast("double")
    names = [name for name in COLUMNS["segmentation"] if name != "eps"]
    row = rows.select(*names, eps.alias("eps"), *lists).head()
    if row is None:
        return {name: empty(name) for name in ("segmentation", *lists)}
    held = row.asDict(recursive=True)
    for name in ("as_of", "valid_from"):
        # A collected instant is in the driver's own zone.
        held[name] = held[name] and held[name].astimezone(UTC).replace(tzinfo=None)
    listed = {name: held.pop(name) or [] for name in lists}
    listed["k_distances"] = list(enumerate(listed["k_distances"]))
    frames = {"segmentation": [held], **listed}
    return {name: pd.DataFrame(rows, columns=list(COLUMNS[name])) for name, rows in frames.items()}


def _needed(contract: TableContract, frame: pd.DataFrame, run_id: str) -> pd.DataFrame:
    if frame.empty:
        raise no_rows_of(contract, run_id)
    return frame


def _replayed(job: Job) -> dict[str, Any]:
    """Return both models and the number of logged requests; a count and one row."""
    logged = job.store.read(REPLAYS, run_id=job.run_id, origin="logged")
    found = logged.agg(
        F.min("production_model").alias("production"),
        F.min("experimental_model").alias("experimental"),
        F.count("*").alias("n"),
    ).first()
    if found is None or found["n"] == 0:
        raise no_rows_of(REPLAYS, job.run_id)
    return {
        "production_model": found["production"],
        "experimental_model": found["experimental"],
        "n_requests": found["n"],
    }


def _quarantined(rows: DataFrame | None) -> DataFrame | None:
    if rows is None:
        return None
    return rows.groupBy("step", "source_table", "reason").agg(F.count("*").alias("n_rows"))


def _curves(fitted: DataFrame | None) -> DataFrame | None:
    return None if fitted is None else fitted.select("segment_id", F.inline("curves"))


def _rounds(job: Job) -> DataFrame | None:
    """Return the latest MAX_ROUNDS of the history up to this run's, each with its run's effect."""
    rounds = _rows(job, GENERATOR_ROUNDS, {})
    if rounds is None:
        return None
    rounds = rounds.where(F.col("segmentation") == job.settings.segments.name)
    # The report of an earlier run, written again, must not know what came later.
    own = F.max(F.when(F.col("run_id") == job.run_id, F.col("round")))
    last = rounds.agg(F.coalesce(own, F.max("round"))).collect()[0][0]
    if last is None:
        return None
    rounds = rounds.where(F.col("round").between(last - MAX_ROUNDS + 1, last))
    told = ["effect_per_1000", "effect_ci_low", "effect_ci_high"]
    effects = _rows(job, EFFECTS, {"scope": "segment"})
    if effects is None:
        return rounds.withColumns({name: F.lit(None).cast("double") for name in told})
    # The effects of all runs and cells grow; the rounds that are shown do not.
    measured = effects.select("run_id", "segment_id", *told)
    return rounds.join(measured, ["run_id", "segment_id"], "left")


def _generated(job: Job) -> DataFrame | None:
    rows = _rows(job, SYNTHETIC_REQUESTS, {"rehearsal_run_id": job.run_id})
    if rows is None:
        return None
    cell = (
        F.col("rehearsal_segment_id").alias("segment_id"),
        F.col("rehearsal_base_request_type").alias("request_type"),
    )
    return rows.groupBy(*cell).agg(F.count("*").alias("n_synthetic"))


_ORDER = (
    "step", "source_table", "scope", "segment_id", "window_start", "output", "metric", "test",
    "size_metric", "column_name", "bin", "rank", "request_type", "epoch", "from_segment_id",
    "to_segment_id", "user_id", "reason", "round", "run_id", "candidate", "score",
)  # fmt: skip
