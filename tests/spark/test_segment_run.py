"""Three periods of one history of segments: kept, people move, a group is born; nothing twice.

900 users, 30 requests in 28 days each, as three groups with a favourite request type each. Second
period: 60 of the searchers become browsers. Third: 300 new users who mostly pay.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.configure import parse_settings
from rehearsal.errors import ContractError
from rehearsal.runtime import Job
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.run import NAME, segment_users
from rehearsal.segments.stream import assign_batches
from rehearsal.tables import schemas as tables
from rehearsal.tables.segment_history import segments_as_of
from rehearsal.tracking import tracked_run

ENDS = [datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=28 * i) for i in range(4)]
RUNS = ("first", "second", "third")  # each describes the period that ends with it
SEGMENTS = {
    "k_min": 2,
    "k_max": 6,
    "history_days": 28,
    "recent_days": 7,
    "group_weights": {"time": 0.2, "trend": 0, "gaps": 0.2, "sessions": 0.2, "activity": 0.2},
    "migration": {"min_users": 10},
}


def group(period: Any) -> Any:
    user = F.col("id")
    switched = (user < 180) & (user % 3 == 0) & (period >= 1)
    return F.when(user >= 900, 3).when(switched, 1).otherwise(user % 3)


def log(spark: SparkSession) -> DataFrame:
    period = F.floor(F.col("n") / 30)
    people = spark.range(1200, numPartitions=2).withColumn(
        "n", F.explode(F.sequence(F.lit(0), F.lit(89)))
    )
    people = people.where((F.col("id") < 900) | (F.col("n") >= 60))
    draw = F.pmod(F.xxhash64("id", "n"), F.lit(1000)) / 1000
    kinds = F.array(*(F.lit(kind) for kind in ("search", "browse", "buy", "pay")))
    kind = F.when(draw < 0.8, kinds[group(period)]).otherwise(
        kinds[F.floor(draw * 15 - 12).cast("int")]
    )
    starts = F.array(*(F.lit(start) for start in ENDS[:3]))
    hour = F.pmod(F.xxhash64("id", "n", F.lit(1)), F.lit(24 * 28))
    return people.select(
        F.concat("id", F.lit("-"), "n").alias("call"),
        F.col("id").alias("customer"),
        kind.alias("kind"),
        (starts[period.cast("int")] + F.make_dt_interval(hours=hour.cast("int"))).alias("at"),
        (F.lit(5.0) + 10 * (group(period) == 1).cast("int")).alias("amount"),
    )


@pytest.fixture(scope="module")
def make_job(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path
) -> Callable[..., Job]:
    folder = tmp_path_factory.mktemp("periods")
    log(spark).write.format("delta").save(str(folder / "calls"))
    store = folder / "mlflow.db"
    store.write_bytes(mlflow_template.read_bytes())

    def make(run_id: str, start: datetime, **segments: Any) -> Job:
        columns = {"request_id": "call", "user_id": "customer", "request_type": "kind",
                   "requested_at": "at", "continuous": ["amount"]}  # fmt: skip
        config = {
            "seed": 3,
            "requests": {"path": str(folder / "calls"), "columns": columns},
            "models": {side: {"stored": {"value": "amount"}} for side in
                       ("production", "experimental")},
            "replay": {"start": start, "end": datetime(2027, 1, 1, tzinfo=UTC)},
            "segments": SEGMENTS | {"value": "amount"} | segments,
            "output": {"path": str(folder / "warehouse")},
            "mlflow": {"tracking_uri": f"sqlite:///{store}", "artifacts": str(folder / "mlruns")},
        }  # fmt: skip
        return Job(spark, parse_settings(config), run_id)

    return make


@pytest.fixture(scope="module")
def said(make_job: Callable[..., Job]) -> dict[str, str]:
    """What each run said."""
    return {
        run_id: segment_users(make_job(run_id, start))
        for run_id, start in zip(RUNS, ENDS[1:], strict=True)
    }


@pytest.fixture(scope="module")
def job(make_job: Callable[..., Job], said: dict[str, str]) -> Job:
    return make_job("third", ENDS[3])


def decided(job: Job) -> pd.DataFrame:
    rows = job.store.read(tables.SEGMENTATIONS, segmentation="main").toPandas()
    return rows.set_index("run_id").loc[list(RUNS)]


def at(job: Job, instant: datetime) -> pd.Series:
    rows = segments_as_of(job.store, "main", instant).toPandas()
    return rows.set_index(rows["user_id"].astype(int))["segment_id"].sort_index()


def test_each_period_is_kept_until_a_group_is_born(job: Job, said: dict[str, str]) -> None:
    rows = decided(job)
    assert rows["decision"].tolist() == ["fit", "reassign", "cold_refit"]
    assert rows["k"].tolist() == [3, 3, 4]
    assert rows["segmentation_version"].tolist() == ["first", "first", "third"]
    assert "within limits" in rows.loc["second", "reason"]
    assert "900 users in 3 segments" in said["first"]
    assert "cold refit" in said["third"]
    born = [event for event in rows.loc["third", "events"] if event["event"] == "born"]
    assert [event["n_users"] for event in born] == [300]
    survived = {e["segment_id"] for e in rows.loc["third", "events"] if e["event"] == "survived"}
    assert survived == {"s1", "s2", "s3"}


def test_the_planted_groups_are_the_segments_and_keep_their_ids_through_the_refit(
    job: Job,
) -> None:
    first, third = at(job, ENDS[1]), at(job, ENDS[3])
    users = np.arange(900)
    for period in (first, third):
        assert (
            period[users].groupby(users % 3).agg(lambda ids: ids.value_counts().iloc[0]).min() > 200
        )
    stayed = users[(users >= 180) | (users % 3 != 0)]
    assert (first[stayed] == third[stayed]).mean() > 0.99
    assert set(third[np.arange(900, 1200)]) == {"s4"}


def test_movers_and_nobody_else_change_segment_and_history_tells_when(job: Job) -> None:
    before, after = at(job, ENDS[1]), at(job, ENDS[2])
    switched = np.arange(0, 180, 3)
    assert (before[switched] != after[switched]).mean() > 0.97
    others = np.setdiff1d(np.arange(900), switched)
    assert (before[others] != after[others]).mean() < 0.01
    open_rows = job.store.read(tables.SEGMENTS, segmentation="main").where("valid_to IS NULL")
    assert open_rows.count() == 1200


def test_the_flow_of_movers_is_told_with_what_they_are_worth(job: Job) -> None:
    before, after = at(job, ENDS[1]), at(job, ENDS[2])
    source, goal = before[0], after[0]
    flows = job.store.read(
        tables.SEGMENT_MIGRATIONS, segmentation="main", run_id="second"
    ).toPandas()
    flow = flows[(flows["from_segment_id"] == source) & (flows["to_segment_id"] == goal)].iloc[0]
    assert 55 <= flow["n_users"] <= 60
    assert flow["from_share"] == pytest.approx(0.2, abs=0.02)
    assert flow["value_before"] == pytest.approx(30 * 5.0, rel=0.1)
    assert flow["value_after"] == pytest.approx(30 * 15.0, rel=0.1)
    assert flow["direction"] == "up"
    moved = decided(job)["n_moved"]
    assert moved["second"] >= flow["n_users"]


def test_a_day_is_counted_once_and_only_its_own_run_counts_it_again(job: Job) -> None:
    days = job.store.read(tables.USER_ACTIVITY).select("day", "run_id").distinct().toPandas()
    assert not days["day"].duplicated().any()
    assert set(days["run_id"]) == set(RUNS)


def test_the_stored_model_places_one_user_as_spark_did(job: Job) -> None:
    model = SegmentModel.from_json(decided(job).loc["third", "model_json"])
    rows = job.store.read(tables.USER_FEATURES, run_id="third")
    placed = job.store.read(tables.SEGMENT_ASSIGNMENTS, run_id="third")
    joined = rows.join(placed.select("user_id", "nearest_id"), "user_id").limit(50).toPandas()
    for row in joined.itertuples():
        raw = np.array([row.features], dtype=float)
        assert model.assign(raw).segment_ids[0] == row.nearest_id


def test_the_model_in_mlflow_and_a_stream_place_users_as_the_run_did(
    job: Job, tmp_path: Path
) -> None:
    model = SegmentModel.from_json(decided(job).loc["third", "model_json"])
    rows = job.store.read(tables.USER_FEATURES, run_id="third").select("user_id", "features")
    placed = job.store.read(tables.SEGMENT_ASSIGNMENTS, run_id="third").select(
        "user_id", "nearest_id"
    )
    expected = dict(map(tuple, placed.collect()))

    source, goal = str(tmp_path / "features"), str(tmp_path / "placed")
    rows.write.format("delta").save(source)
    writer = assign_batches(model, goal, "users")
    for _ in range(2):  # the second time nothing is new
        stream = job.spark.readStream.format("delta").load(source).writeStream
        stream = stream.foreachBatch(writer).option("checkpointLocation", str(tmp_path / "at"))
        query = stream.trigger(availableNow=True).start()
        query.awaitTermination()
    streamed = job.spark.read.format("delta").load(goal)
    assert streamed.count() == 1200
    writer(rows.limit(5), 0)  # a batch that comes again after a restart
    streamed = job.spark.read.format("delta").load(goal)
    assert dict(map(tuple, streamed.select("user_id", "segment_id").collect())) == expected

    with tracked_run(job.settings, "third", NAME) as mlflow:
        logged = mlflow.search_logged_models(
            filter_string=f"source_run_id = '{mlflow.active_run().info.run_id}'",
            output_format="list",
        )
        served = mlflow.pyfunc.load_model(logged[0].model_uri)
    names = [feature.name for feature in model.preparation.features]
    few = rows.limit(20).toPandas()
    asked = pd.DataFrame(np.array(few["features"].to_list(), dtype=float), columns=names)
    assert served.predict(asked)["segment_id"].tolist() == [expected[u] for u in few["user_id"]]


def test_running_the_newest_again_gives_the_same_rows(job: Job) -> None:
    kept = (tables.SEGMENTS, tables.SEGMENT_ASSIGNMENTS, tables.SEGMENTATIONS,
            tables.SEGMENT_MIGRATIONS, tables.SEGMENT_PROFILES, tables.SEGMENT_SAMPLES,
            tables.USER_ACTIVITY, tables.QUARANTINE)  # fmt: skip

    def contents() -> dict[str, list[str]]:
        rows = {c.name: job.store.read(c).select(F.to_json(F.struct("*"))) for c in kept}
        return {name: sorted(row[0] for row in frame.collect()) for name, frame in rows.items()}

    before = contents()
    segment_users(job)
    assert contents() == before


def test_an_older_run_and_an_older_period_use_the_segments_of_their_time(
    job: Job, make_job: Callable[..., Job]
) -> None:
    again = make_job("second", ENDS[2])
    assert segment_users(again) == "the segments of run second hold already"
    between = make_job("audit", ENDS[2] + timedelta(days=14))
    assert segment_users(between) == "the segments of run second hold already"
    assert between.segmentation.run_id == "second"
    with pytest.raises(ContractError, match="begins at 2026-02-02 .* segments.name"):
        segment_users(make_job("early", ENDS[0]))


def test_a_run_id_that_another_history_has_is_refused_before_anything_is_written(
    make_job: Callable[..., Job], said: dict[str, str]
) -> None:
    with pytest.raises(
        ContractError, match="run first made the segments 'main'.* another --run-id"
    ):
        segment_users(make_job("first", ENDS[1], name="trial"))


def test_a_later_run_without_anyone_to_place_says_so_as_the_first_would(
    make_job: Callable[..., Job], said: dict[str, str]
) -> None:
    with pytest.raises(ContractError, match="no user has 1 or more requests before the replay"):
        segment_users(make_job("silent", datetime(2026, 12, 1, tzinfo=UTC)))


def test_other_settings_for_an_instant_that_is_made_are_refused_with_the_difference(
    make_job: Callable[..., Job], said: dict[str, str]
) -> None:
    with pytest.raises(ContractError, match="segments.k_max: 6 there, 5 here.* --run-id third"):
        segment_users(make_job("other", ENDS[3], k_max=5))
