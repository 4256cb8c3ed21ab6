"""Replay the augmented stream and measure what it shows that the logged one did not.

Reads synthetic_requests, replays and both models; writes replays (origin 'synthetic') and effects.
The logged part of the augmented stream was scored by `replay`; only the synthetic part is new.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame

from rehearsal.drift.stored import read_bins
from rehearsal.evaluate.effect import disagreement, effect_sums, effects
from rehearsal.replay.replay import replay_requests
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import (
    DRIFT_BINS,
    DRIFT_SCORES,
    EFFECTS,
    REPLAYS,
    SYNTHETIC_REQUESTS,
)
from rehearsal.tables.source import admit_requests, read_users

NAME = "measure-effect"


def step(job: Job) -> str:
    """Score the synthetic requests, then compare both streams."""
    store, settings = job.store, job.settings
    if settings.models.stored:
        return "skipped: stored outputs cannot score synthetic requests; give models.*.uri"
    synthetic = store.read(SYNTHETIC_REQUESTS, rehearsal_run_id=job.run_id)
    aside = _replay(job, synthetic)
    version = store.read(DRIFT_SCORES, run_id=job.run_id).head()["bins_version"]
    bins = read_bins(store.read(DRIFT_BINS, bins_version=version))
    targets = synthetic.selectExpr(
        "rehearsal_segment_id AS segment_id", "rehearsal_base_request_type AS request_type"
    ).distinct()
    sums = effect_sums(
        store.read(REPLAYS, run_id=job.run_id),
        job.segments(),
        targets,
        disagreement(bins.edges, settings.effect.value_tolerance),
    )
    # Bounded by targeted segments x request types.
    found = effects(sums.toPandas(), settings.effect.confidence)
    store.replace(EFFECTS, to_spark(job.spark, found, EFFECTS), run_id=job.run_id)
    told = found[found["scope"] == "all"].iloc[0]
    return (
        f"the models disagree on {told['baseline_per_1000']:.0f} of 1,000 logged requests, on "
        f"{told['augmented_per_1000']:.0f} of the augmented stream, {aside:,} rows quarantined"
    )


def _replay(job: Job, synthetic: DataFrame) -> int:
    """Score the synthetic requests into replays; return how many rows were set aside."""
    if synthetic.isEmpty():
        nothing = job.store.read(REPLAYS, run_id=job.run_id).limit(0)
        job.store.replace(REPLAYS, nothing, run_id=job.run_id, origin="synthetic")
        return 0
    name = SYNTHETIC_REQUESTS.name
    admitted = admit_requests(synthetic, job.settings, name)
    users = read_users(job.spark, job.settings.users).rows if job.settings.users else None
    replayed = replay_requests(admitted.rows, users, job.settings, name)
    job.store.replace(REPLAYS, replayed.rows, run_id=job.run_id, origin="synthetic")
    return job.set_aside(NAME, [admitted.rejected, replayed.rejected])


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
