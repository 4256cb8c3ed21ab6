"""Steps 5 and 6 on a small log with the user's own column names and types."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from small_log import (
    N_REQUESTS,
    N_USERS,
    load_step,
    make_settings,
    requests_frame,
    segment_of,
    sorted_rows,
    write_inputs,
)

from rehearsal.generate.fit import Outcome, fit_generators
from rehearsal.generate.publish import publish
from rehearsal.generate.sampling.own_columns import synthetic_id
from rehearsal.generate.training.prepare import Prepared, Sources
from rehearsal.runtime import Job
from rehearsal.settings import Settings
from rehearsal.tables.contract import TableContract
from rehearsal.tables.schemas import (
    DRIFT_CONTRIBUTIONS,
    FIDELITY,
    GENERATOR_ROUNDS,
    GENERATOR_SCORES,
    SEGMENT_PROFILES,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)
from rehearsal.tables.source import admit_requests, open_source
from rehearsal.tables.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generate")


@pytest.fixture(scope="module")
def settings(spark: SparkSession, folder: Path, mlflow_template: Path) -> Settings:
    return make_settings(spark, folder, mlflow_template, requests_frame())


@pytest.fixture(scope="module")
def job(spark: SparkSession, settings: Settings) -> Job:
    made = Job(spark, settings, "r1")
    write_inputs(made)
    return made


@pytest.fixture(scope="module")
def summaries(job: Job) -> list[str]:
    steps = ("step_5_fit_generators", "step_6_synthesize_requests")
    return [load_step(name).step(job) for name in steps]


@pytest.fixture(scope="module")
def synthetic(job: Job, summaries: list[str]) -> pd.DataFrame:
    assert len(summaries) == 2
    return job.store.read(SYNTHETIC_REQUESTS, rehearsal_run_id="r1").toPandas()


def test_one_generator_is_of_all_segments_and_each_drifting_one_says_who_serves_it(
    job: Job, summaries: list[str]
) -> None:
    rows = {row["segment_id"]: row for row in sorted_rows(job, SYNTHESIZERS, "segment_id")}
    assert set(rows) == {None, "s/0", "s/1", "tiny"}
    general = rows.pop(None)
    assert general["status"] == "fitted", general["reason"]
    assert general["kind"] == "vae"
    assert len(general["curves"]) == general["n_epochs"]
    kept = general["curves"][general["best_epoch"] - 1]
    assert (kept["epoch"], kept["validation_nats"]) == tuple(
        general[name] for name in ("best_epoch", "validation_nats")
    )
    assert general["n_rows"] == N_REQUESTS == sum(row["n_rows"] for row in rows.values())
    assert {row["served_by"] for row in rows.values()} <= {"segment", "all"}
    assert rows["tiny"]["status"] == "insufficient_data"
    assert "generator.min_rows is 100" in rows["tiny"]["reason"]
    for name in ("s/0", "s/1"):
        assert rows[name]["status"] in ("fitted", "no_gain")
        assert rows[name]["base_nats"] >= rows[name]["validation_nats"]
        assert (rows[name]["weights"] is None) == (rows[name]["status"] == "no_gain")
        losses = {point["epoch"]: point["validation_nats"] for point in rows[name]["curves"]}
        gained = rows[name]["status"] == "fitted"
        kept = losses.get(rows[name]["best_epoch"])
        assert kept == (rows[name]["validation_nats"] if gained else None)
    assert summaries[0].startswith("3 drifting segments: ")


def test_every_candidate_shows_its_scores_between_both_ends_of_the_scale(
    job: Job, summaries: list[str]
) -> None:
    assert summaries
    rows = job.store.read(GENERATOR_SCORES, run_id="r1").toPandas()
    assert set(rows["segment_id"]) == {"s/0", "s/1", "tiny"}
    assert set(rows.loc[rows["segment_id"] == "tiny", "judged_on"]) == {
        "all drifting segments together"
    }
    c2st = rows[rows["score"] == "c2st"]
    assert c2st["value"].between(0.5, 1.0).all()
    own = rows[rows["segment_id"] == "s/0"].drop_duplicates("score").set_index("score")
    assert own.loc["c2st", "independent"] > own.loc["c2st", "half_vs_half"]
    assert own["n_test"].eq(own["n_test"].iloc[0]).all()
    n_logged = (requests_frame()["uid"].map(segment_of) == "s/0").sum()
    # Rows are held out one by one, by their ids: a binomial count, within six deviations.
    share = job.settings.generator.test_share
    assert abs(own["n_test"].iloc[0] - n_logged * share) < 6 * (n_logged * share) ** 0.5


def test_scratch_is_empty_after_the_step(summaries: list[str], settings: Settings) -> None:
    assert summaries
    left = [p for p in Path(settings.output.scratch_path).rglob("*") if p.is_file()]
    assert left == []


def test_a_step_killed_before_its_last_table_is_done_again_without_training_again(
    job: Job, summaries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = (SYNTHESIZERS, GENERATOR_SCORES, GENERATOR_ROUNDS)
    before = [told(job, contract) for contract in tables]
    kept: list[dict[str, int]] = []
    whole, scratch = Store.replace, Path(job.settings.output.scratch_path)

    def killed_once(store: Store, contract: TableContract, rows: Any, **of: Any) -> None:
        if contract is SYNTHESIZERS:
            files = scratch.rglob("*.checkpoint")
            # Whatever is trained writes what came of it.
            kept.append({str(file): file.stat().st_mtime_ns for file in files})
            if len(kept) == 1:
                raise KeyboardInterrupt
        whole(store, contract, rows, **of)

    monkeypatch.setattr(Store, "replace", killed_once)
    step = load_step("step_5_fit_generators").step
    with pytest.raises(KeyboardInterrupt):
        step(job)
    assert step(job) == summaries[0]
    killed, again = kept
    assert len(killed) >= 2, "the generator of all segments, and a bin of what segments add"
    assert again == killed
    assert [told(job, contract) for contract in tables] == before
    assert not list(scratch.rglob("*.checkpoint"))


def told(job: Job, contract: TableContract) -> list[str]:
    """The run's rows as text, in which NaN equals NaN."""
    return [str(row) for row in sorted_rows(job, contract, "segment_id")]


def test_the_budget_is_filled_with_the_types_asked_for(
    synthetic: pd.DataFrame, summaries: list[str]
) -> None:
    counts = synthetic.groupby(["rehearsal_segment_id", "rehearsal_base_request_type"]).size()
    # Half of 600 logged requests per segment, split 3 to 1.
    assert counts.to_dict() == {
        (segment, kind): n
        for segment in ("s/0", "s/1", "tiny") for kind, n in (("browse", 75), ("buy", 225))
    }  # fmt: skip
    assert "of 900 budgeted requests" in summaries[1]
    assert (synthetic["kind"] == synthetic["rehearsal_base_request_type"]).all()
    assert (synthetic["rehearsal_origin"] == "synthetic").all()


def test_every_synthetic_request_borrows_a_user_of_its_segment_who_sent_that_type(
    synthetic: pd.DataFrame,
) -> None:
    logged = requests_frame()
    seen = set(zip(logged["uid"], logged["kind"], strict=True))
    drawn = set(zip(synthetic["uid"], synthetic["kind"], strict=True))
    assert drawn <= seen
    assert (synthetic["uid"].map(segment_of) == synthetic["rehearsal_segment_id"]).all()
    assert len(set(synthetic["uid"])) > N_USERS / 2


def test_columns_have_the_users_names_and_types_and_values_seen(
    job: Job, synthetic: pd.DataFrame
) -> None:
    log = open_source(job.spark, job.settings.requests, "requests").schema
    written = job.store.read(SYNTHETIC_REQUESTS, rehearsal_run_id="r1").schema
    for name in log.names:
        assert written[name].dataType == log[name].dataType, name
    logged = requests_frame()
    for name in ("items", "due", "at", "amount"):
        low, high = logged[name].min(), logged[name].max()
        values = synthetic[name].dropna()
        values = values.astype(float) if name == "amount" else values
        assert values.min() >= (round(low, 2) if name == "amount" else low)
        assert values.max() <= (round(high, 2) if name == "amount" else high)
    assert synthetic["items"].notna().all()
    assert set(synthetic["device"].dropna()) <= {"phone", "desk", "tv"}
    assert set(synthetic["label"]) <= {"yes", "no"}
    assert (synthetic["due"].dropna().dt.normalize() == synthetic["due"].dropna()).all()


def test_request_ids_are_unique_and_apart_from_the_logs(synthetic: pd.DataFrame) -> None:
    assert synthetic["req no"].is_unique
    assert synthetic["req no"].max() < 0


def test_the_column_mapping_admits_every_synthetic_request(job: Job, summaries: list[str]) -> None:
    assert summaries
    written = job.store.read(SYNTHETIC_REQUESTS, rehearsal_run_id="r1")
    admitted = admit_requests(written, job.settings, "synthetic_requests")
    assert admitted.rejected.count() == 0
    assert admitted.rows.count() == 900


def test_fidelity_shares_add_up_per_segment_and_column(job: Job, summaries: list[str]) -> None:
    assert summaries
    rows = job.store.read(FIDELITY, run_id="r1").toPandas()
    groups = rows.groupby(["segment_id", "column_name"])
    shares = groups[["logged_share", "synthetic_share"]].sum()
    assert np.allclose(shares, 1.0)
    assert set(groups["n_synthetic"].sum()) == {300}
    names = {"amount", "items", "device", "label", "due (week)", "requested_at (time of day)"}
    assert names <= set(rows["column_name"])
    device = rows[(rows["column_name"] == "device") & (rows["segment_id"] == "s/0")]
    assert {"phone", "desk", "tv", "missing"} <= set(device["label"])
    assert not rows.duplicated(["segment_id", "column_name", "bin"]).any()


def test_synthesizing_again_leaves_the_same_rows(job: Job, summaries: list[str]) -> None:
    contracts = ((SYNTHETIC_REQUESTS, "`req no`"), (FIDELITY, "bin"))
    before = [sorted_rows(job, contract, by) for contract, by in contracts]
    assert load_step("step_6_synthesize_requests").step(job) == summaries[1]
    assert [sorted_rows(job, contract, by) for contract, by in contracts] == before


def test_one_mlflow_run_holds_the_curves_and_a_card_per_segment(
    job: Job, summaries: list[str]
) -> None:
    assert summaries
    import mlflow

    runs = mlflow.search_runs(experiment_names=["rehearsal"], output_format="list")
    assert len(runs) == 1
    client = mlflow.MlflowClient()
    history = client.get_metric_history(runs[0].info.run_id, "all/validation_nats")
    assert [metric.step for metric in history] == list(range(1, len(history) + 1))
    cards = {file.path for file in client.list_artifacts(runs[0].info.run_id, "cards")}
    assert "cards/tiny.md" in cards
    assert len(cards) == 3


def test_the_logged_model_samples_from_its_stored_files(job: Job, summaries: list[str]) -> None:
    assert summaries
    import mlflow

    row = sorted_rows(job, SYNTHESIZERS, "segment_id")[0]
    model = mlflow.pyfunc.load_model(f"runs:/{row['mlflow_run_id']}/synthesizers")
    asked = pd.DataFrame({"request_type": ["buy"] * 40, "age": [30.0] * 40, "job": ["cook"] * 40})
    made = model.predict(asked, params={"seed": 3, "segment_id": "s/1"})
    assert len(made) == 40
    assert {"amount", "items", "device", "due", "requested_at", "label"} == set(made.columns)
    assert made.equals(model.predict(asked, params={"seed": 3, "segment_id": "s/1"}))
    with pytest.raises(Exception, match="no segment 'elsewhere'"):
        model.predict(asked, params={"segment_id": "elsewhere"})


def test_without_drift_both_steps_write_empty_slices_and_say_so(
    spark: SparkSession, settings: Settings
) -> None:
    calm = Job(spark, settings, "calm")
    write_inputs(calm, drifting=())
    assert "no segment drifts" in load_step("step_5_fit_generators").step(calm)
    assert "nothing to synthesize" in load_step("step_6_synthesize_requests").step(calm)
    assert sorted_rows(calm, SYNTHETIC_REQUESTS, "`req no`") == []
    assert sorted_rows(calm, FIDELITY, "bin") == []


def prepare(job: Job, run_id: str = "r1", **generator: Any) -> Prepared:
    changed = job.settings.generator.model_copy(update=generator)
    settings = job.settings.model_copy(update={"generator": changed})
    contributions = job.store.read(DRIFT_CONTRIBUTIONS, run_id=run_id).toPandas()
    profiles = job.store.read(SEGMENT_PROFILES, run_id=run_id).toPandas()
    return Prepared(job.spark, settings, Sources(contributions, job.segments(), profiles))


def fit(job: Job, name: str, **generator: Any) -> Outcome:
    return fit_generators(prepare(job, **generator), name, {}, lambda _: None)


def test_a_generator_that_learnt_nothing_is_refused_and_logged_requests_serve_again(
    job: Job, summaries: list[str]
) -> None:
    assert summaries
    found = fit(job, "junk", max_epochs=1, learning_rate=1e-9)
    served = {row["segment_id"]: row for row in found.synthesizers[1:]}
    assert {row["served_by"] for row in served.values()} == {"resampled"}
    assert "no generator passed its gate" in served["s/0"]["why"]
    assert "gate.max_c2st" in served["s/0"]["why"]
    assert set(pd.DataFrame(found.rounds)["kept"]) == {"resampled"}


def test_codes_in_spark_equal_codes_in_numpy(job: Job) -> None:
    prepared = prepare(job)
    codec = prepared.codec
    edges = prepared.rows.limit(1).withColumns(
        {"items": F.lit(1e9), "amount": F.lit(-1.0), "device": F.lit("new"), "job": F.lit(None)}
    )
    rows = prepared.rows.unionByName(edges).select(
        "*", *(c.alias(n) for n, c in codec.expressions().items())
    )
    frame = rows.toPandas()
    spark_codes = frame[[token.name for token in codec.tokens]].to_numpy()
    assert np.array_equal(spark_codes, codec.encode(frame))
    assert (spark_codes < np.array(codec.sizes)).all()
    prepared.close()


def test_text_ids_carry_the_run_and_the_number(spark: SparkSession) -> None:
    frame = spark.range(0, 3).withColumnRenamed("id", "rehearsal_number")
    kind = frame.select(F.lit("x").alias("x")).schema["x"].dataType
    ids = [row[0] for row in frame.select(synthetic_id(kind, "r1")).collect()]
    assert len(set(ids)) == 3
    assert all(name.startswith("syn-") for name in ids)
    assert ids[2].endswith("-000000002")


def test_another_fit_under_the_same_run_id_replaces_its_mlflow_run(
    job: Job, summaries: list[str]
) -> None:
    assert summaries
    rows = [row.asDict(recursive=True) for row in sorted_rows(job, SYNTHESIZERS, "segment_id")]
    scores = job.store.read(GENERATOR_SCORES, run_id="r1").toPandas()
    known = rows[0]["mlflow_run_id"]
    assert publish(job.settings, "r1", rows, scores) == known
    rows[1] = rows[1] | {"synthesizer_version": "other"}
    assert publish(job.settings, "r1", rows, scores) != known
    import mlflow

    assert mlflow.get_run(known).info.lifecycle_stage == "deleted"
    rows[0] = rows[0] | {"status": "failed"}
    assert publish(job.settings, "r1", rows, scores) is None
