"""Steps 5 and 6 on a small log with the user's own column names and types."""

import importlib.util
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.configure import parse_settings
from rehearsal.generate.codec.fit_codec import codec_fields, fit_codec
from rehearsal.generate.sampling.own_columns import synthetic_id
from rehearsal.generate.training.fit import train_segments
from rehearsal.generate.training.publish import publish
from rehearsal.generate.training.stage import (
    logged_rows,
    scratch_folder,
    stage_snapshots,
    training_rows,
)
from rehearsal.runtime import Job
from rehearsal.settings import Settings
from rehearsal.tables.schemas import (
    DRIFT_CONTRIBUTIONS,
    FIDELITY,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)
from rehearsal.tables.segment_history import record, restore
from rehearsal.tables.source import admit_requests, open_source

START = datetime(2024, 3, 1)
N_USERS, N_REQUESTS = 60, 1500
KINDS = ["browse", "buy", "search"]


def requests_frame() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    n = N_REQUESTS
    kind = rng.choice(KINDS, n, p=[0.5, 0.3, 0.2])
    device = np.array(["phone", "desk", "tv"], dtype=object)[rng.integers(0, 3, n)]
    device[rng.random(n) < 0.1] = None
    device[:3] = "prototype"  # rarer than min_count: never given away
    seconds = rng.integers(0, 20 * 86_400, n)
    due = START + pd.to_timedelta(rng.integers(0, 30, n), unit="D")
    return pd.DataFrame(
        {
            "req no": np.arange(1, n + 1),
            "uid": rng.integers(1, N_USERS + 1, n),
            "kind": kind,
            "at": START + pd.to_timedelta(seconds, unit="s"),
            "amount": np.where(kind == "buy", rng.gamma(2.0, 30.0, n), 0.0),
            "items": rng.integers(1, 90, n).astype("int32"),
            "device": device,
            "due": pd.Series(due).where(rng.random(n) > 0.2),
            "label": np.where(kind == "buy", "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generate")


@pytest.fixture(scope="module")
def settings(spark: SparkSession, folder: Path, mlflow_template: Path) -> Settings:
    (folder / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    requests = spark.createDataFrame(requests_frame())
    requests = requests.withColumn("amount", F.col("amount").cast("decimal(10,2)"))
    requests.write.mode("overwrite").parquet(str(folder / "requests"))
    users = pd.DataFrame({"uid": range(1, N_USERS + 1)})
    users["age"] = 20 + users["uid"] % 40
    users["job"] = np.where(users["uid"] % 3 == 0, "cook", "guard")
    spark.createDataFrame(users[users["uid"] != 7]).write.parquet(str(folder / "users"))
    columns = {
        "request_id": "req no", "user_id": "uid", "request_type": "kind", "requested_at": "at",
        "continuous": ["amount", "items"], "categorical": ["device"], "datetime": ["due"],
        "outcome": "label",
    }  # fmt: skip
    stored = {"stored": {"value": "amount"}}
    return parse_settings(
        {
            "seed": 4,
            "requests": {
                "path": str(folder / "requests"), "format": "parquet", "columns": columns
            },
            "users": {
                "path": str(folder / "users"), "format": "parquet",
                "columns": {"user_id": "uid", "continuous": ["age"], "categorical": ["job"]},
            },
            "models": {"production": stored, "experimental": stored},
            "output": {"path": str(folder / "out put")},
            "mlflow": {
                "tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifacts": str(folder / "art")
            },
            "replay": {"start": START, "end": START + timedelta(days=20)},
            "generator": {
                "min_rows": 100, "bins": 8, "hidden": 32, "max_epochs": 3, "batch_rows": 64
            },
            "augment": {"synthetic_share": 0.5, "max_request_types": 2},
        }
    )  # fmt: skip


def load_step(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "jobs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segment_of(user: int) -> str:
    return "tiny" if user == 1 else f"s/{user % 2}"


def write_inputs(job: Job, *, drifting: bool = True) -> None:
    held = [(str(u), segment_of(u), False, False) for u in range(1, N_USERS + 1)]
    names = "user_id string, segment_id string, is_noise boolean, known boolean"
    restore(job.store, "main", [])
    record(job.store, "main", job.run_id, START, job.spark.createDataFrame(held, names))
    rows = [
        (job.run_id, segment, "value", "distribution", kind, n, share, share * 9.0, share, 9.0,
         "kl_nats", share, share, rank)
        for segment in (("s/0", "s/1", "tiny") if drifting else ())
        for kind, n, share, rank in [("buy", 300, 0.9, 1), ("browse", 200, 0.3, 2),
                                     ("search", 100, -0.2, 3)]
    ]  # fmt: skip
    schema = (
        "segmentation_version string, segment_id string, output string, test string, "
        "request_type string, n_requests bigint, request_share double, contribution double, "
        "share double, statistic double, size_metric string, size_contribution double, "
        "size_share double, rank int"
    )
    frame = job.spark.createDataFrame(rows, schema)
    job.store.replace(DRIFT_CONTRIBUTIONS, frame, run_id=job.run_id)


def sorted_rows(job: Job, contract: Any, by: str) -> list[Any]:
    slice_key = contract.slice_by[0]
    rows = job.store.read(contract, **{slice_key: job.run_id})
    return rows.orderBy(by, F.xxhash64(*(F.col(f"`{name}`") for name in rows.columns))).collect()


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


def test_each_breaching_segment_has_its_row_with_status_and_curves(
    job: Job, summaries: list[str]
) -> None:
    assert summaries[0] == "2 fitted, 1 insufficient data"
    rows = {row["segment_id"]: row for row in sorted_rows(job, SYNTHESIZERS, "segment_id")}
    assert set(rows) == {"s/0", "s/1", "tiny"}
    fitted = rows["s/0"]
    assert fitted["status"] == "fitted"
    assert len(fitted["curves"]) == fitted["n_epochs"] == 3
    assert fitted["validation_nats"] == min(p["validation_nats"] for p in fitted["curves"])
    assert rows["tiny"]["status"] == "insufficient_data"
    assert "generator.min_rows is 100" in rows["tiny"]["reason"]
    assert rows["tiny"]["weights"] is None
    expected = {segment_of(u) for u in requests_frame()["uid"]}
    assert expected == set(rows)
    assert sum(row["n_rows"] for row in rows.values()) == N_REQUESTS


def test_scratch_is_empty_after_the_step(summaries: list[str], settings: Settings) -> None:
    assert summaries
    left = [p for p in Path(settings.output.scratch_path).rglob("*") if p.is_file()]
    assert left == []


def test_the_budget_is_filled_with_the_types_asked_for(
    synthetic: pd.DataFrame, summaries: list[str]
) -> None:
    counts = synthetic.groupby(["rehearsal_segment_id", "rehearsal_base_request_type"]).size()
    # Half of 600 logged requests per segment, split 3 to 1.
    assert counts.to_dict() == {
        ("s/0", "browse"): 75, ("s/0", "buy"): 225, ("s/1", "browse"): 75, ("s/1", "buy"): 225
    }  # fmt: skip
    assert "600 of 600" in summaries[1]
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
    assert admitted.rows.count() == 600


def test_fidelity_shares_add_up_per_segment_and_column(job: Job, summaries: list[str]) -> None:
    assert summaries
    rows = job.store.read(FIDELITY, run_id="r1").toPandas()
    groups = rows.groupby(["segment_id", "column_name"])
    shares = groups[["logged_share", "synthetic_share"]].sum()
    assert np.allclose(shares, 1.0)
    assert set(groups["n_synthetic"].sum()) == {300}
    names = {"amount", "items", "device", "label", "due (day)", "requested_at (time of day)"}
    assert names <= set(rows["column_name"])
    device = rows[(rows["column_name"] == "device") & (rows["segment_id"] == "s/0")]
    assert {"phone", "desk", "tv", "missing"} <= set(device["label"])
    assert not rows.duplicated(["segment_id", "column_name", "bin"]).any()


def test_a_rerun_leaves_the_same_rows_and_logs_nothing_twice(
    job: Job, summaries: list[str]
) -> None:
    contracts = ((SYNTHESIZERS, "segment_id"), (SYNTHETIC_REQUESTS, "req no"), (FIDELITY, "bin"))
    before = [sorted_rows(job, contract, f"`{by}`") for contract, by in contracts]
    again = [
        load_step(n).step(job) for n in ("step_5_fit_generators", "step_6_synthesize_requests")
    ]
    assert again == summaries
    after = [sorted_rows(job, contract, f"`{by}`") for contract, by in contracts]
    assert after == before
    import mlflow

    runs = mlflow.search_runs(experiment_names=["rehearsal"], output_format="list")
    assert len(runs) == 2
    for run in runs:
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "kl_nats")
        assert [metric.step for metric in history] == [1, 2, 3]


def test_the_logged_model_samples_from_its_stored_files(job: Job, summaries: list[str]) -> None:
    assert summaries
    import mlflow

    row = sorted_rows(job, SYNTHESIZERS, "segment_id")[0]
    client = mlflow.MlflowClient()
    outputs = client.get_run(row["mlflow_run_id"]).outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{outputs[0].model_id}")
    asked = pd.DataFrame({"request_type": ["buy"] * 40, "age": [30.0] * 40, "job": ["cook"] * 40})
    made = model.predict(asked, params={"seed": 3})
    assert len(made) == 40
    assert {"amount", "items", "device", "due", "requested_at", "label"} == set(made.columns)
    assert made.equals(model.predict(asked, params={"seed": 3}))


def test_without_drift_both_steps_write_empty_slices_and_say_so(
    spark: SparkSession, settings: Settings
) -> None:
    calm = Job(spark, settings, "calm")
    write_inputs(calm, drifting=False)
    assert "no segment drifts" in load_step("step_5_fit_generators").step(calm)
    assert "nothing to synthesize" in load_step("step_6_synthesize_requests").step(calm)
    assert sorted_rows(calm, SYNTHETIC_REQUESTS, "`req no`") == []
    assert sorted_rows(calm, FIDELITY, "bin") == []


@pytest.fixture(scope="module")
def prepared(job: Job) -> tuple[DataFrame, Any]:
    segments = job.segments()
    rows = logged_rows(job.spark, job.settings, segments, ["s/0", "s/1"])
    logged = training_rows(rows, job.settings.generator, 9)
    schema = open_source(job.spark, job.settings.requests, "requests").schema
    fields = codec_fields(job.settings, schema)
    return logged, fit_codec(logged, fields, job.settings.generator, 9, {})


def test_a_segment_that_fails_does_not_take_the_others_down(
    job: Job, prepared: tuple[DataFrame, Any]
) -> None:
    logged, codec = prepared
    generator = job.settings.generator.model_copy(update={"max_epochs": 1})
    with scratch_folder(job.settings, "broken") as scratch:
        snapshots = stage_snapshots(logged, codec, ["s/0", "s/1"], scratch, 9)
        broken = Path(unquote(urlparse(snapshots[0].training.urls[0]).path))
        broken.write_bytes(b"not parquet")
        broken.with_name(f".{broken.name}.crc").unlink()
        rows = train_segments(job.spark, snapshots, codec, generator, 9)
    assert [row["status"] for row in rows] == ["failed", "fitted"]
    assert "Parquet" in rows[0]["reason"] or "parquet" in rows[0]["reason"]
    assert rows[1]["weights"]


def test_codes_in_spark_equal_codes_in_numpy(prepared: tuple[DataFrame, Any]) -> None:
    logged, codec = prepared
    edges = logged.limit(1).withColumns(
        {"items": F.lit(1e9), "amount": F.lit(-1.0), "device": F.lit("new"), "job": F.lit(None)}
    )
    rows = logged.unionByName(edges).select(
        "*", *(c.alias(n) for n, c in codec.expressions().items())
    )
    frame = rows.toPandas()
    spark_codes = frame[[token.name for token in codec.tokens]].to_numpy()
    assert np.array_equal(spark_codes, codec.encode(frame))
    assert (spark_codes < np.array(codec.sizes)).all()


def test_the_codec_and_the_parts_do_not_depend_on_partitioning(
    job: Job, prepared: tuple[DataFrame, Any]
) -> None:
    logged, codec = prepared
    schema = open_source(job.spark, job.settings.requests, "requests").schema
    fields = codec_fields(job.settings, schema)
    shuffled = logged.repartition(7, "items")
    assert fit_codec(shuffled, fields, job.settings.generator, 9, {}) == codec
    parts = logged.groupBy("segment_id", "part").count().collect()
    counts = {(row["segment_id"], row["part"]): row["count"] for row in parts}
    for segment in ("s/0", "s/1"):
        held_out, rest = counts[segment, "validation"], counts[segment, "training"]
        assert held_out == round((held_out + rest) * job.settings.generator.validation_share)


def test_max_rows_caps_a_segment(job: Job) -> None:
    segments = job.segments()
    rows = logged_rows(job.spark, job.settings, segments, ["s/0", "s/1"])
    capped = job.settings.generator.model_copy(update={"max_rows": 100})
    counts = training_rows(rows, capped, 9).groupBy("segment_id", "part").count().collect()
    assert sorted(tuple(row) for row in counts) == [
        ("s/0", "training", 85), ("s/0", "validation", 15),
        ("s/1", "training", 85), ("s/1", "validation", 15),
    ]  # fmt: skip


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
    row = sorted_rows(job, SYNTHESIZERS, "segment_id")[0].asDict(recursive=True)
    assert publish(job.settings, "r1", row) == row["mlflow_run_id"]
    other = publish(job.settings, "r1", row | {"synthesizer_version": "other"})
    assert other != row["mlflow_run_id"]
    import mlflow

    assert mlflow.get_run(row["mlflow_run_id"]).info.lifecycle_stage == "deleted"
    assert publish(job.settings, "r1", row | {"status": "failed"}) is None
