"""Score the drift of the experimental model per segment and window.

Reads replays and segments; writes drift_bins, drift_counts, drift_scores, drift_onsets,
drift_metrics and alerts.
"""

from collections.abc import Sequence

from rehearsal.drift.alerts import ALL_USERS
from rehearsal.drift.run import count_run, score_run
from rehearsal.runtime import Job, run_main, step_command

NAME = "score-drift"


def step(job: Job) -> str:
    """Count once, then score every metric from the counts."""
    bins = count_run(job)
    drifting, n = score_run(job, bins)
    segments = [name for name in drifting if name != ALL_USERS]
    told = f"{len(segments)} of {n} segments breach: {', '.join(segments) or 'none'}"
    return f"{told}; all users together do" if ALL_USERS in drifting else told


command = step_command(NAME, step, __doc__, spans=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
