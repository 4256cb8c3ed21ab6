"""Logged and synthetic requests as one stream in the user's own columns, with provenance."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.tables.schemas import COLD


def augmented_stream(logged: DataFrame, synthetic: DataFrame, segments: DataFrame) -> DataFrame:
    """Return both kinds of request with provenance and weight.

    The weight of a row is n / (n + m) in a (segment, request type) that holds n logged and m
    synthetic requests, so that weighted counts have the logged mix again; elsewhere it is 1.

    Args:
        logged: admitted requests with the whole row as it was in the struct `original`.
        synthetic: rows of `synthetic_requests` of this run.
        segments: (user_id, segment_id).
    """
    placed = logged.join(segments.select("user_id", "segment_id"), "user_id", "left").select(
        F.col("original.*"),
        F.lit("logged").alias("rehearsal_origin"),
        F.lit(None).cast("string").alias("rehearsal_synthesizer_version"),
        F.coalesce("segment_id", F.lit(COLD)).alias("rehearsal_segment_id"),
        F.col("request_type").alias("rehearsal_base_request_type"),
    )
    cell = ("rehearsal_segment_id", "rehearsal_base_request_type")
    # Bounded by targeted segments x request types, so both joins are broadcasts.
    added = synthetic.groupBy(*cell).agg(F.count("*").alias("__m"))
    held = placed.join(F.broadcast(added), [*cell], "semi").groupBy(*cell)
    sizes = held.agg(F.count("*").alias("__n")).join(added, [*cell], "right")
    n = F.coalesce("__n", F.lit(0))
    weights = sizes.select(*cell, (n / (n + F.col("__m"))).alias("__weight"))
    both = placed.unionByName(
        synthetic.drop("rehearsal_weight", "rehearsal_run_id"), allowMissingColumns=True
    )
    weighted = both.join(F.broadcast(weights), [*cell], "left")
    return weighted.withColumn("rehearsal_weight", F.coalesce("__weight", F.lit(1.0))).drop(
        "__weight"
    )
