"""The whole loop on the tiny world: the young's searches drift, and more of them are made."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.jobs.run_loop import STEPS
from rehearsal.runtime import Job
from rehearsal.tables import schemas as tables
from rehearsal.tables.contract import TableContract

NIGHT_OWL = 2  # a young customer


@pytest.fixture(scope="module")
def job(finished_loop: Any) -> Job:
    return finished_loop.job


def slice_of(job: Job, contract: TableContract) -> DataFrame:
    name = contract.schema.names[0]
    return job.store.read(contract).where(F.col(name) == job.run_id)


def test_the_young_are_the_segment_that_drifts_through_search(job: Job) -> None:
    young = job.store.read(tables.SEGMENTS).where(f"user_id = '{NIGHT_OWL}'").head()
    assert young is not None
    flagged = job.store.read(tables.ALERTS).where("segment_id IS NOT NULL")
    assert {row["segment_id"] for row in flagged.collect()} == {young["segment_id"]}
    top = job.store.read(tables.DRIFT_CONTRIBUTIONS).where("rank = 1").collect()
    assert {(row["segment_id"], row["request_type"]) for row in top} == {
        (young["segment_id"], "search")
    }
    assert top[0]["share"] > 0.9


def test_synthetic_requests_come_in_the_users_own_columns_and_types(job: Job) -> None:
    calls = job.spark.read.format("delta").load(job.settings.requests.path)
    stream = job.store.read(tables.AUGMENTED_REQUESTS)
    own = {field.name: field.dataType for field in calls.schema}
    assert {name: stream.schema[name].dataType for name in own} == own
    made = stream.where("rehearsal_origin = 'synthetic'")
    assert made.count() > 0
    young = job.store.read(tables.SEGMENTS).where(f"user_id = '{NIGHT_OWL}'").head()
    assert young is not None
    assert made.where(F.col("rehearsal_segment_id") != young["segment_id"]).isEmpty()
    assert made.where("kind != rehearsal_base_request_type").isEmpty()
    assert made.where("called_at < '2026-03-02' OR called_at >= '2026-03-30'").isEmpty()
    assert made.where("amount < 0 OR amount >= 10").isEmpty()
    # Every synthetic request is a real young customer's, so that it joins with a real profile.
    assert made.where("customer % 2 = 1").isEmpty()


def test_the_logged_requests_are_in_the_stream_unchanged(job: Job) -> None:
    calls = job.spark.read.format("delta").load(job.settings.requests.path)
    span = "called_at >= '2026-03-02' AND called_at < '2026-03-30'"
    logged = job.store.read(tables.AUGMENTED_REQUESTS).where("rehearsal_origin = 'logged'")
    assert logged.count() == 2400
    assert logged.select(calls.columns).exceptAll(calls.where(span)).isEmpty()


def test_weights_give_the_stream_the_logged_mix_again(job: Job) -> None:
    stream = job.store.read(tables.AUGMENTED_REQUESTS)
    by_type = stream.groupBy("rehearsal_segment_id", "rehearsal_base_request_type").agg(
        F.sum("rehearsal_weight").alias("weight"),
        F.count_if(F.col("rehearsal_origin") == "logged").alias("logged"),
    )
    for row in by_type.collect():
        assert row["weight"] == pytest.approx(row["logged"])


def test_the_augmented_stream_shows_more_disagreement_where_it_was_aimed(job: Job) -> None:
    effects = job.store.read(tables.EFFECTS).toPandas().set_index("scope")
    segment = effects.loc["segment"]
    assert segment["effect_per_1000"] > 0
    assert segment["effect_ci_low"] > 0
    assert segment["baseline_ci_low"] < segment["baseline_per_1000"] < segment["baseline_ci_high"]
    assert effects.loc["all", "n_augmented"] > effects.loc["all", "n_baseline"] == 2400


def test_the_console_says_what_was_found_and_where_to_look(finished_loop: Any) -> None:
    text = finished_loop.said
    assert "1 of 2 segments breach" in text
    assert "search" in text
    assert "report.html" in text
    assert "mlflow ui" in text


def test_another_run_over_the_same_period_uses_the_segments_that_hold_already(job: Job) -> None:
    made_by = {row["run_id"] for row in job.store.read(tables.SEGMENTATIONS).collect()}
    other = Job(job.spark, job.settings, "other")
    assert STEPS[0].step(other) == "the segments of run r1 hold already"
    assert other.segmentation.run_id == "r1"
    assert {row["run_id"] for row in job.store.read(tables.SEGMENTATIONS).collect()} == made_by


def test_the_notebook_goes_from_the_alert_to_the_requests(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "world.yml"
    config.write_text(job.settings.model_dump_json(by_alias=True))
    notebooks = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))
    names = {"spark": job.spark, "CONFIG": str(config), "RUN_ID": job.run_id}
    left = [runpy.run_path(str(notebook), init_globals=names) for notebook in notebooks]
    shown = capsys.readouterr().out
    assert "kpi_relative_change of yes_rate" in shown
    assert "no baseline" in shown, "the drift is there from the first window on"
    requests = shown[shown.index("|request_id|") :].split("\n\n")[0]
    assert requests.count("|search ") == 20, "of the type that brings the drift, with features"
    assert "|amount" in requests
    assert "breaches in all segments by day" in shown
    assert "effect_ci_low" in shown
    the_generators_are_shown(job, left[0], shown)


def the_generators_are_shown(job: Job, left: dict[str, Any], shown: str) -> None:
    row = job.store.read(tables.SYNTHESIZERS).where("segment_id IS NOT NULL").head()
    assert row is not None
    assert row["why"] in shown
    drawn = {name: left[name].to_dict()["datasets"] for name in ("scales", "beside", "over_rounds")}
    kinds = {row["kind"] for row in drawn["scales"]["gate"]}
    assert {"candidate", "limit", "real halves", "independent columns"} <= kinds
    assert sum(row["synthetic"] for row in drawn["beside"]["shares"]) == pytest.approx(1, abs=1e-3)
    assert drawn["over_rounds"]["rounds"] == [], "it is the first round"
    assert [shown.count(f"|{origin} ") for origin in ("logged", "synthetic")] == [5, 5]
    assert ("made" in left) == (row["served_by"] != "resampled")
