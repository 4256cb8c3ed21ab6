from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from rehearsal import simulate
from rehearsal.settings import Mlflow
from rehearsal.simulate import Simulation
from rehearsal.simulate.outputs import INPUTS, SIDES, output_arrays
from rehearsal.simulate.plan import CLASSES, REQUEST_TYPES, make_plan

SIMULATION = Simulation(n_users=1500, seed=5)


@pytest.fixture(scope="module")
def log(spark: SparkSession) -> DataFrame:
    return simulate.requests(spark, SIMULATION, partitions=2).persist()


def test_rows_are_the_same_whatever_the_partitioning(spark: SparkSession) -> None:
    few = Simulation(n_users=40, seed=5)
    for made in (simulate.requests, simulate.users, simulate.truth_users):
        assertDataFrameEqual(made(spark, few, 1), made(spark, few, 5), rtol=0, atol=0)


def test_a_user_is_the_same_among_few_users_and_many(spark: SparkSession) -> None:
    few = simulate.users(spark, Simulation(n_users=30, seed=5))
    many = simulate.users(spark, SIMULATION).where("user_id < 30")
    assertDataFrameEqual(few, many)
    other_seed = simulate.users(spark, Simulation(n_users=30, seed=6))
    assert few.exceptAll(other_seed).count() > 20


def test_nothing_is_shuffled(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    simulation = Simulation(n_users=1_000_000, seed=1)
    for rows in (simulate.requests(spark, simulation), simulate.users(spark, simulation)):
        rows.explain()
        plan = capsys.readouterr().out
        assert "Range" in plan
        assert "Exchange" not in plan
        assert "Sort" not in plan


def test_ids_are_unique_times_in_range_and_counts_as_asked(log: DataFrame) -> None:
    row = log.agg(
        F.count("*").alias("n"), F.count_distinct("request_id").alias("ids"),
        F.count_distinct("user_id").alias("users"),
        F.min("requested_at").alias("first"), F.max("requested_at").alias("last"),
        F.count_if(F.col("amount").isNull()).alias("no_amount"),
        F.count_if(F.col("channel").isNull()).alias("no_channel"),
    ).first()  # fmt: skip
    assert row is not None
    assert row.n == row.ids
    assert row.users == SIMULATION.n_users
    # 20 a user, sd about 20 * (0.24 between groups and 0.29 within) / sqrt(1500) = 0.2
    assert row.n / row.users == pytest.approx(20, abs=0.8)
    assert row.first.replace(tzinfo=SIMULATION.start.tzinfo) >= SIMULATION.start
    assert row.last.replace(tzinfo=SIMULATION.end.tzinfo) < SIMULATION.end
    assert row.no_amount / row.n == pytest.approx(0.05, abs=0.008)
    assert row.no_channel / row.n == pytest.approx(0.03, abs=0.006)


def test_groups_ask_for_their_types_as_often_as_planted(
    spark: SparkSession, log: DataFrame
) -> None:
    users = simulate.truth_users(spark, SIMULATION)
    counted = log.join(users, "user_id").groupBy("group").pivot("request_type").count()
    for row in counted.collect():
        planted = make_plan(SIMULATION).groups[row["group"]]
        total = sum(row[name] for name in REQUEST_TYPES)
        for position, name in enumerate(REQUEST_TYPES):
            share = planted.types.count(position) / 100
            # five standard errors of a share of `total` requests
            assert abs(row[name] / total - share) < 5 * np.sqrt(share * (1 - share) / total)


def test_experimental_shifts_by_the_planted_size_in_the_planted_cells_alone(
    spark: SparkSession, log: DataFrame
) -> None:
    def logit(side: str) -> Column:
        return F.log(F.col(f"{side}_value") / (1 - F.col(f"{side}_value")))

    truth = F.broadcast(simulate.truth_drift(spark, SIMULATION))
    joined = log.join(simulate.truth_users(spark, SIMULATION), "user_id").join(
        truth, ["group", "request_type"], "left"
    )
    size = F.when(F.col("requested_at") >= F.col("start"), F.col("size")).otherwise(0.0)
    difference = logit("experimental") - logit("production")
    cells = joined.groupBy("group", "request_type", size.alias("planted")).agg(
        F.avg(difference).alias("shift"), F.count("*").alias("n")
    )
    rows = cells.collect()
    assert sum(row.planted != 0 for row in rows) == simulate.truth_drift(spark, SIMULATION).count()
    for row in rows:
        error = SIMULATION.noise * np.sqrt(2 / row.n)
        assert abs(row.shift - row.planted) < 5 * error, row


def test_truth_names_the_asked_number_of_groups_with_starts_in_the_replay(
    spark: SparkSession,
) -> None:
    truth = simulate.truth_drift(spark, SIMULATION).toPandas()
    assert truth["group"].nunique() == 3
    assert set(truth["request_type"]) <= set(REQUEST_TYPES)
    assert (truth.groupby("group")["start"].nunique() == 1).all()
    start = SIMULATION.replay_start.replace(tzinfo=None)
    assert (truth["start"] >= start).all()
    assert truth["start"].nunique() == 3
    assert simulate.truth_drift(spark, SIMULATION.model_copy(update={"n_drifting": 0})).isEmpty()


def test_spark_and_numpy_agree_on_both_models(spark: SparkSession, log: DataFrame) -> None:
    users = simulate.users(spark, SIMULATION)
    rows = log.where("user_id < 150").join(users, "user_id").toPandas()
    assert rows[list(INPUTS)].isna().any().any()
    for side in SIDES:
        stored = rows[[f"{side}_value", *(f"{side}_p_{label}" for label in CLASSES)]]
        computed = output_arrays(SIMULATION, side, rows)
        np.testing.assert_allclose(computed.to_numpy(), stored.to_numpy(), rtol=1e-12)


def test_written_tables_and_registered_models_answer_alike(
    spark: SparkSession, tmp_path: Path, mlflow_template: Path
) -> None:
    import mlflow

    few = Simulation(n_users=40, seed=5)
    simulate.write(spark, few, str(tmp_path))
    read = {
        name: spark.read.format("delta").load(str(tmp_path / name))
        for name in ("requests", "users", "truth_users", "truth_drift")
    }
    assertDataFrameEqual(read["requests"], simulate.requests(spark, few))
    assertDataFrameEqual(read["users"], simulate.users(spark, few))
    assertDataFrameEqual(read["truth_users"], simulate.truth_users(spark, few))
    assertDataFrameEqual(read["truth_drift"], simulate.truth_drift(spark, few))

    store = tmp_path / "mlflow.db"
    store.write_bytes(mlflow_template.read_bytes())
    simulate.log_models(
        few, Mlflow(tracking_uri=f"sqlite:///{store}", artifacts=str(tmp_path / "artifacts"))
    )
    rows = read["requests"].join(read["users"], "user_id").toPandas()
    for side in SIDES:
        model = mlflow.pyfunc.load_model(f"models:/simulated@{side}")
        answered = model.predict(rows[list(INPUTS)])
        np.testing.assert_allclose(answered["value"], rows[f"{side}_value"], rtol=1e-12)
        np.testing.assert_allclose(answered["leave"], rows[f"{side}_p_leave"], rtol=1e-12)
