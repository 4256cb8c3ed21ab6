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
    DRIFT_BINS,
    DRIFT_CONTRIBUTIONS,
    DRIFT_COUNTS,
    DRIFT_ONSETS,
    DRIFT_SCORES,
    EFFECTS,
    GENERATOR_ROUNDS,
    GENERATOR_SCORES,
    REPLAYS,
    SEGMENT_MIGRATIONS,
    SEGMENT_PROFILES,
    SEGMENT_SAMPLES,
    SEGMENTATIONS,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)

JUDGED = [(None, 0.01, "green"), ("s1", 0.2, "red"), ("s2", None, "insufficient_data")]
FEATURES = [f"feature {i}" for i in range(20)]
WEEKS = [datetime(2026, 3, 2), datetime(2026, 3, 9)]


def put(job: Job, contract: TableContract, rows: list[Row], **slice_values: str) -> None:
    """Write rows that give some of the contract's columns; the others are NULL."""
    full = [tuple(row.asDict().get(name) for name in contract.schema.names) for row in rows]
    frame = job.spark.createDataFrame(full, contract.schema)
    job.store.replace(contract, frame.drop(*slice_values), **slice_values)


def put_segments(job: Job) -> None:
    """The segments in force are those of an earlier run."""
    panel = Row(
        k=2, silhouette=0.4, davies_bouldin=1.1, calinski_harabasz=90.0, cost=2.0,
        smallest_share=0.4,
    )  # fmt: skip
    born = Row(event="born", segment_id="s2", other_ids=["s1"], share=0.9, n_users=6)
    made = Row(
        segmentation_version="v1", method="dbscan", decision="cold_refit", reason="mix", k=2,
        valid_from=WEEKS[0], as_of=WEEKS[0], n_users=10, n_moved=1, n_new=0, n_gone=0, psi=0.3,
        silhouette=0.41, k_curve=[panel], k_distances=[0.1, 0.2, 0.9], events=[born],
        model_json='{"reach": 0.55}', settings_json='{"dbscan": {"eps": 0.7}}',
    )  # fmt: skip
    put(job, SEGMENTATIONS, [made], segmentation="main", run_id="r0")
    flow = Row(
        previous_run_id="r-1", from_segment_id="s1", to_segment_id=None, n_users=3, status="usual"
    )
    put(job, SEGMENT_MIGRATIONS, [flow], segmentation="main", run_id="r0")
    user = Row(segment_id="s1", user_id="c7", x=0.1, y=0.2, distance=0.3, prototype_rank=1)
    put(job, SEGMENT_SAMPLES, [user], run_id="r0")


def put_first_half(job: Job) -> None:
    models = {"production_model": "models:/m/1", "experimental_model": "models:/m/2"}
    logged = [Row(request_id=f"q{i}", requested_at=WEEKS[0], **models) for i in range(3)]
    put(job, REPLAYS, logged, run_id="r1", origin="logged")
    profiles = [
        Row(
            segment_id=s, segment_name=s.upper(), n_users=n, user_share=n / 10, stability=0.8,
            feature=f, effect_size=0.5, rank=rank,
        )
        for s, n in (("s1", 4), ("s2", 6))
        for rank, f in enumerate(FEATURES, start=1)
    ]  # fmt: skip
    put(job, SEGMENT_PROFILES, profiles, run_id="r0")
    scores = [
        Row(
            segment_id=s, window_start=week, granularity="week", output="class", metric="kl_nats",
            test="distribution", bins_version="b1",
            score_bias_corrected=score, threshold=0.05, status=status, n_requests=300,
        )
        for s, score, status in JUDGED
        for week in WEEKS
    ]  # fmt: skip
    put(job, DRIFT_SCORES, scores, run_id="r1")
    bins = [
        Row(output="value", edges=[], classes=[]),
        Row(output="class", edges=[], classes=["a", "b"]),
    ]
    put(job, DRIFT_BINS, bins, bins_version="b1")
    counts = [
        Row(
            segment_id=s, window_start=week, request_type=kind, output=output,
            joint_bins=[n, 1, 2, n] if output == "class" and kind is None else [],
        )
        for s, n in (("s1", 10), ("s2", 20))
        for week in WEEKS
        for kind in (None, "buy")
        for output in ("class", "log_loss")
    ]  # fmt: skip
    put(job, DRIFT_COUNTS, counts, run_id="r1")
    since = Row(
        segment_id="s1", output="class", test="distribution", window_start=WEEKS[1],
        earliest_window_start=WEEKS[0], latest_window_start=WEEKS[1], last_window_start=WEEKS[1],
    )  # fmt: skip
    put(job, DRIFT_ONSETS, [since], run_id="r1")


def put_second_half(job: Job) -> None:
    part = Row(
        segment_id="s1", output="class", test="distribution", size_metric="kl_nats",
        request_type="buy", share=1.0, rank=1,
    )  # fmt: skip
    put(job, DRIFT_CONTRIBUTIONS, [part], run_id="r1")
    curve = [
        Row(epoch=e, train_nats=3.0 / e, validation_nats=4.0 / e, kl_nats=0.1, membership=0.01)
        for e in (1, 2)
    ]
    base = Row(segment_id=None, status="fitted", n_rows=900, n_epochs=2, curves=curve)
    fitted = Row(segment_id="s1", status="fitted", served_by="segment", n_rows=90, curves=curve)
    put(job, SYNTHESIZERS, [base, fitted], run_id="r1")
    score = Row(segment_id="s1", candidate="segment", judged_on="s1", n_test=80, score="c2st",
                direction="at most",
                value=0.6, half_vs_half=0.5, independent=0.9, limit=0.75, passed=True)  # fmt: skip
    put(job, GENERATOR_SCORES, [score], run_id="r1")
    put_rounds(job)
    made = [
        Row(
            rehearsal_segment_id="s1",
            rehearsal_base_request_type=kind,
            rehearsal_origin="synthetic",
        )
        for kind in ("buy", "buy", "search")
    ]
    put(job, SYNTHETIC_REQUESTS, made, rehearsal_run_id="r1")


def put_rounds(job: Job) -> None:
    """Three rounds of the history, the last one after the run of the report, and one of another."""
    for number, (run_id, segmentation) in enumerate(
        (("r0", "main"), ("r1", "main"), ("r2", "main"), ("x", "other")), start=1
    ):
        one = Row(segment_id="s1", round=number, segmentation=segmentation, kept="fresh", why="w",
                  fresh_c2st_auc=0.6, serving_c2st_auc=0.7)  # fmt: skip
        put(job, GENERATOR_ROUNDS, [one], run_id=run_id)
    effects = [
        Row(scope=scope, segment_id="s1", request_type=kind, effect_per_1000=rate)
        for scope, kind, rate in (("segment", None, 12.5), ("cell", "buy", 70.0))
    ]
    put(job, EFFECTS, effects, run_id="r0")


def test_a_run_that_was_never_scored_is_refused_with_the_way_out(job: Job) -> None:
    with pytest.raises(ContractError, match="`rehearsal replay` makes it"):
        report.step(job)


def test_the_step_writes_and_logs_the_page_with_and_without_later_steps(job: Job) -> None:
    place = Path(job.settings.output.report)
    put_segments(job)
    put_first_half(job)
    assert write_report(job) == place
    assert "No effect was measured in this run" in place.read_text(encoding="utf-8")
    put_second_half(job)
    assert report.step(job).endswith("report.html: 1 of 2 segments drift")
    page = place.read_text(encoding="utf-8")
    assert "1 of 2 segments drifts: s1 (S1) since 2026-03-09, driven by buy (100%)" in page

    data = read_report_data(job)
    assert (data.n_requests, data.production_model) == (3, "models:/m/1")
    assert data.profiles.groupby("segment_id").size().to_dict() == {"s1": 20, "s2": 20}
    segmentation = data.segmentation.iloc[0]
    assert (segmentation["run_id"], segmentation["eps"]) == ("r0", 0.55)
    assert segmentation["as_of"] == WEEKS[0]
    assert list(data.k_curve["k"]) == [2]
    assert list(data.k_distances["distance"]) == [0.1, 0.2, 0.9]
    assert list(data.events.iloc[0]) == ["born", "s2", ["s1"], 0.9, 6]
    assert list(data.migrations["from_segment_id"]) == ["s1"]
    assert list(data.samples["user_id"]) == ["c7"]
    assert [list(data.curves[name]) for name in ("segment_id", "epoch")] == [
        [None, None, "s1", "s1"], [1, 2, 1, 2],
    ]  # fmt: skip
    assert list(data.gate[["candidate", "score", "passed"]].iloc[0]) == ["segment", "c2st", True]
    rounds = data.rounds[["run_id", "effect_per_1000"]].astype(object)
    assert rounds.where(rounds.notna(), None).to_numpy().tolist() == [["r0", 12.5], ["r1", None]]
    joints = [
        (one.segment_id, one.output, one.window_start, list(one.joint_bins))
        for one in data.joints.itertuples()
    ]
    assert joints == [
        (segment, "class", week, [n, ones, twos, n])
        for segment, n, ones, twos in ((None, 30, 2, 4), ("s1", 10, 1, 2), ("s2", 20, 1, 2))
        for week in WEEKS
    ]
    assert data.bins["classes"].map(list).tolist() == [["a", "b"], []]
    generated = data.generated.set_index("request_type")["n_synthetic"].to_dict()
    assert generated == {"buy": 2, "search": 1}

    import mlflow

    mlflow.set_tracking_uri(job.settings.mlflow.tracking_uri)
    (run,) = mlflow.search_runs(
        experiment_names=[job.settings.mlflow.experiment], output_format="list"
    )
    assert run.data.metrics["n_breaching_segments"] == 1
    assert run.data.metrics["moved_user_share"] == 0.1
    logged = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/report.html"))
    assert logged.read_bytes() == place.read_bytes()
