"""Rates per 1,000 and their intervals, against counting by hand and resampling users."""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rehearsal.evaluate.effect import disagreement, effect_sums, effects


@pytest.fixture(scope="module")
def requests() -> pd.DataFrame:
    """3,000 logged and 1,500 synthetic requests of 150 users, each with a rate of its own."""
    rng = np.random.default_rng(5)
    users = rng.integers(0, 150, 4500)
    rates = rng.beta(1, 4, 150)
    origin = np.repeat(["logged", "synthetic"], [3000, 1500])
    kind = np.where((origin == "synthetic") | (rng.random(4500) < 0.3), "search", "browse")
    p = np.clip(rates[users] * np.where(kind == "search", 1.5, 0.5), 0, 1)
    return pd.DataFrame(
        {"user_id": users, "origin": origin, "request_type": kind, "apart": rng.random(4500) < p}
    )


@pytest.fixture(scope="module")
def found(spark: SparkSession, requests: pd.DataFrame) -> pd.DataFrame:
    frame = spark.createDataFrame(requests).withColumn("user_id", F.col("user_id").cast("string"))
    same, other = F.array(F.lit(0.9), F.lit(0.1)), F.array(F.lit(0.2), F.lit(0.8))
    replays = frame.withColumns(
        {
            "production": F.struct(same.alias("probabilities"), F.lit(0.1).alias("value")),
            "experimental": F.struct(
                F.when(F.col("apart"), other).otherwise(same).alias("probabilities"),
                F.lit(0.1).alias("value"),
            ),
        }
    )
    segments = spark.range(150).select(
        F.col("id").cast("string").alias("user_id"),
        F.when(F.col("id") < 100, "s1").otherwise("s2").alias("segment_id"),
    )
    targets = spark.createDataFrame([("s1", "search")], "segment_id string, request_type string")
    sums = effect_sums(replays, segments, targets, disagreement((), None))
    return effects(sums.toPandas(), 0.95).set_index("scope")


def test_rates_are_disagreements_per_1000_requests(
    found: pd.DataFrame, requests: pd.DataFrame
) -> None:
    logged = requests[requests["origin"] == "logged"]
    assert found.loc["all", "baseline_per_1000"] == pytest.approx(1000 * logged["apart"].mean())
    assert found.loc["all", "augmented_per_1000"] == pytest.approx(1000 * requests["apart"].mean())
    cell = requests[(requests["user_id"] < 100) & (requests["request_type"] == "search")]
    assert found.loc["cell", "n_augmented"] == len(cell)
    assert found.loc["cell", "disagreements_augmented"] == cell["apart"].sum()
    assert found.loc["segment", "n_users"] == 100
    assert found.loc["segment", "n_augmented"] == (requests["user_id"] < 100).sum()


def test_intervals_are_those_of_resampling_whole_users(
    found: pd.DataFrame, requests: pd.DataFrame
) -> None:
    rng = np.random.default_rng(6)
    requests = requests.assign(logged=(requests["origin"] == "logged").astype(int))
    requests["x"] = requests["logged"] * requests["apart"]
    sums = requests.groupby("user_id").agg(
        b=("logged", "sum"), x=("x", "sum"), a=("apart", "size"), y=("apart", "sum")
    )
    draws = rng.integers(0, len(sums), (4000, len(sums)))
    b, x, a, y = (sums[name].to_numpy()[draws].sum(axis=1) for name in "bxay")
    for name, rates in {"baseline": x / b, "augmented": y / a, "effect": y / a - x / b}.items():
        width = found.loc["all", f"{name}_ci_high"] - found.loc["all", f"{name}_ci_low"]
        assert width == pytest.approx(1000 * np.ptp(np.quantile(rates, [0.025, 0.975])), rel=0.08)


def test_without_classes_another_bin_or_a_larger_distance_is_a_disagreement(
    spark: SparkSession,
) -> None:
    rows = [(0.1, 0.2), (0.1, 0.9), (0.5, 0.5)]
    none = F.lit(None).cast("array<double>")
    replays = spark.createDataFrame(rows, "p double, e double").select(
        F.struct(none.alias("probabilities"), F.col("p").alias("value")).alias("production"),
        F.struct(none.alias("probabilities"), F.col("e").alias("value")).alias("experimental"),
    )
    by_bin = replays.select(disagreement((0.15, 0.5), None)).collect()
    by_distance = replays.select(disagreement((), 0.3)).collect()
    assert [row[0] for row in by_bin] == [True, True, False]
    assert [row[0] for row in by_distance] == [False, True, False]
