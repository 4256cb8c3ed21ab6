"""Bins and segment names to and from their tables."""

from pyspark.sql import DataFrame, SparkSession

from rehearsal.drift.bins import Bins
from rehearsal.errors import ContractError


def bins_rows(spark: SparkSession, bins: Bins) -> DataFrame:
    """Return the rows of `drift_bins`, less the version."""
    rows = [
        ("value", list(bins.edges), []),
        ("class", [], list(bins.classes)),
    ]
    schema = "output string, edges array<double>, classes array<string>"
    return spark.createDataFrame(rows, schema)


def read_bins(rows: DataFrame) -> Bins:
    """Return the bins of one version of `drift_bins`.

    Raises:
        ContractError: there is no such version.
    """
    held = {row["output"]: row for row in rows.collect()}
    if set(held) != {"value", "class"}:
        raise ContractError(
            "drift.bins_version names no stored bins; table drift_bins lists the versions, "
            "or leave it out to pin new ones"
        )
    return Bins(tuple(held["value"]["edges"]), tuple(held["class"]["classes"]))


def segment_names(profiles: DataFrame) -> dict[str, str]:
    """Return segment id -> readable name, from rows of `segment_profiles`."""
    rows = profiles.select("segment_id", "segment_name").distinct().orderBy("segment_id").collect()
    return {row["segment_id"]: row["segment_name"] for row in rows}
