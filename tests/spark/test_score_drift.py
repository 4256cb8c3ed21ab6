"""score_drift over the simulated release: what was planted is found, and nothing else."""

from datetime import datetime

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.drift.kpis import Ratio
from rehearsal.drift.monitor_table import drift_metrics
from rehearsal.drift.score import DriftTables, score_drift
from rehearsal.settings import Drift
from rehearsal.simulate import Simulation, requests, truth_drift, truth_users
from rehearsal.simulate.plan import CLASSES
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import DRIFT_METRICS, DRIFT_SCORES

SIMULATION = Simulation(n_users=6000, seed=5, n_segments=8)


@pytest.fixture(scope="module")
def replays(spark: SparkSession) -> DataFrame:
    def output(side: str) -> F.Column:
        vector = F.array(*(F.col(f"{side}_p_{label}") for label in CLASSES))
        return F.struct(vector.alias("probabilities"), F.col(f"{side}_value").alias("value"))

    log = requests(spark, SIMULATION).where(F.col("requested_at") >= SIMULATION.replay_start)
    hits = F.struct(
        (F.col("production_value") > 0.5).cast("double").alias("production"),
        (F.col("experimental_value") > 0.5).cast("double").alias("experimental"),
    )
    # Some requests have no amount under one model.
    amount = F.when(F.col("request_id") % 50 != 0, F.col("experimental_value") * 9)
    amounts = F.struct(
        (F.col("production_value") * 9).alias("production"), amount.alias("experimental")
    )
    return log.select(
        F.col("request_id").cast("string"), F.col("user_id").cast("string"), "request_type",
        "requested_at", output("production").alias("production"),
        output("experimental").alias("experimental"), "outcome",
        F.create_map(F.lit("hits"), hits, F.lit("amount"), amounts).alias("kpis"),
        F.array(*(F.lit(label) for label in CLASSES)).alias("classes"),
    ).persist()  # fmt: skip


@pytest.fixture(scope="module")
def segments(spark: SparkSession) -> DataFrame:
    return truth_users(spark, SIMULATION).select(
        F.col("user_id").cast("string"), F.concat(F.lit("s"), "group").alias("segment_id")
    )


@pytest.fixture(scope="module")
def truth(spark: SparkSession) -> pd.DataFrame:
    planted = truth_drift(spark, SIMULATION).toPandas()
    return planted.assign(segment_id="s" + planted["group"].astype(str))


@pytest.fixture(scope="module")
def found(replays: DataFrame, segments: DataFrame) -> DriftTables:
    kpis = ["hits", Ratio("amount_per_hit", "amount", "hits")]
    return score_drift(replays, segments, Drift(min_requests=100), kpis=kpis)


def test_the_planted_segments_breach_and_no_other(found: DriftTables, truth: pd.DataFrame) -> None:
    flagged = set(found.alerts["segment_id"].dropna())
    assert flagged == set(truth["segment_id"])
    assert found.scores["segment_id"].nunique() == SIMULATION.n_segments


def test_each_drift_is_dated_to_the_week_it_was_planted_in(
    found: DriftTables, truth: pd.DataFrame
) -> None:
    since = found.onsets[found.onsets["output"] == "class"].set_index("segment_id")["window_start"]
    for row in truth.drop_duplicates("segment_id").itertuples():
        planted = pd.Timestamp(row.start).tz_localize(None)
        assert abs(since[row.segment_id] - planted) <= pd.Timedelta(days=7)


def test_the_planted_request_types_come_first(found: DriftTables, truth: pd.DataFrame) -> None:
    parts = found.contributions
    parts = parts[(parts["output"] == "class") & (parts["test"] == "distribution")]
    for segment, own in truth.groupby("segment_id"):
        top = parts[(parts["segment_id"] == segment) & (parts["rank"] <= len(own))]
        assert set(top["request_type"]) == set(own["request_type"])


def test_production_is_calibrated_and_the_experimental_model_is_not_where_it_drifts(
    found: DriftTables, truth: pd.DataFrame
) -> None:
    own = found.scores[(found.scores["output"] == "log_loss")
                       & (found.scores["metric"] == "mean_change")]  # fmt: skip
    last = own[own["window"] == own["window"].max()].set_index("segment_id")
    for segment in set(truth["segment_id"]):
        assert last.loc[segment, "ci_low"] > 0  # outcomes are drawn from production
    calm = last.loc[last.index.difference(truth["segment_id"]).dropna()]
    assert (calm["score"].abs() < 0.1).all()


def test_a_ratio_is_the_sum_of_one_kpi_per_the_sum_of_another(
    replays: DataFrame, segments: DataFrame, found: DriftTables
) -> None:
    flat = replays.select(
        "user_id", "requested_at", *(F.col(f"kpis.{name}.{side}").alias(f"{name} {side}")
                                     for name in ("amount", "hits")
                                     for side in ("production", "experimental"))
    ).join(segments, "user_id").dropna().toPandas()  # fmt: skip
    week = flat["requested_at"].dt.to_period("W").dt.start_time
    sums = flat.groupby([flat["segment_id"], week]).sum(numeric_only=True)
    scores = found.scores[(found.scores["output"] == "amount_per_hit")
                          & (found.scores["metric"] == "kpi_relative_change")]  # fmt: skip
    own = scores.dropna(subset=["segment_id"]).set_index(["segment_id", "window_start"])
    own = own[own["score"].notna()].sort_index()
    assert len(own) >= 8
    sums = sums.loc[own.index]
    levels = {side: sums[f"amount {side}"] / sums[f"hits {side}"]
              for side in ("production", "experimental")}  # fmt: skip
    for side, level in levels.items():
        assert own[f"{side}_level"].to_numpy() == pytest.approx(level.to_numpy())
    change = levels["experimental"] / levels["production"] - 1
    assert own["score"].to_numpy() == pytest.approx(change.to_numpy())
    assert (own["ci_low"] < own["score"]).all()
    assert (own["n_requests"] == flat.groupby([flat["segment_id"], week]).size()[own.index]).all()


def test_the_same_model_twice_is_no_drift(replays: DataFrame, segments: DataFrame) -> None:
    twice = replays.withColumn("experimental", F.col("production"))
    same = score_drift(twice, segments, Drift(min_requests=100))
    assert set(same.scores["status"]) <= {"green", "insufficient_data"}
    assert same.alerts.empty
    assert same.contributions.empty
    assert same.scores["score"].fillna(0).abs().max() == pytest.approx(0, abs=1e-9)


def test_scores_read_as_databricks_drift_metrics(spark: SparkSession, found: DriftTables) -> None:
    scores = to_spark(spark, found.scores, DRIFT_SCORES).withColumns(
        {"segmentation_version": F.lit("v1"), "bins_version": F.lit("b1")}
    )
    table = drift_metrics(scores)
    assert set(table.columns) == set(DRIFT_METRICS.schema.names) - {"run_id"}
    rows = table.toPandas()
    # As the README has it, for SQL that was written for a monitor's own table.
    view = "SELECT * EXCEPT (drift_type), 'BASELINE' AS drift_type FROM {table}"
    viewed = spark.sql(view, table=table).where("drift_type = 'BASELINE' AND window_cmp IS NULL")
    assert viewed.count() == len(rows)
    windows = found.scores["window_start"].nunique()
    assert len(rows) == 2 * (SIMULATION.n_segments + 1) * windows
    whole = rows[rows["slice_key"].isna()]
    assert whole["slice_value"].isna().all()
    one = table.where("column_name = 'value' AND slice_value = 's1'").orderBy("window").head()
    assert one is not None
    assert one["window"]["start"] == datetime(2026, 3, 2)
    own = found.scores[(found.scores["segment_id"] == "s1") & (found.scores["output"] == "value")
                       & (found.scores["window"] == 0)].set_index("metric")  # fmt: skip
    assert one["ks_test"]["statistic"] == own.loc["ks_distance", "score"]
    assert one["population_stability_index"] == own.loc["psi", "score"]
    assert (one["granularity"], one["monitor_version"]) == ("1 week", "v1/b1")
    assert one["chi_squared_test"] is None
    assert one["tv_distance"] is None
