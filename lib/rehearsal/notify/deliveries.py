"""Who was told what: a sink hears of a breach of a release once, and again when it is worse.

A release is a pair of models, whatever run rehearses it; a breach is a measure of a segment. A
message is sent at least once: where the driver dies between sending and writing, the next run
sends it again.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import pandas as pd
from pyspark.sql import functions as F

from rehearsal.notify.breaches import ALL, MeasureKey, ratios
from rehearsal.notify.message import compose
from rehearsal.notify.release import Release
from rehearsal.notify.retry import Outcome, Pause
from rehearsal.notify.send import send
from rehearsal.runtime import Job
from rehearsal.settings import Notify
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import ALERT_DELIVERIES

WORSE = 1.5
"""A breach is told again when it is so many times as far over its threshold as was told before."""


@dataclass(frozen=True)
class Delivery:
    """A row of `alert_deliveries`, less the release and its models."""

    run_id: str
    sink: str
    segment_id: str | None
    output: str
    metric: str
    ratio: float
    status: str
    reason: str | None
    n_attempts: int

    @property
    def delivered(self) -> bool:
        """Whether the sink has been told."""
        return self.status == "delivered"

    @property
    def measure(self) -> MeasureKey:
        """What the sink was told of."""
        return (self.segment_id or ALL, self.output, self.metric)


def announce(job: Job, release: Release, pause: Pause = time.sleep) -> list[str]:
    """Send the run's message to the sinks that lack it, and keep who has it; return what to say."""
    names = [field.name for field in fields(Delivery)]
    rows = job.store.read(ALERT_DELIVERIES, release=release.key).select(*names).collect()
    before = [Delivery(**row.asDict()) for row in rows]
    after, said = deliver(job.settings.notify, release, before, pause)
    if set(after) != set(before):
        frame = pd.DataFrame([asdict(one) for one in after], columns=names)
        models = {
            "production_model": F.lit(release.production_model),
            "experimental_model": F.lit(release.experimental_model),
        }
        told = to_spark(job.spark, frame, ALERT_DELIVERIES).withColumns(models)
        job.store.replace(ALERT_DELIVERIES, told, release=release.key)
    return said


def deliver(
    notify: Notify, release: Release, before: Sequence[Delivery], pause: Pause
) -> tuple[list[Delivery], list[str]]:
    """Send the whole message to every sink to which something in it is new or worse.

    Args:
        notify: the sinks.
        release: the run.
        before: the deliveries of its release so far, of this run and of others.
        pause: waits between the attempts of a sink.

    Returns:
        The deliveries now, and a clause on each sink. What was delivered stays; what failed is
        tried again or, where it is no longer news, gone.
    """
    kept = {(one.sink, one.measure): one for one in before if one.delivered}
    if not notify.sinks:
        return list(kept.values()), ["no sinks, no message"]
    if not release.breaches:
        return list(kept.values()), ["no breach, no message"]
    current, message = ratios(release.alerts), compose(release)
    failed: list[Delivery] = []
    outcomes: dict[str, Outcome | None] = {}
    for name, sink in notify.sinks.items():
        told = {measure: one.ratio for (who, measure), one in kept.items() if who == name}
        news = _news(current, told)
        outcome = send(name, sink, message, notify.attempts, pause) if news else None
        outcomes[name] = outcome
        if outcome is None:
            continue
        if outcome.reason:
            failed += _deliveries(release.run_id, name, news, outcome)
            continue
        # To be again as far over the threshold as was told once is not to be worse.
        most = {one: max(ratio, told.get(one, 0.0)) for one, ratio in current.items()}
        kept |= {
            (name, one.measure): one for one in _deliveries(release.run_id, name, most, outcome)
        }
    return [*kept.values(), *failed], _said(outcomes)


def _news(
    current: Mapping[MeasureKey, float], told: Mapping[MeasureKey, float]
) -> dict[MeasureKey, float]:
    """Return what a sink was never told of, or is WORSE times as far over its threshold now."""
    return {one: ratio for one, ratio in current.items() if ratio >= WORSE * told.get(one, 0.0)}


def _deliveries(
    run_id: str, sink: str, ratios: Mapping[MeasureKey, float], outcome: Outcome
) -> list[Delivery]:
    """Return a row per measure."""
    status = "failed" if outcome.reason else "delivered"
    return [
        Delivery(
            run_id, sink, None if segment == ALL else segment, output, metric, ratio, status,
            outcome.reason, outcome.n_attempts,
        )
        for (segment, output, metric), ratio in ratios.items()
    ]  # fmt: skip


def _said(outcomes: Mapping[str, Outcome | None]) -> list[str]:
    """Return a clause on the sinks that were sent to, that were told before, and that failed."""
    told = [name for name, outcome in outcomes.items() if outcome is None]
    sent = {name: outcome for name, outcome in outcomes.items() if outcome is not None}
    delivered = [name for name, outcome in sent.items() if not outcome.reason]
    said = [f"sent to {', '.join(delivered)}"] if delivered else []
    failed = [f"{name} failed ({one.reason})" for name, one in sent.items() if one.reason]
    return [*said, *([f"{', '.join(told)} told already"] if told else []), *failed]
