"""Fit one generator per drifting segment, inside Spark's executors.

Reads the request log, the profiles, segments and drift_contributions; writes synthesizers, and
one MLflow run per fitted segment.
"""

from collections.abc import Sequence

from rehearsal.generate.training.fit import fit_generators
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.schemas import DRIFT_CONTRIBUTIONS, SYNTHESIZERS

NAME = "fit-generators"


def step(job: Job) -> str:
    """Train the synthesizers of this run's breaching segments."""
    store, run_id = job.store, job.run_id
    contributions = store.read(DRIFT_CONTRIBUTIONS, run_id=run_id).toPandas()  # bounded
    rows = fit_generators(job.spark, job.settings, run_id, contributions, job.segments())
    store.replace(SYNTHESIZERS, rows, run_id=run_id)
    counts = store.read(SYNTHESIZERS, run_id=run_id).groupBy("status").count().collect()
    if not counts:
        return "no segment drifts: nothing to fit"
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in sorted(counts))


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
