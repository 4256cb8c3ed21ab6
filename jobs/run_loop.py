"""Run the loop: segment, replay, score, attribute, notify, generate, augment, measure, report."""

from collections.abc import Sequence

from rich.console import Console

from rehearsal.jobs import (
    notify,
    report,
    step_1_segment_users,
    step_2_replay_requests,
    step_3_score_drift,
    step_4_attribute_drift,
    step_5_fit_generators,
    step_6_synthesize_requests,
    step_7_augment_replay,
    step_8_measure_effect,
)
from rehearsal.report.summary import print_outcome
from rehearsal.runtime import Job, job_command, run_main, run_step

NAME = "run"
STEPS = (
    step_1_segment_users,
    step_2_replay_requests,
    step_3_score_drift,
    step_4_attribute_drift,
    notify,  # as soon as it is known: whatever fails below, a breach is told
    step_5_fit_generators,
    step_6_synthesize_requests,
    step_7_augment_replay,
    step_8_measure_effect,
    report,
)


def run_all(job: Job, console: Console) -> None:
    """Run every step in order, then say what was found and where to look next."""
    for module in STEPS:
        run_step(job, module.NAME, module.step, console)
    print_outcome(job, console)


command = job_command(NAME, run_all, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the loop from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
