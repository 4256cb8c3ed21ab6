"""A day or a week done anew costs itself alone, and leaves what a run over all of it would."""

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import functions as F

from rehearsal.errors import ContractError, SettingsError
from rehearsal.jobs import step_2_replay_requests as replaying
from rehearsal.jobs import step_3_score_drift as scoring
from rehearsal.runtime import Job
from rehearsal.settings import Settings
from rehearsal.span import read_span
from rehearsal.tables.schemas import (
    ALERTS,
    DRIFT_COUNTS,
    DRIFT_METRICS,
    DRIFT_ONSETS,
    DRIFT_SCORES,
    QUARANTINE,
    REPLAYS,
)

WEEKS = ["2026-03-02", "2026-03-09", "2026-03-16", "2026-03-23", "2026-03-30"]
TABLES = (DRIFT_COUNTS, DRIFT_SCORES, DRIFT_ONSETS, DRIFT_METRICS, ALERTS, QUARANTINE)


@pytest.fixture(scope="module")
def job(finished_loop: Any) -> Job:
    return finished_loop.job


def over(job: Job, since: str, until: str, **changes: Any) -> Job:
    """The same rehearsal over a part of its time."""
    span = read_span(since, until, job.settings.replay)
    return replace(job, span=span, **changes)


def ending(settings: Settings, end: str, bins_version: str, spending: str) -> Settings:
    """The same settings with an earlier end, bins that another run has pinned, and a spending."""
    given = settings.model_dump(by_alias=True)
    given["replay"]["end"] = end
    given["drift"] |= {"bins_version": bins_version, "spending": spending}
    return Settings.model_validate(given)


def rows(job: Job, contract: Any, condition: str = "true") -> pd.DataFrame:
    own = job.store.read(contract).where(F.col("run_id") == job.run_id).drop("run_id")
    own = own.where(condition)
    texts = own.select(F.to_json(F.struct("*")).alias("row")).toPandas()
    return texts.sort_values("row", ignore_index=True)


def test_a_week_done_anew_leaves_every_table_as_it_was(job: Job) -> None:
    before = {contract.name: rows(job, contract) for contract in (*TABLES, REPLAYS)}
    part = over(job, "2026-03-11", "2026-03-12")
    replaying.step(part)
    scoring.step(part)
    for contract in (*TABLES, REPLAYS):
        pd.testing.assert_frame_equal(rows(job, contract), before[contract.name])
    # Delta keeps what was replaced beside each version of the table.
    history = job.spark.sql(f"DESCRIBE HISTORY {job.store.reference(DRIFT_COUNTS)} LIMIT 1")
    (last,) = history.collect()
    _, *span = json.loads(last["userMetadata"])["within"]
    assert [text[:10] for text in span] == ["2026-03-09", "2026-03-16"]


def test_a_log_that_grows_is_counted_as_if_it_came_at_once(job: Job) -> None:
    version = job.store.read(DRIFT_SCORES, run_id=job.run_id).head()["bins_version"]
    grown = Job(job.spark, ending(job.settings, WEEKS[2], version, "endless"), "grown")
    replaying.step(grown)
    scoring.step(grown)
    longer = Job(job.spark, ending(job.settings, WEEKS[4], version, "endless"), "grown")
    part = over(longer, WEEKS[2], WEEKS[4])
    replaying.step(part)
    scoring.step(part)
    both = (rows(one, REPLAYS, "origin = 'logged'") for one in (grown, job))
    pd.testing.assert_frame_equal(*both)
    before = {contract.name: rows(grown, contract) for contract in TABLES}
    scoring.step(longer)
    for contract in TABLES:
        pd.testing.assert_frame_equal(rows(grown, contract), before[contract.name])
    # Evenly, the weeks told already would have had another share of alpha.
    even = Job(job.spark, ending(job.settings, WEEKS[4], version, "even"), "grown")
    with pytest.raises(ContractError, match='spending was "endless", is "even over 4 windows" now'):
        scoring.step(over(even, WEEKS[2], WEEKS[4]))


def test_a_part_of_a_run_that_was_never_counted_is_refused(job: Job) -> None:
    with pytest.raises(ContractError, match="has no counts yet that a part could be added to"):
        scoring.step(over(job, "2026-03-11", "2026-03-12", run_id="never"))


def test_a_part_in_other_windows_is_refused(job: Job) -> None:
    given = job.settings.model_dump(by_alias=True)
    given["drift"]["window"] = "day"
    other = replace(job, settings=Settings.model_validate(given))
    changed = 'window was "week", is "day" now; run score-drift without --since and --until'
    with pytest.raises(ContractError, match=changed):
        scoring.step(over(other, "2026-03-11", "2026-03-12"))


def test_a_part_under_another_kpi_or_model_is_refused_by_both_steps(job: Job) -> None:
    given = job.settings.model_dump(by_alias=True)
    given["kpis"]["yes_rate"]["label"] = "no"
    given["models"]["experimental"] = given["models"]["production"]
    other = replace(job, settings=Settings.model_validate(given))
    told = r'replays of run r1: experimental was .*kpis.yes_rate.label was "yes", is "no" now'
    with pytest.raises(ContractError, match=told):
        replaying.step(over(other, "2026-03-11", "2026-03-12"))
    # Counted from replays that were made anew since.
    tampered = job.store.read(REPLAYS, run_id=job.run_id, origin="logged").limit(1)
    as_of = F.regexp_replace("settings_json", '"label":"yes"', '"label":"no"')
    elsewhere = replace(job, run_id="elsewhere")
    job.store.replace(REPLAYS, tampered.withColumn("settings_json", as_of), run_id="elsewhere",
                      origin="logged")  # fmt: skip
    counts = job.store.read(DRIFT_COUNTS, run_id=job.run_id).limit(3)
    job.store.replace(DRIFT_COUNTS, counts, run_id="elsewhere")
    told = r'drift_counts of run elsewhere: replays.kpis.yes_rate.label was "yes", is "no" now; run'
    with pytest.raises(ContractError, match=told):
        scoring.step(over(elsewhere, "2026-03-11", "2026-03-12"))


@pytest.mark.parametrize(
    ("since", "until", "told"),
    [
        ("2026-04-11", None, "holds no part of the replay"),
        ("2026-03-12", "2026-03-11", "holds no part of the replay"),
        ("yesterday", None, "--since 'yesterday' is no instant"),
    ],
)
def test_a_span_that_is_none_is_refused_with_the_way_out(
    job: Job, since: str, until: str | None, told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        read_span(since, until, job.settings.replay)
