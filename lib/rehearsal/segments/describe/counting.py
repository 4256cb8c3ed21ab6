"""The history of the log as daily activity: days counted before are held, the others counted."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.runtime import Job
from rehearsal.segments.describe.activity import (
    activity_version,
    daily_activity,
    history_start,
    midnight,
    rows_per_day,
    stale_days,
)
from rehearsal.tables.schemas import USER_ACTIVITY
from rehearsal.tables.source import Admitted, open_source, read_requests


@dataclass(frozen=True)
class Counted:
    """Daily activity before an instant, and the rows of the log that were set aside for it."""

    activity: DataFrame
    rejected: tuple[DataFrame, ...]
    n_days: int


def count_history(job: Job, as_of: datetime) -> Counted:
    """Bring `user_activity` up to date and return the activity of the history before `as_of`.

    Days that an earlier run counted, and whose number of rows in the log is still the same, are
    not read again. A run counts its own days anew, so that running it again gives the same tables
    and the same quarantine. A request id that comes again on a day counted earlier is not noticed.
    """
    store, version = job.store, activity_version(job.settings)
    start, end = history_start(as_of, job.settings.segments.history_days), midnight(as_of)
    in_span = (F.col("day") >= F.lit(start.date())) & (F.col("day") < F.lit(end.date()))
    log = open_source(job.spark, job.settings.requests, "requests")
    now = rows_per_day(log, job.settings.requests.columns.requested_at).where(in_span).persist()
    store.ensure(USER_ACTIVITY)
    ours = (F.col("activity_version") == version) & in_span
    others = store.read(USER_ACTIVITY).where(ours & (F.col("run_id") != job.run_id))
    days = stale_days(now, others.groupBy("day").agg(F.max("n_rows").alias("n_rows")))
    rejected = []
    if days:
        end_of_last = midnight(_instant(days[-1])) + timedelta(days=1)
        fresh = _read(job, _instant(days[0]), end_of_last, days)
        rejected.append(fresh.rejected)
        counted = _count(job, fresh).join(F.broadcast(now), "day")
        counted = counted.withColumn("run_id", F.lit(job.run_id))
        store.replace(USER_ACTIVITY, counted, activity_version=version, day=days)
    now.unpersist()
    held = store.read(USER_ACTIVITY).where(ours)
    activity = held.drop("activity_version", "n_rows", "run_id")
    if end < as_of:
        part = _read(job, end, as_of)
        rejected.append(part.rejected)
        activity = activity.unionByName(_count(job, part))
    return Counted(activity, tuple(rejected), len(days))


def _read(job: Job, start: datetime, end: datetime, days: list[date] | None = None) -> Admitted:
    return read_requests(job.spark, job.settings, start, end, timeless=False, days=days)


def _count(job: Job, log: Admitted) -> DataFrame:
    return daily_activity(
        log.rows, job.settings.segments.value, job.settings.requests.columns.outcome
    )


def _instant(day: date) -> datetime:
    return datetime.fromisoformat(f"{day.isoformat()}T00:00:00+00:00")
