"""Segment users by their behaviour before the replay, or before `segments.as_of`.

Goes on with the history of segments that `segments.name` names: users are placed by the fit in
force, or it is fitted anew where they have changed; ids keep their meaning. Reads the request log
and the profiles; writes user_activity (daily counts), user_features, segment_assignments, segments
(who was where when), segment_profiles, segment_samples, segment_migrations and segmentations.
"""

from collections.abc import Sequence

from rehearsal.runtime import Job, run_main, step_command
from rehearsal.segments.run import NAME, segment_users

__all__ = ["NAME", "command", "main", "step"]


def step(job: Job) -> str:
    """Bring the history of segments up to the start of the replay."""
    return segment_users(job)


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
