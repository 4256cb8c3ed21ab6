"""Scores in the columns of Databricks' drift metrics tables, for dashboards and SQL alerts.

There drift is BASELINE, a window against a baseline table, or CONSECUTIVE, against the window
before. Ours is the experimental model against production on the same requests: a baseline of its
own for each window. It keeps a name of its own, so that nobody takes one for the other.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_BINNED = ("value", "class")
_WORST_FIRST = ("red", "yellow", "green", "insufficient_data")


def drift_metrics(scores: DataFrame) -> DataFrame:
    """Return the rows of `drift_metrics`, one per segment, window and output, less the run.

    Scores are raw, as there. Metrics that table has for numbers only (KS, Wasserstein) are given
    for the value, those for categories only (chi-square, TV, L-infinity) for the class.

    Args:
        scores: rows of `drift_scores` of one run.
    """
    value, classes = F.col("column_name") == "value", F.col("column_name") == "class"
    p = _of("kl_nats", "p_value")
    found = (
        scores.where(F.col("output").isin(*_BINNED))
        .withColumnRenamed("output", "column_name")
        .groupBy(
            "segment_id", "window_start", "window_end", "granularity", "column_name",
            "drift_type", "segmentation_version", "bins_version",
        )
        .agg(
            _of("kl_nats", "n_requests").alias("count"),
            _of("js_distance").alias("js_distance"),
            _test(_of("ks_distance"), p).alias("ks"),
            _of("wasserstein_distance").alias("wasserstein_distance"),
            _of("psi").alias("population_stability_index"),
            _test(_of("kl_nats", "test_statistic"), p).alias("wald"),
            _of("tv_distance").alias("tv"),
            _of("l_infinity_distance").alias("l_infinity"),
            _of("kl_nats").alias("kl_nats"),
            F.coalesce(
                *(F.max(F.when(F.col("status") == one, one)) for one in _WORST_FIRST)
            ).alias("status"),
        )
    )  # fmt: skip
    key = F.when(F.col("segment_id").isNotNull(), "segment_id")
    nothing = F.lit(None).cast("struct<start:timestamp,end:timestamp>")
    return found.select(
        _span("window_start", "window_end").alias("window"),
        F.concat(F.lit("1 "), "granularity").alias("granularity"),
        F.concat_ws("/", "segmentation_version", "bins_version").alias("monitor_version"),
        key.alias("slice_key"),
        F.col("segment_id").alias("slice_value"),
        "column_name",
        nothing.alias("window_cmp"),
        "drift_type",
        "count",
        "js_distance",
        F.when(value, F.col("ks")).alias("ks_test"),
        "wasserstein_distance",
        "population_stability_index",
        F.when(classes, F.col("wald")).alias("chi_squared_test"),
        F.when(classes, F.col("tv")).alias("tv_distance"),
        F.when(classes, F.col("l_infinity")).alias("l_infinity_distance"),
        "kl_nats",
        "status",
    )


def _of(metric: str, column: str = "score") -> Column:
    return F.max(F.when(F.col("metric") == metric, F.col(column)))


def _test(statistic: Column, p: Column) -> Column:
    return F.struct(statistic.alias("statistic"), p.alias("pvalue"))


def _span(start: str, end: str) -> Column:
    return F.struct(F.col(start).alias("start"), F.col(end).alias("end"))
