"""The history of the log as daily activity: days counted before are held, the others counted."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pyspark.sql import Column, DataFrame
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
class History:
    """What there is to count of the log before an instant; nothing is written yet.

    Attributes:
        version: what identifies activity counted by the same rules.
        ours: the rows of `user_activity` that are of this version and in the history's days.
        now: (day, n_rows) of the log as it lies.
        days: UTC days to count and hold, new or changed since an earlier run counted them.
        fresh: the requests of these days, None without any.
        part: those of the day the instant falls into, counted but never held.
    """

    job: Job
    version: str
    ours: Column
    now: DataFrame
    days: tuple[date, ...]
    fresh: Admitted | None
    part: Admitted | None

    @property
    def rejected(self) -> list[DataFrame]:
        """Rows of the log that are set aside; to be kept before `count` holds their days."""
        return [log.rejected for log in (self.fresh, self.part) if log is not None]

    def count(self) -> DataFrame:
        """Bring `user_activity` up to date and return the daily activity of the history."""
        job, store = self.job, self.job.store
        if self.fresh is not None:
            counted = _count(job, self.fresh).join(F.broadcast(self.now), "day")
            counted = counted.withColumn("run_id", F.lit(job.run_id))
            days = list(self.days)
            store.replace(USER_ACTIVITY, counted, activity_version=self.version, day=days)
        self.now.unpersist()
        held = store.read(USER_ACTIVITY).where(self.ours)
        activity = held.drop("activity_version", "n_rows", "run_id")
        return activity if self.part is None else activity.unionByName(_count(job, self.part))


def read_history(job: Job, as_of: datetime) -> History:
    """Return what is to be counted of the `history_days` before `as_of`.

    Days that an earlier run counted, and whose number of rows in the log is still the same, are
    not read again. A run counts its own days anew, so that running it again gives the same tables
    and the same quarantine. A request id that comes again on a day counted earlier is not noticed.
    """
    start = history_start(as_of, job.settings.segments.history_days).date()
    in_span = (F.col("day") >= F.lit(start)) & (F.col("day") < F.lit(midnight(as_of).date()))
    log = open_source(job.spark, job.settings.requests, "requests")
    version = activity_version(job.settings, log.schema)
    now = rows_per_day(log, job.settings.requests.columns.requested_at).where(in_span).persist()
    job.store.ensure(USER_ACTIVITY)
    ours = (F.col("activity_version") == version) & in_span
    others = job.store.read(USER_ACTIVITY).where(ours & (F.col("run_id") != job.run_id))
    days = stale_days(now, others.groupBy("day").agg(F.max("n_rows").alias("n_rows")))
    fresh = part = None
    if days:
        end_of_last = midnight(_instant(days[-1])) + timedelta(days=1)
        fresh = _read(job, _instant(days[0]), end_of_last, days)
    if midnight(as_of) < as_of:
        part = _read(job, midnight(as_of), as_of)
    return History(job, version, ours, now, tuple(days), fresh, part)


def _read(job: Job, start: datetime, end: datetime, days: list[date] | None = None) -> Admitted:
    return read_requests(job.spark, job.settings, start, end, timeless=False, days=days)


def _count(job: Job, log: Admitted) -> DataFrame:
    return daily_activity(
        log.rows, job.settings.segments.value, job.settings.requests.columns.outcome
    )


def _instant(day: date) -> datetime:
    return datetime.fromisoformat(f"{day.isoformat()}T00:00:00+00:00")
