"""Send a run's breaches to chat, mail or a webhook, and its gauges to Prometheus.

Reads alerts, drift_scores, drift_onsets and replays; writes alert_deliveries, so that what was told
of a release is not told again, by a rerun or by another run of it, unless it is worse.
"""

import time
from collections.abc import Sequence

from rehearsal.notify.deliveries import announce
from rehearsal.notify.gauges import export_gauges
from rehearsal.notify.release import read_release
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.schemas import ALERT_DELIVERIES

NAME = "notify"


def step(job: Job) -> str:
    """Export the gauges, then send the message to the sinks that lack it."""
    job.store.ensure(ALERT_DELIVERIES)
    notify = job.settings.notify
    if not notify.configured:
        return "no sinks (settings: notify), nothing sent"
    release = read_release(job)
    exported = export_gauges(notify.prometheus, release, notify.attempts, time.sleep)
    return "; ".join([*announce(job, release), *exported])


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
