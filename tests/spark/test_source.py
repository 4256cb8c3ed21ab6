"""The user's tables through the column mapping: bad rows are set aside, bad tables stop the run."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rehearsal.errors import SourceError
from rehearsal.settings import Settings
from rehearsal.tables.source import check_sources, read_requests, read_users

START, END = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)
MAPPING = {
    "request_id": "call", "user_id": "customer", "request_type": "kind",
    "requested_at": "called_at", "continuous": ["amount"], "categorical": ["channel"],
}  # fmt: skip
ROWS = [
    ("a", "1", "search", "2026-03-02 00:00:00", "1.5", "app"),
    ("b", None, "search", "2026-03-03 00:00:00", "1.5", "app"),
    ("c", "1", "search", "not a time", "1.5", "app"),
    ("d", "1", "search", "2026-03-03 00:00:00", "dear", "app"),
    ("e", "1", None, "2026-03-03 00:00:00", "1.5", "app"),
    ("f", "1", "search", "2026-03-05 00:00:00", "2.5", "app"),
    ("f", "1", "search", "2026-03-04 00:00:00", "1.5", "app"),
    (None, "1", "search", "2026-03-03 00:00:00", "1.5", "app"),
    ("g", "1", "search", "2026-03-30 00:00:00", "1.5", "app"),
    ("h", "1", "search", "2026-03-03 00:00:00", "NaN", None),
]

MakeSettings = Callable[..., Settings]


@pytest.fixture
def messy(spark: SparkSession, tmp_path: Path, make_settings: MakeSettings) -> Settings:
    """Settings over a log of text columns, the way exports come."""
    schema = "call string, customer string, kind string, called_at string, amount string, "
    path = str(tmp_path / "messy")
    rows = spark.createDataFrame(ROWS, schema + "channel string")
    # Maps have no order and no hash in Spark; logs have them all the same.
    rows = rows.withColumn("tags", F.create_map(F.lit("beta"), F.lit("yes")))
    rows.write.format("delta").save(path)
    return make_settings(requests={"path": path, "columns": MAPPING})


def test_rows_that_break_the_contract_are_set_aside_with_the_reason(
    spark: SparkSession, messy: Settings
) -> None:
    found = read_requests(spark, messy, START, END, timeless=True)
    rows = {row["request_id"]: row for row in found.rows.collect()}
    assert set(rows) == {"a", "f", "h"}
    assert rows["f"]["requested_at"] == datetime(2026, 3, 4)
    assert rows["h"]["amount"] is None
    reasons = sorted(row["reason"] for row in found.rejected.collect())
    assert reasons == [
        "amount is not a number",
        "call is not unique",
        "call is null",
        "called_at is null or not a timestamp",
        "customer is null",
        "kind is null",
    ]


def test_a_rejected_row_is_kept_whole(spark: SparkSession, messy: Settings) -> None:
    found = read_requests(spark, messy, START, END, timeless=False).rejected
    row = found.where("reason = 'amount is not a number'").head()
    assert row is not None
    assert row["source_table"] == messy.requests.label
    assert '"amount":"dear"' in row["row_json"]
    assert found.where("reason LIKE 'called_at%'").isEmpty()


def test_the_same_user_twice_is_one_user(
    spark: SparkSession, make_settings: MakeSettings, tmp_path: Path
) -> None:
    path = str(tmp_path / "twice")
    rows = [(1, 30, "PL"), (1, 31, "PT"), (None, 5, "PL"), (2, 40, None)]
    frame = spark.createDataFrame(rows, "customer bigint, age int, country string")
    frame.write.format("delta").save(path)
    columns = {"user_id": "customer", "continuous": ["age"], "categorical": ["country"]}
    settings = make_settings(users={"path": path, "columns": columns})
    assert settings.users is not None
    found = read_users(spark, settings.users)
    assert sorted(row["user_id"] for row in found.rows.collect()) == ["1", "2"]
    assert sorted(row["reason"] for row in found.rejected.collect()) == [
        "customer is not unique", "customer is null",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"continuous": ["price"]}, "no column 'price' .continuous.; the table has amount, call"),
        ({"continuous": ["called_at"], "requested_at": "channel"}, "'called_at' is timestamp"),
    ],
)
def test_a_column_that_cannot_serve_stops_the_run_and_is_named(
    spark: SparkSession,
    make_settings: MakeSettings,
    world: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    columns = MAPPING | {"categorical": []} | change
    settings = make_settings(requests={"path": str(world / "calls"), "columns": columns})
    with pytest.raises(SourceError, match=message):
        check_sources(spark, settings)


def test_a_missing_table_stops_the_run_and_is_named(
    spark: SparkSession, make_settings: MakeSettings
) -> None:
    for place in ({"path": "/nowhere/calls"}, {"table": "nowhere.calls"}):
        settings = make_settings(requests={**place, "columns": MAPPING})
        with pytest.raises(SourceError, match=r"requests: cannot read .*nowhere.calls"):
            check_sources(spark, settings)
