"""Synthesize requests of the types that drive each segment's drift.

Reads synthesizers, drift_contributions, segments, the request log and the profiles; writes
synthetic_requests and fidelity.
"""

from collections.abc import Sequence
from contextlib import closing

from pyspark.sql import functions as F

from rehearsal.generate.sampling.synthesize import Synthesis
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables import schemas as tables

NAME = "synthesize"


def step(job: Job) -> str:
    """Fill this run's budget with synthetic requests and compare them with the logged ones."""
    store, run_id, out = job.store, job.run_id, tables.SYNTHETIC_REQUESTS
    contributions = store.read(tables.DRIFT_CONTRIBUTIONS, run_id=run_id).toPandas()  # bounded
    models = store.read(tables.SYNTHESIZERS, run_id=run_id)
    bases = store.read(tables.SYNTHESIZERS).where(F.col("segment_id").isNull())
    parts = (contributions, job.segments(), models, bases)
    with closing(Synthesis(job.spark, job.settings, run_id, *parts)) as work:
        store.replace(out, work.requests(), rehearsal_run_id=run_id)
        written = store.read(out, rehearsal_run_id=run_id)
        store.replace(tables.FIDELITY, work.fidelity(written), run_id=run_id)
        return work.summary(written.count())


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
