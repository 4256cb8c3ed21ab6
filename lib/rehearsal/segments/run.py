"""One run of the segment step: describe users, keep or refit the segments, place, record.

Everything is written before the run's row in `segmentations`, which is what makes it count: a run
that is killed on the way leaves a history that the next one takes back first.
"""

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import ContractError
from rehearsal.runtime import Job
from rehearsal.segments.adapt.renew import Past, renew
from rehearsal.segments.describe.counting import read_history
from rehearsal.segments.describe.features import choose_features, user_features
from rehearsal.segments.feature import Feature
from rehearsal.segments.place_users import place_users
from rehearsal.segments.publish import publish
from rehearsal.segments.recording import Run, write_run
from rehearsal.segments.timeline import instants, place
from rehearsal.tables import schemas as tables
from rehearsal.tables.segment_history import restore
from rehearsal.tables.source import Admitted, read_users

NAME = "segment"


def segment_users(job: Job) -> str:
    """Bring the history of segments up to the start of the replay; return what was done."""
    where = place(_past(job), job.run_id, job.settings)
    if where.held_by is not None:
        return f"the segments of run {where.held_by} hold already"
    run = Run(job, where, *instants(job.settings))
    _take_back(run)
    history = read_history(job, run.as_of)
    users = read_users(job.spark, job.settings.users) if job.settings.users else None
    # Before days count as held: a run cut short in between would lose what it set aside.
    aside = job.set_aside(NAME, [*history.rejected, *([users.rejected] if users else [])])
    people = _People(run, history.count(), users)
    renewal = renew(people, _held(run), job.settings)
    chosen = job.settings.segments
    assigned = place_users(
        people.described, renewal.model, chosen.adapt, chosen.min_history_requests, renewal.exact
    )
    summary = write_run(run, renewal, assigned)
    renewal.release()
    fitted = renewal.model if renewal.version is None else None
    numbers = {**renewal.measured, "k": len(renewal.model.segments)}
    publish(job.settings, job.run_id, NAME, fitted, numbers)
    return f"{summary}, {aside:,} rows quarantined"


class _People:
    """Users and their features, as often as the fit asks for other ones; last: `described`."""

    def __init__(self, run: Run, activity: DataFrame, users: Admitted | None) -> None:
        self._run, self._activity = run, activity
        self._users = None if users is None else users.rows
        self.features: tuple[Feature, ...] = ()

    def choose(self) -> tuple[Feature, ...]:
        """Return the features a new fit would use."""
        settings = self._run.job.settings
        profile = settings.users.columns if settings.users else None
        return choose_features(
            self._activity, self._users, profile, settings.segments, self._run.as_of,
            settings.requests.columns.outcome,
        )  # fmt: skip

    def describe(self, features: tuple[Feature, ...]) -> DataFrame:
        """Write `user_features` for exactly these features, unless that was done, and return it."""
        job, run = self._run.job, self._run
        if features != self.features:
            rows = user_features(
                self._activity, self._users, features, job.settings.segments, run.as_of,
                beside=_before(run),
            )  # fmt: skip
            rows = rows.withColumn("as_of", F.lit(run.as_of))
            job.store.replace(tables.USER_FEATURES, rows, run_id=job.run_id)
            self.features = features
        return self.described

    @property
    def described(self) -> DataFrame:
        """The rows of `user_features` of this run."""
        return self._run.job.store.read(tables.USER_FEATURES, run_id=self._run.job.run_id)


def _past(job: Job) -> pd.DataFrame:
    """The rows of this history, less what was fitted; bounded by its runs."""
    job.store.ensure(tables.SEGMENTATIONS)
    columns = ("run_id", "as_of", "valid_from", "decision", "settings_json")
    rows = job.store.read(tables.SEGMENTATIONS).select("segmentation", *columns).toPandas()
    name = job.settings.segments.name
    elsewhere = rows[(rows["run_id"] == job.run_id) & (rows["segmentation"] != name)]
    if len(elsewhere):
        raise ContractError(
            f"run {job.run_id} made the segments {elsewhere['segmentation'].iloc[0]!r}, whose "
            f"tables those of {name!r} would replace; give this run another --run-id"
        )
    return rows[rows["segmentation"] == name].drop(columns="segmentation")


def _take_back(run: Run) -> None:
    store = run.job.store
    store.clear(tables.SEGMENTATIONS, **run.key)
    restore(store, run.key["segmentation"], list(run.place.before))


def _before(run: Run) -> DataFrame:
    """Where each user was before: (user_id, previous_segment_id, previous_pending_id, ..runs)."""
    names = {
        "segment_id": "previous_segment_id",
        "pending_id": "previous_pending_id",
        "pending_runs": "previous_pending_runs",
    }
    store = run.job.store
    if run.previous is None:
        kinds = "user_id string, segment_id string, pending_id string, pending_runs int"
        return run.job.spark.createDataFrame([], kinds).withColumnsRenamed(names)
    held = store.read(tables.SEGMENT_ASSIGNMENTS, run_id=run.previous)
    return held.select("user_id", *names).withColumnsRenamed(names)


def _held(run: Run) -> Past | None:
    if run.previous is None:
        return None
    store, name = run.job.store, run.key["segmentation"]
    row = store.read(tables.SEGMENTATIONS, segmentation=name, run_id=run.previous).collect()[0]
    profiles = store.read(tables.SEGMENT_PROFILES, run_id=run.previous)
    # Bounded by segments.
    stable = profiles.groupBy("segment_id").agg(F.max("stability")).collect()
    return Past.of(row.asDict(), {row[0]: row[1] for row in stable if row[1] is not None})
