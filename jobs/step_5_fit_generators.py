"""Fit a generator of all segments, what each drifting one adds, and judge who may serve it.

Reads the request log, the profiles, segments, segment_profiles and drift_contributions; writes
synthesizers, generator_scores, and one MLflow run. Training runs on the executors.
"""

from collections.abc import Sequence

import pandas as pd

from rehearsal.generate.fit import fit_generators
from rehearsal.generate.publish import publish
from rehearsal.generate.training.prepare import Prepared, Sources
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import (
    DRIFT_CONTRIBUTIONS,
    GENERATOR_SCORES,
    SEGMENT_PROFILES,
    SYNTHESIZERS,
)

NAME = "fit-generators"


def step(job: Job) -> str:
    """Train and judge the generators of this run's breaching segments."""
    store, run_id = job.store, job.run_id
    contributions = store.read(DRIFT_CONTRIBUTIONS, run_id=run_id).toPandas()  # bounded
    # Bounded: segments x features.
    profiles = store.read(SEGMENT_PROFILES, run_id=job.segmentation.run_id).toPandas()
    sources = Sources(contributions, job.segments(), profiles)
    found = fit_generators(Prepared(job.spark, job.settings, sources), run_id, job.note.tell)
    mlflow_run_id = publish(job.settings, run_id, found.synthesizers, found.scores)
    rows = pd.DataFrame(found.synthesizers).reindex(columns=SYNTHESIZERS.schema.names)
    rows = rows.assign(run_id=run_id, base_run_id=run_id, mlflow_run_id=mlflow_run_id)
    store.replace(SYNTHESIZERS, to_spark(job.spark, rows, SYNTHESIZERS), run_id=run_id)
    scores = found.scores.reindex(columns=GENERATOR_SCORES.schema.names).assign(run_id=run_id)
    store.replace(GENERATOR_SCORES, to_spark(job.spark, scores, GENERATOR_SCORES), run_id=run_id)
    return found.summary


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
