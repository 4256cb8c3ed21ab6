"""Who was where when: the history of segments keeps every change, once, whatever is killed."""

from datetime import UTC, datetime

import pandas as pd
import pytest
from pyspark.sql import DataFrame

from rehearsal.errors import ContractError
from rehearsal.runtime import Job
from rehearsal.tables.schemas import SEGMENTS
from rehearsal.tables.segment_history import in_force, record, restore, segments_as_of

MARCH, APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
SCHEMA = "user_id string, segment_id string, is_noise boolean, known boolean"


def changes(job: Job, *rows: tuple[str, str | None, bool]) -> DataFrame:
    full = [(user, segment, False, known) for user, segment, known in rows]
    return job.spark.createDataFrame(full, SCHEMA)


def at(job: Job, instant: datetime) -> dict[str, str]:
    rows = segments_as_of(job.store, "main", instant).collect()
    found = {row["user_id"]: row["segment_id"] for row in rows}
    assert len(found) == len(rows), "a user is in one segment at a time"
    return found


def held(job: Job) -> pd.DataFrame:
    order = ["segmentation", "user_id", "valid_from"]
    return job.store.read(SEGMENTS).toPandas().sort_values(order, ignore_index=True)


@pytest.fixture
def two_months(job: Job) -> Job:
    """March: a and b in s1, c in s2. April: a moves to s2, c is gone, d is new."""
    march = changes(job, ("a", "s1", False), ("b", "s1", False), ("c", "s2", False))
    record(job.store, "main", "march", MARCH, march)
    april = changes(job, ("a", "s2", True), ("c", None, True), ("d", "s2", False))
    record(job.store, "main", "april", APRIL, april)
    return job


def test_segments_as_of_a_date_is_one_filter(two_months: Job) -> None:
    assert at(two_months, MARCH) == {"a": "s1", "b": "s1", "c": "s2"}
    assert at(two_months, APRIL) == {"a": "s2", "b": "s1", "d": "s2"}
    assert at(two_months, datetime(2026, 3, 31, 23, 59, tzinfo=UTC))["a"] == "s1"
    assert at(two_months, datetime(2026, 2, 28, tzinfo=UTC)) == {}


def test_only_changed_users_get_a_new_row_and_each_row_names_its_runs(two_months: Job) -> None:
    rows = held(two_months).set_index(["user_id", "opened_by"])
    assert len(rows) == 5
    assert rows.loc[("a", "march"), "closed_by"] == "april"
    assert rows.loc[("a", "march"), "valid_to"] == pd.Timestamp("2026-04-01")
    assert pd.isna(rows.loc[("b", "march"), "closed_by"])


def test_what_a_killed_run_left_is_taken_back_and_a_rerun_gives_the_same_rows(
    two_months: Job,
) -> None:
    before = held(two_months)
    restore(two_months.store, "main", ["march"])
    assert at(two_months, APRIL) == at(two_months, MARCH) == {"a": "s1", "b": "s1", "c": "s2"}
    april = changes(two_months, ("a", "s2", True), ("c", None, True), ("d", "s2", False))
    record(two_months.store, "main", "april", APRIL, april)
    pd.testing.assert_frame_equal(held(two_months), before)


def test_histories_do_not_touch_one_another(two_months: Job) -> None:
    record(two_months.store, "trial", "t1", MARCH, changes(two_months, ("a", "s9", False)))
    restore(two_months.store, "trial", [])
    assert held(two_months)["segmentation"].unique().tolist() == ["main"]
    assert len(at(two_months, APRIL)) == 3


def test_no_segments_yet_says_which_step_makes_them(job: Job) -> None:
    with pytest.raises(ContractError, match="no table segmentations .* `rehearsal segment` makes"):
        in_force(job.store, "main", MAY)
