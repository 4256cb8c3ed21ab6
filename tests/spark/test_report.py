"""The report step over a run's tables: read, written, logged, and honest about what is missing."""

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import Row

from rehearsal.errors import ContractError
from rehearsal.jobs import report
from rehearsal.report.data import read_report_data
from rehearsal.report.write import write_report
from rehearsal.runtime import Job
from rehearsal.tables.contract import TableContract
from rehearsal.tables.schemas import (
    DRIFT_CONTRIBUTIONS,
    DRIFT_SCORES,
    REPLAYS,
    SEGMENT_PROFILES,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)

JUDGED = [(None, 0.01, "green"), ("s1", 0.2, "red"), ("s2", None, "insufficient_data")]
WEEKS = [datetime(2026, 3, 2), datetime(2026, 3, 9)]


def put(job: Job, contract: TableContract, rows: list[Row], **slice_values: str) -> None:
    """Write rows that give some of the contract's columns; the others are NULL."""
    full = [tuple(row.asDict().get(name) for name in contract.schema.names) for row in rows]
    frame = job.spark.createDataFrame(full, contract.schema)
    job.store.replace(contract, frame.drop(*slice_values), **slice_values)


def put_first_half(job: Job) -> None:
    models = {"production_model": "models:/m/1", "experimental_model": "models:/m/2"}
    logged = [Row(request_id=f"q{i}", requested_at=WEEKS[0], **models) for i in range(3)]
    put(job, REPLAYS, logged, run_id="r1", origin="logged")
    profiles = [
        Row(
            segment_id=s, segment_name=s.upper(), n_users=n, user_share=n / 10, feature=f, rank=rank
        )
        for s, n in (("s1", 4), ("s2", 6))
        for rank, f in enumerate((f"feature {i}" for i in range(20)), start=1)
    ]
    put(job, SEGMENT_PROFILES, profiles, segmentation_version="r1")
    scores = [
        Row(
            segment_id=s, window_start=week, granularity="week", output="class", metric="kl_nats",
            score_bias_corrected=score, threshold=0.05, status=status, n_requests=300,
        )
        for s, score, status in JUDGED
        for week in WEEKS
    ]  # fmt: skip
    put(job, DRIFT_SCORES, scores, run_id="r1")


def put_second_half(job: Job) -> None:
    part = Row(segment_id="s1", output="class", request_type="buy", share=1.0, rank=1)
    put(job, DRIFT_CONTRIBUTIONS, [part], run_id="r1")
    curve = [Row(epoch=e, train_nats=3.0 / e, validation_nats=4.0 / e, kl_nats=0.1) for e in (1, 2)]
    fitted = Row(segment_id="s1", status="fitted", n_rows=90, n_epochs=2, curves=curve)
    put(job, SYNTHESIZERS, [fitted], run_id="r1")
    made = [
        Row(
            rehearsal_segment_id="s1",
            rehearsal_base_request_type=kind,
            rehearsal_origin="synthetic",
        )
        for kind in ("buy", "buy", "search")
    ]
    put(job, SYNTHETIC_REQUESTS, made, rehearsal_run_id="r1")


def test_a_run_that_was_never_scored_is_refused_with_the_way_out(job: Job) -> None:
    with pytest.raises(ContractError, match="`rehearsal replay` makes it"):
        report.step(job)


def test_the_step_writes_and_logs_the_page_with_and_without_later_steps(job: Job) -> None:
    place = Path(job.settings.output.report)
    put_first_half(job)
    assert write_report(job) == place
    assert "No effect was measured in this run" in place.read_text(encoding="utf-8")
    put_second_half(job)
    assert report.step(job).endswith("report.html: 1 of 2 segments drift")
    page = place.read_text(encoding="utf-8")
    assert "1 of 2 segments drifts: s1 (S1) since 2026-03-02, driven by buy (100%)" in page

    data = read_report_data(job)
    assert (data.n_requests, data.production_model) == (3, "models:/m/1")
    assert data.profiles.groupby("segment_id").size().to_dict() == {"s1": 8, "s2": 8}
    assert list(data.curves["epoch"]) == [1, 2]
    generated = data.generated.set_index("request_type")["n_synthetic"].to_dict()
    assert generated == {"buy": 2, "search": 1}

    import mlflow

    mlflow.set_tracking_uri(job.settings.mlflow.tracking_uri)
    (run,) = mlflow.search_runs(
        experiment_names=[job.settings.mlflow.experiment], output_format="list"
    )
    assert run.data.metrics["n_breaching_segments"] == 1
    logged = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/report.html"))
    assert logged.read_bytes() == place.read_bytes()
