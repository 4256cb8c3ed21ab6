"""Attribute each breach to request types, a segment's also to sub-populations, and say why.

Reads drift_scores, drift_counts, drift_onsets, replays, requests and users; writes
drift_contributions, drift_drivers and drift_reasons.
"""

from collections.abc import Sequence

from rehearsal.drift.alerts import ALL_USERS
from rehearsal.drift.run import attribute_run
from rehearsal.runtime import Job, run_main, step_command

NAME = "attribute-drift"


def step(job: Job) -> str:
    """Split every breach by request type, and find where those of segments come from."""
    parts = attribute_run(job)
    parts = parts.assign(where=parts["segment_id"].fillna(ALL_USERS))
    first = parts[parts["rank"] == 1].drop_duplicates(["request_type", "where"])
    top = [f"{row.request_type} in {row.where}" for row in first.itertuples()]
    return f"strongest: {', '.join(top)}" if top else "no breach to attribute"


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
