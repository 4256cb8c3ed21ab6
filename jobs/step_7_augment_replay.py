"""Join logged and synthetic requests into one stream with provenance.

Reads the request log, segments and synthetic_requests; writes augmented_requests.
"""

from collections.abc import Sequence

from pyspark.sql import functions as F

from rehearsal.augment.stream import augmented_stream
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.schemas import AUGMENTED_REQUESTS, SYNTHETIC_REQUESTS
from rehearsal.tables.source import read_requests

NAME = "augment"


def step(job: Job) -> str:
    """Write the run's slice of the augmented stream."""
    store, span = job.store, job.settings.replay
    log = read_requests(
        job.spark, job.settings, span.start, span.end, timeless=False, original=True
    )
    synthetic = store.read(SYNTHETIC_REQUESTS, rehearsal_run_id=job.run_id)
    stream = augmented_stream(log.rows, synthetic, job.segments())
    store.replace(AUGMENTED_REQUESTS, stream, rehearsal_run_id=job.run_id)
    written = store.read(AUGMENTED_REQUESTS, rehearsal_run_id=job.run_id)
    made = F.count_if(F.col("rehearsal_origin") == "synthetic")
    n, n_synthetic = written.agg(F.count("*"), made).collect()[0]
    return f"{n:,} requests in augmented_requests, {n_synthetic:,} of them synthetic"


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
