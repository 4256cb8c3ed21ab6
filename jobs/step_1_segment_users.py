"""Segment users by their behaviour before the replay, or before `segments.as_of`.

Reads the request log and the profiles; writes user_features, segments, segment_profiles and
segmentations (the fitted version).
"""

from collections.abc import Sequence
from datetime import timedelta

from pyspark.sql import functions as F

from rehearsal.runtime import Job, run_main, step_command
from rehearsal.segments.features import user_features
from rehearsal.segments.segment import profiles, segment_users, segmentation_row
from rehearsal.tables.schemas import SEGMENT_PROFILES, SEGMENTATIONS, SEGMENTS, USER_FEATURES
from rehearsal.tables.source import read_requests, read_users

NAME = "segment"


def step(job: Job) -> str:
    """Fit this run's segmentation and assign every user."""
    settings, store, version = job.settings, job.store, job.segmentation_version
    chosen = settings.segments
    as_of = chosen.as_of or settings.replay.start
    start = as_of - timedelta(days=chosen.history_days)
    history = read_requests(job.spark, settings, start, as_of, timeless=False)
    users = read_users(job.spark, settings.users) if settings.users else None
    aside = job.set_aside(NAME, [r.rejected for r in (history, users) if r is not None])

    made = user_features(history.rows, users, settings.users, chosen, as_of)
    store.replace(
        USER_FEATURES, made.rows.withColumn("as_of", F.lit(as_of)), segmentation_version=version
    )
    rows = store.read(USER_FEATURES, segmentation_version=version)
    found = segment_users(rows, made.features, chosen, settings.seed)
    # Described by later behaviour or not, an assignment holds for the requests replayed.
    valid = {"valid_from": F.lit(min(as_of, settings.replay.start)), "valid_to": F.lit(None)}
    store.replace(SEGMENTS, found.assignments.withColumns(valid), segmentation_version=version)

    segments = store.read(SEGMENTS, segmentation_version=version)
    described = profiles(rows, segments, made.features)
    profile_rows = job.spark.createDataFrame(described)
    store.replace(SEGMENT_PROFILES, profile_rows, segmentation_version=version)
    path = store.folder("segmentations_fitted", version)
    found.fit.pipeline.write().overwrite().save(path)
    row = segmentation_row(job.spark, found.fit, made.features, chosen, as_of, path)
    n_users = int(described.groupby("segment_id")["n_users"].first().sum())
    row = row.withColumns({"run_id": F.lit(job.run_id), "n_users": F.lit(n_users)})
    store.replace(SEGMENTATIONS, row, segmentation_version=version)
    fit = found.fit
    return (
        f"{n_users:,} users in {len(fit.segment_ids)} segments "
        f"(silhouette {fit.silhouette:.2f}), {aside:,} rows quarantined"
    )


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
