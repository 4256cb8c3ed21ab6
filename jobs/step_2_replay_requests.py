"""Replay logged requests through the production and the experimental model.

Reads the request log, the profiles and both models; writes replays (origin 'logged').
"""

from collections.abc import Sequence

from rehearsal.replay.replay import replay_requests
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.made_with import refuse_other
from rehearsal.tables.schemas import REPLAYS
from rehearsal.tables.source import read_requests, read_users

NAME = "replay"


def step(job: Job) -> str:
    """Score every logged request of the replay range, or of a span of it, with both models.

    Raises:
        ContractError: the rest of the run was replayed with other models, KPIs or outcomes.
    """
    settings, store = job.settings, job.store
    span, whole = job.span or settings.replay, job.span is None
    log = read_requests(job.spark, settings, span.start, span.end, timeless=whole)
    users = read_users(job.spark, settings.users).rows if settings.users else None
    replayed = replay_requests(log.rows, users, settings, settings.requests.label)
    kept = {"run_id": job.run_id, "origin": "logged"}
    if whole:
        store.replace(REPLAYS, replayed.rows, **kept)
    else:
        if store.exists(REPLAYS):
            refuse_other(REPLAYS, store.read(REPLAYS, **kept), job.run_id, replayed.made_with)
        within = ("requested_at", span.start, span.end)
        store.replace_within(REPLAYS, replayed.rows, within, **kept)
    aside = job.set_aside(NAME, [log.rejected, replayed.rejected])
    n = store.read(REPLAYS, run_id=job.run_id, origin="logged").count()
    return f"{n:,} requests scored by both models, {aside:,} rows quarantined"


command = step_command(NAME, step, __doc__, spans=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
