"""A slice is replaced whole and alone, and only by rows that fit the contract."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from rehearsal.errors import ContractError, SettingsError
from rehearsal.runtime import Job
from rehearsal.tables.schemas import ALERTS, ALL, QUARANTINE, SEGMENT_SAMPLES


def test_writing_a_slice_again_leaves_one_copy_and_the_other_slices_alone(job: Job) -> None:
    def rows(n: int) -> None:
        frame = job.spark.range(n).select(
            F.col("id").cast("string").alias("user_id"), F.lit("s1").alias("segment_id"),
            F.lit(0.5).alias("distance"), F.lit(1.0).alias("x"), F.lit(2.0).alias("y"),
            F.lit(None).alias("prototype_rank"),
        )  # fmt: skip
        for run_id in ("r1", "r1") if n == 3 else ("r2",):
            job.store.replace(SEGMENT_SAMPLES, frame, run_id=run_id)

    rows(3)
    rows(2)
    assert job.store.read(SEGMENT_SAMPLES, run_id="r1").count() == 3
    assert job.store.read(SEGMENT_SAMPLES).count() == 5
    described = job.spark.sql(f"DESCRIBE {job.store.reference(SEGMENT_SAMPLES)}").collect()
    comments = {row["col_name"]: row["comment"] for row in described}
    assert comments["prototype_rank"] == "1 = nearest the centre; NULL = drawn for the map"


def test_a_table_of_an_earlier_version_gains_the_columns_declared_since(job: Job) -> None:
    less = [field for field in QUARANTINE.schema if field.name != "row_json"]
    earlier = dataclasses.replace(QUARANTINE, schema=StructType(less))
    row = job.spark.range(1).select(
        F.lit("log").alias("source_table"), F.lit("why").alias("reason")
    )
    job.store.replace(earlier, row, run_id="r1", step="replay")
    assert job.store.read(QUARANTINE).head()["row_json"] is None
    job.store.replace(
        QUARANTINE, row.withColumn("row_json", F.lit("{}")), run_id="r2", step="replay"
    )
    rows = job.store.read(QUARANTINE).select("run_id", "row_json").collect()
    assert dict(map(tuple, rows)) == {"r1": None, "r2": "{}"}


def sample(job: Job, n: int) -> DataFrame:
    """Rows of `segment_samples`, less the run."""
    nothing = {field.name: F.lit(None).cast(field.dataType) for field in SEGMENT_SAMPLES.schema}
    rows = job.spark.range(n).withColumns(nothing | {"user_id": F.col("id").cast("string")})
    return rows.drop("id", "run_id")


def files_of(job: Job, run_id: str) -> set[str]:
    rows = job.store.read(SEGMENT_SAMPLES, run_id=run_id).select("_metadata.file_path")
    return {row[0] for row in rows.distinct().collect()}


def partitions_of(job: Job) -> list[str]:
    table = job.store.reference(SEGMENT_SAMPLES)
    return list(job.spark.sql(f"DESCRIBE DETAIL {table}").head()["partitionColumns"])


def test_replacing_a_run_leaves_the_files_of_the_others(job: Job) -> None:
    for run_id in ("r1", "r2"):
        job.store.replace(SEGMENT_SAMPLES, sample(job, 3), run_id=run_id)
    job.spark.sql(f"OPTIMIZE {job.store.reference(SEGMENT_SAMPLES)}")
    before = files_of(job, "r2")
    job.store.replace(SEGMENT_SAMPLES, sample(job, 2), run_id="r1")
    assert partitions_of(job) == ["run_id"]
    assert files_of(job, "r2") == before
    assert not files_of(job, "r1") & before


def test_a_table_that_a_killed_driver_began_to_make_is_made(job: Job) -> None:
    """Delta's commit is a rename; before it the log has a folder and a file that is no version."""
    folder = Path(str(job.settings.output.path)) / SEGMENT_SAMPLES.name
    log = folder / "_delta_log"
    if folder.exists():
        shutil.rmtree(folder)
    (log / "_staged_commits").mkdir(parents=True)
    (log / ".00000000000000000000.json.0a1b.tmp").touch()
    assert not job.store.exists(SEGMENT_SAMPLES)
    job.store.replace(SEGMENT_SAMPLES, sample(job, 2), run_id="r1")
    assert job.store.read(SEGMENT_SAMPLES, run_id="r1").count() == 2


def test_runs_that_write_at_once_do_not_conflict(job: Job) -> None:
    job.store.ensure(SEGMENT_SAMPLES)

    def write(run_id: str) -> None:
        for n in (3, 2, 1):
            job.store.replace(SEGMENT_SAMPLES, sample(job, n), run_id=run_id)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write, f"r{i}") for i in range(3)]:
            done.result()
    assert job.store.read(SEGMENT_SAMPLES).count() == 3


def test_a_table_made_without_partitions_goes_on_without(job: Job) -> None:
    plain = dataclasses.replace(SEGMENT_SAMPLES, partition_by=())
    for run_id in ("r1", "r2"):
        job.store.replace(plain, sample(job, 3), run_id=run_id)
    job.store.replace(SEGMENT_SAMPLES, sample(job, 1), run_id="r1")
    job.store.replace(SEGMENT_SAMPLES, sample(job, 2), run_id="r3")
    assert partitions_of(job) == []
    counted = job.store.read(SEGMENT_SAMPLES).groupBy("run_id").count().collect()
    assert dict(map(tuple, counted)) == {"r1": 1, "r2": 3, "r3": 2}


def test_what_replaces_a_run_is_partitioned_by_it() -> None:
    sliced = [contract for contract in ALL if contract.slice_by[0] == "run_id"]
    assert len(sliced) > 10
    assert {contract.partition_by[0] for contract in sliced} == {"run_id"}


def test_rows_with_other_columns_are_refused(job: Job) -> None:
    frame = job.spark.range(1)
    with pytest.raises(ContractError, match=r"alerts do not fit: missing .* not declared \['id'\]"):
        job.store.replace(ALERTS, frame, run_id="r1")


def test_a_slice_is_named_in_full(job: Job) -> None:
    with pytest.raises(ContractError, match=r"quarantine is replaced by \(run_id, step\)"):
        job.store.replace(QUARANTINE, job.spark.range(1), run_id="r1")


def test_a_table_not_made_yet_names_the_step_that_makes_it(job: Job) -> None:
    with pytest.raises(
        ContractError, match="no table alerts in .*`rehearsal score-drift` makes it"
    ):
        job.store.read(ALERTS, run_id="r1")


def test_a_run_id_is_a_plain_word(job: Job) -> None:
    with pytest.raises(SettingsError, match='run id "r\' OR 1=1" may hold letters'):
        Job(job.spark, job.settings, "r' OR 1=1")
    with pytest.raises(SettingsError, match="run id '..' may hold letters"):
        Job(job.spark, job.settings, "..")


def test_contracts_have_a_comment_on_every_column_and_keys_they_declare() -> None:
    for contract in ALL:
        names = set(contract.schema.names)
        assert set(contract.key) | set(contract.slice_by) | set(contract.partition_by) <= names
        assert all(field.metadata["comment"] for field in contract.schema)
