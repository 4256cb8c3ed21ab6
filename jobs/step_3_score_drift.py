"""Score the drift of the experimental model per segment and window.

Reads replays and segments; writes drift_bins, drift_counts, drift_scores and alerts.
"""

from collections.abc import Sequence

from pyspark.sql import functions as F

from rehearsal.drift.alerts import alerts
from rehearsal.drift.bins import pin_bins
from rehearsal.drift.cells import build_cells
from rehearsal.drift.counts import drift_counts
from rehearsal.drift.score import score_cells
from rehearsal.drift.stored import bins_rows, read_bins, segment_names
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import (
    ALERTS,
    DRIFT_BINS,
    DRIFT_COUNTS,
    DRIFT_SCORES,
    REPLAYS,
    SEGMENT_PROFILES,
)

NAME = "score-drift"


def step(job: Job) -> str:
    """Count once, then score every metric from the counts."""
    store, drift, held = job.store, job.settings.drift, job.segmentation
    replays = store.read(REPLAYS, run_id=job.run_id, origin="logged")
    if drift.bins_version is None:
        bins = pin_bins(replays, drift, job.settings.seed)
        store.replace(DRIFT_BINS, bins_rows(job.spark, bins), bins_version=bins.version)
    else:
        bins = read_bins(store.read(DRIFT_BINS, bins_version=drift.bins_version))
    keyed = {"segmentation_version": F.lit(held.version), "bins_version": F.lit(bins.version)}
    rows = drift_counts(replays, job.segments(), bins, drift.window, list(job.settings.kpis))
    store.replace(DRIFT_COUNTS, rows.withColumns(keyed), run_id=job.run_id)

    # Bounded by segments x windows x (bins^2 + types x bins).
    counts = store.read(DRIFT_COUNTS, run_id=job.run_id).toPandas()
    names = segment_names(store.read(SEGMENT_PROFILES, run_id=held.run_id))
    scores = score_cells(build_cells(counts, bins, list(names)), drift, bins)
    found = alerts(scores, names)
    scored = to_spark(job.spark, scores, DRIFT_SCORES).withColumns(keyed)
    store.replace(DRIFT_SCORES, scored, run_id=job.run_id)
    alerted = to_spark(job.spark, found, ALERTS)
    keyed.pop("bins_version")
    store.replace(ALERTS, alerted.withColumns(keyed), run_id=job.run_id)
    drifting = sorted(found["segment_id"].dropna().unique())
    return f"{len(drifting)} of {len(names)} segments breach: {', '.join(drifting) or 'none'}"


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
