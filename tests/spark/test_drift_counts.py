"""One aggregation counts what pandas counts, adds over windows, and places every request."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins, pin_bins
from rehearsal.drift.counts import drift_counts
from rehearsal.settings import Drift

BINS = Bins((0.3, 0.6), ("a", "b"))


@pytest.fixture(scope="module")
def replays(spark: SparkSession) -> DataFrame:
    """2,000 requests of 50 users over two weeks; ten lack a value under experimental."""

    def draw(salt: int) -> F.Column:
        return F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(10_000)) / 10_000

    p, e = draw(1), draw(2)

    def output(value: F.Column, shown: F.Column) -> F.Column:
        return F.struct(F.array(value, 1 - value).alias("probabilities"), shown.alias("value"))

    shown = F.when(F.col("id") >= 10, e)
    hours = F.make_dt_interval(hours=(F.col("id") % 336).cast("int"))
    kpi = F.struct((p > 0.5).cast("double").alias("production"), e.alias("experimental"))
    return spark.range(2000, numPartitions=3).select(
        F.col("id").cast("string").alias("request_id"),
        (F.col("id") % 50).cast("string").alias("user_id"),
        F.when(draw(3) < 0.3, "search").otherwise("browse").alias("request_type"),
        (F.lit("2026-03-02").cast("timestamp") + hours).alias("requested_at"),
        output(p, p).alias("production"),
        output(e, shown).alias("experimental"),
        F.create_map(F.lit("rate"), kpi).alias("kpis"),
        F.array(F.lit("a"), F.lit("b")).alias("classes"),
    )


@pytest.fixture(scope="module")
def segments(spark: SparkSession) -> DataFrame:
    """Users 0 to 29 in two segments; the rest have none."""
    return spark.range(30).select(
        F.col("id").cast("string").alias("user_id"),
        F.when(F.col("id") < 10, "s1").otherwise("s2").alias("segment_id"),
    )


@pytest.fixture(scope="module")
def counts(replays: DataFrame, segments: DataFrame) -> pd.DataFrame:
    return drift_counts(replays, segments, BINS, "week", ["rate"]).toPandas()


@pytest.fixture(scope="module")
def rows(replays: DataFrame) -> pd.DataFrame:
    """The same requests in pandas, placed by hand."""
    flat = replays.select(
        "user_id", "request_type", "requested_at", "production.value",
        F.col("experimental.value").alias("other"), "kpis.rate.production",
        F.col("experimental.probabilities")[0].alias("p_a"),
    ).toPandas()  # fmt: skip
    user = flat["user_id"].astype(int)
    flat["segment_id"] = np.select([user < 10, user < 30], ["s1", "s2"], "cold")
    flat["week"] = np.where(flat["requested_at"] < "2026-03-09", 0, 1)
    flat["bin_p"] = np.digitize(flat["value"], BINS.edges)
    flat["bin_e"] = np.where(flat["other"].isna(), -1, np.digitize(flat["other"], BINS.edges))
    return flat


def test_joint_counts_are_those_of_pandas(counts: pd.DataFrame, rows: pd.DataFrame) -> None:
    found = counts[(counts["kind"] == "joint") & (counts["output"] == "value")]
    ours = found.set_index(["segment_id", "window_start", "bin_production", "bin_experimental"])
    weeks = {0: datetime(2026, 3, 2), 1: datetime(2026, 3, 9)}
    theirs = rows.groupby(["segment_id", "week", "bin_p", "bin_e"]).size()
    assert len(ours) == len(theirs)
    for (segment, week, p, e), n in theirs.items():
        assert ours.loc[(segment, weeks[week], p, e), "n_requests"] == n


def test_a_missing_output_is_counted_apart(counts: pd.DataFrame) -> None:
    missing = counts[(counts["kind"] == "joint") & (counts["bin_experimental"] == -1)]
    assert missing["n_requests"].sum() == 10
    assert set(missing["output"]) == {"value"}


def test_marginals_per_request_type_add_up_to_the_joint(counts: pd.DataFrame) -> None:
    keys = ["segment_id", "window_start", "output"]
    for side in ("bin_production", "bin_experimental"):
        joint = counts[counts["kind"] == "joint"].groupby([*keys, side])["n_requests"].sum()
        marginal = counts[(counts["kind"] == "marginal") & counts[side].notna()]
        assert joint.equals(marginal.groupby([*keys, side])["n_requests"].sum())


def test_moments_are_sums_over_pairs(counts: pd.DataFrame, rows: pd.DataFrame) -> None:
    found = counts[(counts["kind"] == "moments") & (counts["output"] == "value")]
    here = rows.dropna(subset=["other"])
    assert found["n_requests"].sum() == len(here)
    difference = here["other"] - here["value"]
    assert found["sum_difference_sq"].sum() == pytest.approx((difference**2).sum())
    assert found["sum_difference_4"].sum() == pytest.approx((difference**4).sum())
    assert found["sum_production_sq"].sum() == pytest.approx((here["value"] ** 2).sum())
    rate = counts[(counts["kind"] == "moments") & (counts["output"] == "rate")]
    assert rate["sum_production"].sum() == rows["production"].sum()


def test_users_without_a_segment_are_cold_and_users_are_counted_once(counts: pd.DataFrame) -> None:
    size = counts[counts["kind"] == "size"].groupby("segment_id")["n_users"].max()
    assert size.to_dict() == {"cold": 20, "s1": 10, "s2": 20}


def test_counts_do_not_depend_on_partitions_and_windows_add(
    replays: DataFrame, segments: DataFrame, counts: pd.DataFrame
) -> None:
    again = drift_counts(replays.repartition(5, "request_id"), segments, BINS, "day", ["rate"])
    keys = ["kind", "output", "segment_id", "request_type", "bin_production", "bin_experimental"]
    sums = ["n_requests", "sum_production", "sum_difference_sq", "sum_difference_4"]
    by_day, by_week = again.toPandas(), counts
    totals = [
        frame[frame["kind"] != "size"].groupby(keys, dropna=False)[sums].sum().sort_index()
        for frame in (by_day, by_week)
    ]
    pd.testing.assert_frame_equal(totals[0], totals[1], check_exact=True)


def test_edges_are_productions_quantiles_whatever_the_partitioning(replays: DataFrame) -> None:
    settings = Drift(bins=4)
    bins = pin_bins(replays, settings, seed=3)
    values = replays.select("production.value").toPandas()["value"]
    assert bins.edges == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75]))
    assert bins.classes == ("a", "b")
    assert pin_bins(replays.repartition(7), settings, seed=3) == bins
    given = pin_bins(replays, Drift(value_edges=(0.1, 0.2)), seed=3)
    assert given.edges == (0.1, 0.2)
    assert given.version != bins.version


def test_a_spike_of_equal_values_makes_one_edge(spark: SparkSession) -> None:
    spike = spark.range(100).select(
        F.col("id").cast("string").alias("request_id"),
        F.struct(F.when(F.col("id") < 95, 0.0).otherwise(F.col("id") / 100).alias("value")).alias(
            "production"
        ),
        F.array().cast("array<string>").alias("classes"),
    )
    assert pin_bins(spike, Drift(bins=10), seed=1).edges == (0.0,)
