"""Who was told is a table: a rerun sends nothing twice, and what failed is tried again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from listening import Listener, listening
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, StructType

from rehearsal.errors import ContractError
from rehearsal.jobs.notify import step
from rehearsal.runtime import Job
from rehearsal.settings import Settings
from rehearsal.tables.contract import TableContract, column
from rehearsal.tables.schemas import ALERT_DELIVERIES, ALERTS, DRIFT_ONSETS, DRIFT_SCORES, RUN

MakeSettings = Callable[..., Settings]

BREACH = {
    "segment_id": "s1", "segment_name": "young", "output": "class", "metric": "kl_nats",
    "test": "distribution", "window_start": datetime(2026, 3, 2, tzinfo=UTC), "score": 0.2,
    "threshold": 0.05,
}  # fmt: skip
ONSET = {
    "segment_id": "s1", "output": "class", "test": "distribution",
    "window_start": datetime(2026, 2, 23, tzinfo=UTC),
}  # fmt: skip
EVERYONE = BREACH | {"segment_id": None, "segment_name": "all users", "score": 0.06}


@pytest.fixture
def team() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture
def ops() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


def frame(
    spark: SparkSession, contract: TableContract, rows: Sequence[dict[str, Any]]
) -> DataFrame:
    """Rows of the contract's columns, null where a row says nothing."""
    declared = StructType([field for field in contract.schema if field.name != "run_id"])
    values = [tuple(row.get(name) for name in declared.names) for row in rows]
    return spark.createDataFrame(values, declared)


def scored(job: Job, *alerts: dict[str, Any]) -> None:
    """Give the run scores of two segments and all users, these alerts, and a start of s1's."""
    ids = [{"segment_id": one} for one in ("s1", "s2", None)]
    scores = frame(job.spark, DRIFT_SCORES, ids)
    job.store.replace(DRIFT_SCORES, scores, run_id=job.run_id)
    job.store.replace(ALERTS, frame(job.spark, ALERTS, alerts), run_id=job.run_id)
    started = frame(job.spark, DRIFT_ONSETS, [ONSET] if alerts else [])
    job.store.replace(DRIFT_ONSETS, started, run_id=job.run_id)


def deliveries(job: Job) -> list[tuple[Any, ...]]:
    names = ("sink", "status", "reason", "n_attempts", "run_id", "segment_id")
    rows = job.store.read(ALERT_DELIVERIES).select(*names).collect()
    return sorted((tuple(row) for row in rows), key=str)


def versions(job: Job) -> int:
    return job.spark.sql(f"DESCRIBE HISTORY {job.store.reference(ALERT_DELIVERIES)}").count()


def test_without_sinks_nothing_happens_and_the_step_says_so(job: Job) -> None:
    assert step(job) == "no sinks (settings: notify), nothing sent"
    assert deliveries(job) == []


@pytest.fixture
def told(
    spark: SparkSession,
    make_settings: MakeSettings,
    tmp_path: Path,
    team: Listener,
    ops: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    """A run with a textfile and the sinks team, ops and later, of which the last has no URL yet."""
    monkeypatch.setenv("TEAM", f"json://127.0.0.1:{team.port}/secret")
    monkeypatch.setenv("OPS", f"json://127.0.0.1:{ops.port}/secret")
    notify = {
        "sinks": {name: {"url_env": name.upper()} for name in ("team", "ops", "later")},
        "attempts": 1,
        "prometheus": {"textfile": str(tmp_path / "gauges" / "rehearsal.prom")},
    }
    return Job(spark, make_settings(notify=notify), "r1")


def gauges(job: Job) -> str:
    return Path(str(job.settings.notify.prometheus.textfile)).read_text()


def test_each_sink_is_told_once_and_a_failed_one_again(
    told: Job, team: Listener, ops: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(told, BREACH, EVERYONE)
    ops.status = 500
    unset = "sink 'later' has no URL: the environment variable LATER is not set"
    failed = f"ops failed (HTTP 500); later failed ({unset})"
    assert step(told) == f"sent to team; {failed}; gauges written to textfile"
    assert deliveries(told) == [
        (*one, "r1", segment)
        for one in (
            ("later", "failed", unset, 0),
            ("ops", "failed", "HTTP 500", 1),
            ("team", "delivered", None, 1),
        )
        for segment in ("s1", None)
    ]
    (message,), models = team.messages, told.settings.models
    assert message["title"] == "Rehearsal r1: 1 of 2 segments drifts"
    assert message["message"].splitlines() == [
        f"{models.experimental.uri} (experimental) against {models.production.uri} (production)",
        f"Report: {told.settings.output.report}",
        "- s1 (young): kl_nats of class 0.2, 4.0 × its threshold, since 2026-02-23",
        "- all users: kl_nats of class 0.06, 1.2 × its threshold, since 2026-03-02",
    ]

    # The same again leaves the same table, and writes no version of it.
    before = versions(told)
    step(told)
    assert (len(team.received), len(ops.received), versions(told)) == (1, 2, before)

    ops.status = 200
    monkeypatch.setenv("LATER", f"json://127.0.0.1:{ops.port}/later")
    said = step(told)
    assert said == "sent to ops, later; team told already; gauges written to textfile"
    assert (len(team.received), len(ops.received)) == (1, 4)
    assert {row[1:3] for row in deliveries(told)} == {("delivered", None)}


def test_a_release_is_told_once_over_its_runs_and_one_without_breach_only_as_gauges(
    told: Job, team: Listener
) -> None:
    with pytest.raises(ContractError, match="no table .*`rehearsal score-drift` makes it"):
        step(told)
    scored(told, BREACH)
    step(told)
    other = Job(told.spark, told.settings, "r2")
    with pytest.raises(ContractError, match="drift_scores has no rows of run r2"):
        step(other)
    scored(other)
    assert step(other) == "no breach, no message; gauges written to textfile"
    assert 'rehearsal_breaching_segments{run_id="r2"} 0.0' in gauges(other)
    scored(other, BREACH)
    assert step(other).startswith("team, ops told already;")
    assert 'rehearsal_breaching_segments{run_id="r2"} 1.0' in gauges(other)
    scored(other, BREACH | {"score": 0.5})
    assert step(other).startswith("sent to team, ops;")
    assert len(team.received) == 2
    assert {one[4] for one in deliveries(other)} == {"r2"}


def test_deliveries_of_an_earlier_version_stand_in_nobodys_way(told: Job, team: Listener) -> None:
    names = ("sink", "digest", "status")
    fields = [RUN, *(column(name, StringType(), name) for name in names)]
    earlier = replace(ALERT_DELIVERIES, schema=StructType(fields), slice_by=("run_id",),
                      partition_by=())  # fmt: skip
    row = told.spark.createDataFrame([("team", "d1", "delivered")], list(names))
    told.store.replace(earlier, row, run_id="r0")
    scored(told, BREACH)
    assert step(told).startswith("sent to team, ops;")
    assert step(told).startswith("team, ops told already;")
    assert len(team.received) == 1
    assert told.store.read(ALERT_DELIVERIES).where("run_id = 'r0'").count() == 1
