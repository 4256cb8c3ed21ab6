"""Attribute each breaching segment's drift to request types.

Reads drift_scores and drift_counts; writes drift_contributions.
"""

from collections.abc import Sequence

from pyspark.sql import functions as F

from rehearsal.drift.attribute import contributions
from rehearsal.drift.stored import read_bins
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import DRIFT_BINS, DRIFT_CONTRIBUTIONS, DRIFT_COUNTS, DRIFT_SCORES

NAME = "attribute-drift"


def step(job: Job) -> str:
    """Split the drift of every breaching segment and output over its request types."""
    store = job.store
    # Bounded by segments x windows x (bins^2 + types x bins).
    scores = store.read(DRIFT_SCORES, run_id=job.run_id).toPandas()
    counts = store.read(DRIFT_COUNTS, run_id=job.run_id).toPandas()
    version = str(scores["bins_version"].iloc[0])
    bins = read_bins(store.read(DRIFT_BINS, bins_version=version))
    parts = contributions(scores, counts, bins)
    rows = to_spark(job.spark, parts, DRIFT_CONTRIBUTIONS).withColumn(
        "segmentation_version", F.lit(job.segmentation.version)
    )
    store.replace(DRIFT_CONTRIBUTIONS, rows, run_id=job.run_id)
    return _told(parts.to_dict("records"))


def _told(parts: Sequence[dict[str, object]]) -> str:
    top = [f"{p['request_type']} in {p['segment_id']}" for p in parts if p["rank"] == 1]
    return f"strongest: {', '.join(dict.fromkeys(top))}" if top else "no breach to attribute"


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
