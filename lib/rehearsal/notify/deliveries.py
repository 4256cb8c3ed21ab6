"""Who was told what: a sink that has a run's alerts already does not get them again.

A message is sent at least once: where the driver dies between sending and writing, the next run
sends it again.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import pandas as pd

from rehearsal.notify.breaches import digest
from rehearsal.notify.message import compose
from rehearsal.notify.release import Release
from rehearsal.notify.retry import Pause
from rehearsal.notify.send import send
from rehearsal.runtime import Job
from rehearsal.settings import Notify
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import ALERT_DELIVERIES


@dataclass(frozen=True)
class Delivery:
    """A row of `alert_deliveries`, less the run."""

    sink: str
    digest: str
    status: str
    reason: str | None
    n_attempts: int
    n_alerts: int

    @property
    def delivered(self) -> bool:
        """Whether the sink has the message."""
        return self.status == "delivered"


def announce(job: Job, release: Release, pause: Pause = time.sleep) -> list[str]:
    """Send the run's message to the sinks that lack it, and keep who has it; return what to say."""
    run = {"run_id": job.run_id}
    names = [field.name for field in fields(Delivery)]
    rows = job.store.read(ALERT_DELIVERIES, **run).select(*names).collect()
    before = [Delivery(**row.asDict()) for row in rows]
    after, said = deliver(job.settings.notify, release, before, pause)
    if set(after) != set(before):
        frame = pd.DataFrame([asdict(one) for one in after], columns=names)
        job.store.replace(ALERT_DELIVERIES, to_spark(job.spark, frame, ALERT_DELIVERIES), **run)
    return said


def deliver(
    notify: Notify, release: Release, before: Sequence[Delivery], pause: Pause
) -> tuple[list[Delivery], list[str]]:
    """Send to every sink that lacks the message.

    Args:
        notify: the sinks.
        release: the run.
        before: its deliveries so far.
        pause: waits between the attempts of a sink.

    Returns:
        Its deliveries now, and a clause on each sink. What was delivered stays; what failed is
        tried again or, where the alerts have changed since, gone.
    """
    kept = [one for one in before if one.delivered]
    if not notify.sinks:
        return kept, ["no sinks, no message"]
    if not release.breaches:
        return kept, ["no breach, no message"]
    current = digest(release.alerts)
    told = {one.sink for one in kept if one.digest == current}
    message, sent = compose(release), []
    for name, sink in notify.sinks.items():
        if name in told:
            continue
        outcome = send(name, sink, message, notify.attempts, pause)
        status = "failed" if outcome.reason else "delivered"
        tried = Delivery(
            name, current, status, outcome.reason, outcome.n_attempts, len(release.alerts)
        )
        sent.append(tried)
    return [*kept, *sent], _said(sent, [name for name in notify.sinks if name in told])


def _said(sent: Iterable[Delivery], told: Sequence[str]) -> list[str]:
    delivered = [one.sink for one in sent if one.delivered]
    failed = [f"{one.sink} failed ({one.reason})" for one in sent if not one.delivered]
    said = [f"sent to {', '.join(delivered)}"] if delivered else []
    return [*said, *([f"{', '.join(told)} told already"] if told else []), *failed]
