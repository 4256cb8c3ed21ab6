"""One pass counts what pandas counts, by whole users, adds over windows, places every request."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.drift import counts as counting
from rehearsal.drift.bins import Bins, check_classes, pin_bins
from rehearsal.drift.counts import drift_counts
from rehearsal.drift.layout import SUMS, pack
from rehearsal.errors import ContractError
from rehearsal.settings import Drift

BINS = Bins((0.3, 0.6), ("a", "b"))
WEEKS = [datetime(2026, 3, 2), datetime(2026, 3, 9)]
KEYS = ["segment_id", "window_start", "request_type", "output"]


def draw(salt: int) -> Column:
    return F.pmod(F.xxhash64("id", F.lit(salt)), F.lit(10_000)) / 10_000


def output(value: Column, shown: Column) -> Column:
    return F.struct(F.array(value, 1 - value).alias("probabilities"), shown.alias("value"))


@pytest.fixture(scope="module")
def replays(spark: SparkSession) -> DataFrame:
    """2,000 requests of 50 users over two weeks; some lack a value, some have NaN or no outcome."""
    p, e = draw(1), draw(2)
    ids = F.col("id")
    shown = F.when(ids >= 10, e).when(ids < 4, F.lit(float("nan")))
    hours = F.make_dt_interval(hours=(ids % 336).cast("int"))
    kpi = F.struct((p > 0.5).cast("double").alias("production"), e.alias("experimental"))
    return spark.range(2000, numPartitions=3).select(
        ids.cast("string").alias("request_id"),
        (ids % 50).cast("string").alias("user_id"),
        F.when(draw(3) < 0.3, "search").otherwise("browse").alias("request_type"),
        (F.lit("2026-03-02").cast("timestamp") + hours).alias("requested_at"),
        output(p, p).alias("production"),
        output(e, shown).alias("experimental"),
        F.create_map(F.lit("rate"), kpi).alias("kpis"),
        F.array(F.lit("a"), F.lit("b")).alias("classes"),
        F.when(draw(4) < 0.4, "a").when(draw(4) < 0.8, "b").alias("outcome"),
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
    return drift_counts(replays, segments, BINS, "week", ["rate"], graded=True).toPandas()


@pytest.fixture(scope="module")
def rows(replays: DataFrame) -> pd.DataFrame:
    """The same requests in pandas, placed by hand."""
    flat = replays.select(
        "user_id", "request_type", "requested_at", "production.value", "outcome",
        F.col("experimental.value").alias("other"), "kpis.rate.production",
        F.col("kpis.rate.experimental").alias("rate_e"),
        F.col("production.probabilities")[0].alias("p_a"),
        F.col("experimental.probabilities")[0].alias("e_a"),
    ).toPandas()  # fmt: skip
    user = flat["user_id"].astype(int)
    flat["segment_id"] = np.select([user < 10, user < 30], ["s1", "s2"], "cold")
    flat["window_start"] = np.where(flat["requested_at"] < WEEKS[1], WEEKS[0], WEEKS[1])
    flat["bin_p"] = np.digitize(flat["value"], BINS.edges)
    flat["bin_e"] = np.digitize(flat["other"], BINS.edges)
    flat["class_p"], flat["class_e"] = (flat["p_a"] < 0.5) * 1, (flat["e_a"] < 0.5) * 1
    return flat


def cell(counts: pd.DataFrame, segment: str, week: int, output: str) -> pd.Series:
    found = counts[
        (counts["segment_id"] == segment) & (counts["window_start"] == WEEKS[week])
        & (counts["output"] == output) & counts["request_type"].isna()
    ]  # fmt: skip
    assert len(found) == 1
    return found.iloc[0]


def requests_of(rows: pd.DataFrame, segment: str, week: int) -> pd.DataFrame:
    return rows[(rows["segment_id"] == segment) & (rows["window_start"] == WEEKS[week])]


@pytest.mark.parametrize("segment", ["s1", "s2", "cold"])
@pytest.mark.parametrize("week", [0, 1])
def test_joint_counts_are_those_of_pandas(
    counts: pd.DataFrame, rows: pd.DataFrame, segment: str, week: int
) -> None:
    for name, k, columns in (
        ("value", 3, ["bin_p", "bin_e"]), ("class", 2, ["class_p", "class_e"])
    ):  # fmt: skip
        here = requests_of(rows, segment, week)
        here = here.dropna(subset=["other"]) if name == "value" else here
        theirs = np.zeros((k, k), int)
        np.add.at(theirs, tuple(here[columns].to_numpy(int).T), 1)
        ours = cell(counts, segment, week, name)
        assert ours["joint_bins"].tolist() == theirs.ravel().tolist()
        assert ours["production_bins"].tolist() == theirs.sum(axis=1).tolist()
        assert ours["experimental_bins"].tolist() == theirs.sum(axis=0).tolist()
        assert ours["n_flips"] == theirs.sum() - np.trace(theirs)


def test_products_over_users_are_those_of_each_users_own_counts(
    counts: pd.DataFrame, rows: pd.DataFrame
) -> None:
    here = requests_of(rows, "s2", 1)
    by_user = [
        np.concatenate([np.bincount(own[side], minlength=2) for side in ("class_p", "class_e")])
        for _, own in here.groupby("user_id")
    ]
    own = np.array(by_user, float)
    found = cell(counts, "s2", 1, "class")
    assert found["user_bins"].tolist() == pack(own.T @ own).tolist()
    apart = own[:, :2] != own[:, 2:]
    fourths = ((own[:, 2:] - own[:, :2]) ** 4).sum(axis=0)
    assert found["fourth_bins"].tolist() == fourths.tolist()
    assert (found["n_moved"], found["n_users"]) == (apart.any(axis=1).sum(), len(own))


def test_sums_and_their_products_over_users_are_those_of_pandas(
    counts: pd.DataFrame, rows: pd.DataFrame
) -> None:
    here = requests_of(rows, "s1", 0).dropna(subset=["other"])
    x, y = here["value"], here["other"]
    numbers = pd.DataFrame(
        {
            "n": 1.0, "production": x, "difference": y - x, "production_sq": x**2,
            "difference_sq": (y - x) ** 2, "distance": (y - x) ** 2, "absolute": (y - x).abs(),
            "flips": (here["bin_p"] != here["bin_e"]) * 1.0,
        }
    )  # fmt: skip
    by_user = numbers.groupby(here["user_id"]).sum()[list(SUMS)].to_numpy()
    found = cell(counts, "s1", 0, "value")
    assert found["user_sums"] == pytest.approx(pack(by_user.T @ by_user))
    for name in SUMS[1:-1]:
        assert found[f"sum_{name}"] == pytest.approx(numbers[name].sum())
    assert found["n_shifted"] == here["user_id"].nunique()


def test_kl_of_a_request_is_that_of_its_two_probability_vectors(
    counts: pd.DataFrame, rows: pd.DataFrame
) -> None:
    here = requests_of(rows, "s1", 0)
    p, e = (np.stack([v, 1 - v], axis=1) + 1e-6 for v in (here["p_a"], here["e_a"]))
    p, e = p / p.sum(axis=1, keepdims=True), e / e.sum(axis=1, keepdims=True)
    found = cell(counts, "s1", 0, "class")
    assert found["sum_distance"] == pytest.approx((p * np.log(p / e)).sum())
    confidence = np.maximum(here["p_a"], 1 - here["p_a"]).sum()
    assert found["sum_production"] == pytest.approx(confidence)


def test_outcomes_grade_the_classes(counts: pd.DataFrame, rows: pd.DataFrame) -> None:
    here = requests_of(rows, "cold", 1).dropna(subset=["outcome"])
    hit = np.where(here["outcome"] == "a", here["class_e"] == 0, here["class_e"] == 1)
    gap = np.maximum(here["e_a"], 1 - here["e_a"]) - hit
    found = cell(counts, "cold", 1, "calibration")
    assert found["sum_production"] + found["sum_difference"] == pytest.approx(gap.sum())
    assert found["n_paired"] == len(here)
    assert found["n_null"] == len(requests_of(rows, "cold", 1)) - len(here)
    given = np.where(here["outcome"] == "a", here["e_a"], 1 - here["e_a"])
    loss = -np.log((given + 1e-6) / (1 + 2e-6)).sum()
    found = cell(counts, "cold", 1, "log_loss")
    assert found["sum_production"] + found["sum_difference"] == pytest.approx(loss)


def test_null_and_nan_are_counted_apart(counts: pd.DataFrame) -> None:
    whole = counts[counts["request_type"].isna()].groupby("output")[["n_null", "n_nan"]].sum()
    assert whole.loc["value"].to_dict() == {"n_null": 6, "n_nan": 4}
    assert whole.loc["class"].to_dict() == {"n_null": 0, "n_nan": 0}
    typed = counts[counts["request_type"].notna()].groupby("output")[["n_null", "n_nan"]].sum()
    pd.testing.assert_frame_equal(whole, typed)


def test_rows_per_request_type_add_up_to_their_cell(counts: pd.DataFrame) -> None:
    sums = ["n_requests", "n_paired", "n_flips", "sum_production", "sum_distance"]
    keys = ["segment_id", "window_start", "output"]
    typed, whole = counts["request_type"].notna(), counts["request_type"].isna()
    parts = counts[typed].groupby(keys)[sums].sum()
    pd.testing.assert_frame_equal(parts, counts[whole].groupby(keys)[sums].sum())
    bins = [
        counts[which & (counts["output"] == "value")].groupby(keys)["production_bins"].sum()
        for which in (typed, whole)
    ]
    assert [list(b) for b in bins[0]] == [list(b) for b in bins[1]]


def test_users_without_a_segment_are_cold_and_users_are_counted_once(counts: pd.DataFrame) -> None:
    users = counts[counts["output"] == "class"].groupby("segment_id")["n_users"].max()
    assert users.to_dict() == {"cold": 20, "s1": 10, "s2": 20}


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(KEYS, ignore_index=True)


def test_counts_do_not_depend_on_how_the_rows_lie(
    replays: DataFrame, segments: DataFrame, counts: pd.DataFrame
) -> None:
    shuffled = replays.repartition(5, "request_id").sortWithinPartitions(F.desc("request_id"))
    again = drift_counts(shuffled, segments, BINS, "week", ["rate"], graded=True).toPandas()
    pd.testing.assert_frame_equal(in_order(again), in_order(counts), check_exact=True)


def test_users_are_found_whatever_type_their_ids_have(
    replays: DataFrame, segments: DataFrame, counts: pd.DataFrame
) -> None:
    numbered = segments.withColumn("user_id", F.col("user_id").cast("bigint"))
    again = drift_counts(replays, numbered, BINS, "week", ["rate"], graded=True).toPandas()
    pd.testing.assert_frame_equal(in_order(again), in_order(counts), check_exact=True)


def test_many_partitions_give_the_sums_of_one(
    replays: DataFrame,
    segments: DataFrame,
    counts: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "_ROWS_PER_PART", 300)
    again = drift_counts(replays, segments, BINS, "week", ["rate"], graded=True).toPandas()
    pd.testing.assert_frame_equal(in_order(again), in_order(counts), rtol=1e-12)


def test_days_add_up_to_their_weeks(
    replays: DataFrame, segments: DataFrame, counts: pd.DataFrame
) -> None:
    days = drift_counts(replays, segments, BINS, "day", ["rate"], graded=True).toPandas()
    assert days["window_start"].nunique() == 14
    keys = ["segment_id", "request_type", "output"]
    sums = ["n_requests", "n_paired", "n_flips", "n_null", "sum_difference", "sum_distance"]
    totals = [frame.groupby(keys, dropna=False)[sums].sum() for frame in (days, counts)]
    pd.testing.assert_frame_equal(totals[0], totals[1])


@pytest.fixture
def one_request(replays: DataFrame) -> Callable[..., DataFrame]:
    """Return the first request with columns replaced."""

    def make(**columns: Column) -> DataFrame:
        return replays.where("request_id = '100'").withColumns(columns)

    return make


INSTANTS = [
    "2026-03-29 00:59:59.999",
    "2026-03-29 01:00:00",
    "2024-02-29 23:59:59",
    "1969-12-31 23:00:00",
]


@pytest.mark.parametrize("window", ["day", "week", "month"])
def test_windows_are_utc_whatever_the_sessions_zone(
    spark: SparkSession,
    replays: DataFrame,
    segments: DataFrame,
    window: Literal["day", "week", "month"],
) -> None:
    """Among them the night Lisbon's summer time begins, a leap day, and before the epoch."""
    instants = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in INSTANTS]
    micros = F.array(*(F.lit(int(at.timestamp() * 1e6)) for at in instants))
    at = F.timestamp_micros(micros[F.col("request_id").cast("int")])
    rows = replays.where("request_id IN ('0', '1', '2', '3')").withColumn("requested_at", at)
    spark.conf.set("spark.sql.session.timeZone", "Europe/Lisbon")
    try:
        found = drift_counts(rows, segments, BINS, window, []).select(
            F.unix_micros("window_start").alias("start"), F.unix_micros("window_end").alias("end")
        )
        ours = {(row["start"], row["end"]) for row in found.collect()}
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    periods = [pd.Timestamp(t).tz_localize(None).to_period(window[0].upper()) for t in instants]
    spans = [(p.start_time, (p + 1).start_time) for p in periods]
    assert ours == {(int(a.value / 1e3), int(b.value / 1e3)) for a, b in spans}


@pytest.mark.parametrize(
    ("vector", "lacking"),
    [
        ("array(0.2D)", "n_null"),  # of another length
        ("cast(NULL AS array<double>)", "n_null"),
        ("array(double('NaN'), 0.5D)", "n_nan"),
        ("array(cast(NULL AS double), 0.5D)", "n_nan"),
    ],
)
def test_a_vector_that_is_none_is_counted_as_missing(
    one_request: Callable[..., DataFrame], segments: DataFrame, vector: str, lacking: str
) -> None:
    broken = F.struct(F.expr(vector).alias("probabilities"), F.lit(0.5).alias("value"))
    rows = drift_counts(one_request(experimental=broken), segments, BINS, "week", []).toPandas()
    found = rows[(rows["output"] == "class") & rows["request_type"].isna()].iloc[0]
    assert (found["n_requests"], found["n_paired"], found[lacking]) == (1, 0, 1)


@pytest.mark.parametrize("text", ["Infinity", "-Infinity", "NaN"])
def test_a_value_that_is_no_finite_number_is_counted_as_such(
    one_request: Callable[..., DataFrame], segments: DataFrame, text: str
) -> None:
    vector = F.array(F.lit(0.5), F.lit(0.5)).alias("probabilities")
    broken = F.struct(vector, F.lit(float(text)).alias("value"))
    rows = drift_counts(one_request(production=broken), segments, BINS, "week", []).toPandas()
    found = rows[(rows["output"] == "value") & rows["request_type"].isna()].iloc[0]
    assert (found["n_paired"], found["n_null"], found["n_nan"]) == (0, 0, 1)


def test_probabilities_that_do_not_sum_to_one_are_compared_as_shares(
    one_request: Callable[..., DataFrame], segments: DataFrame
) -> None:
    made = {
        side: F.struct(
            F.array(F.lit(a), F.lit(b)).alias("probabilities"), F.lit(0.1).alias("value")
        )
        for side, a, b in (("production", 0.49, 0.49), ("experimental", 0.5, 0.5))
    }
    rows = drift_counts(one_request(**made), segments, BINS, "week", []).toPandas()
    found = rows[(rows["output"] == "class") & rows["request_type"].isna()].iloc[0]
    assert found["sum_distance"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["user_id", "request_type", "requested_at"])
def test_requests_that_nothing_places_are_left_out(
    replays: DataFrame, segments: DataFrame, name: str
) -> None:
    anonymous = replays.withColumn(name, F.when(F.col("request_id") != "7", F.col(name)))
    found = drift_counts(anonymous, segments, BINS, "week", []).toPandas()
    whole = found[(found["output"] == "class") & found["request_type"].isna()]
    assert whole["n_requests"].sum() == 1999


def test_no_requests_give_no_counts(replays: DataFrame, segments: DataFrame) -> None:
    assert drift_counts(replays.limit(0), segments, BINS, "week", ["rate"]).isEmpty()


def test_values_beyond_the_outer_edges_lie_in_open_bins(
    one_request: Callable[..., DataFrame], segments: DataFrame
) -> None:
    far = {
        side: F.struct(F.array(F.lit(0.5), F.lit(0.5)).alias("probabilities"),
                       F.lit(value).alias("value"))
        for side, value in (("production", -1e9), ("experimental", 1e9))
    }  # fmt: skip
    rows = drift_counts(one_request(**far), segments, BINS, "week", []).toPandas()
    found = rows[(rows["output"] == "value") & rows["request_type"].isna()].iloc[0]
    assert found["joint_bins"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]


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


def test_pinned_classes_of_other_models_are_refused(replays: DataFrame) -> None:
    check_classes(replays, BINS)
    with pytest.raises(ContractError, match="has classes b, a, but the replays have a, b"):
        check_classes(replays, Bins((), ("b", "a")))


def test_a_spike_of_equal_values_makes_one_edge(spark: SparkSession) -> None:
    spike = spark.range(100).select(
        F.col("id").cast("string").alias("request_id"),
        F.struct(F.when(F.col("id") < 95, 0.0).otherwise(F.col("id") / 100).alias("value")).alias(
            "production"
        ),
        F.array().cast("array<string>").alias("classes"),
    )
    assert pin_bins(spike, Drift(bins=10), seed=1).edges == (0.0,)
