"""Users from segment to segment between two runs, and what the movers are worth."""

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.sums import stable_sum

_FLOW = ["from_segment_id", "to_segment_id"]


def flow_counts(now: DataFrame, before: DataFrame) -> pd.DataFrame:
    """Return one row per pair of segments with a user in it; bounded by segments squared.

    Args:
        now: rows of `segment_assignments` of this run.
        before: the same of the run before.

    Returns:
        (from_segment_id, to_segment_id, n_users, requests_before, requests_after, value_before,
        value_after): means per user of the flow; before-values of movers only, whose rows alone
        are joined; from NULL = was not there, to NULL = is gone.
    """
    pair = [
        F.col("previous_segment_id").alias(_FLOW[0]),
        F.col("segment_id").alias(_FLOW[1]),
    ]
    after = now.groupBy(*pair).agg(
        F.count("*").alias("n_users"),
        F.avg("n_requests").alias("requests_after"),
        (stable_sum(F.col("value")) / F.count("value")).alias("value_after"),
    )
    moved = now.where(~F.col("previous_segment_id").eqNullSafe(F.col("segment_id")))
    was = before.select(
        "user_id", F.col("n_requests").alias("requests_then"), F.col("value").alias("value_then")
    )
    movers = moved.select("user_id", *pair).join(was, "user_id")
    gone = before.join(now.select("user_id"), "user_id", "left_anti").select(
        "user_id", F.col("segment_id").alias(_FLOW[0]), F.lit(None).cast("string").alias(_FLOW[1]),
        F.col("n_requests").alias("requests_then"), F.col("value").alias("value_then"),
    )  # fmt: skip
    earlier = movers.unionByName(gone).groupBy(*_FLOW)
    then = earlier.agg(
        F.count("*").alias("n_then"),
        F.avg("requests_then").alias("requests_before"),
        (stable_sum(F.col("value_then")) / F.count("value_then")).alias("value_before"),
    )
    frame = after.toPandas().merge(then.toPandas(), on=_FLOW, how="outer")
    # Flows of users that are gone are in the second part alone.
    frame["n_users"] = frame["n_users"].fillna(frame["n_then"]).astype(int)
    columns = ["requests_before", "requests_after", "value_before", "value_after"]
    return frame[[*_FLOW, "n_users", *columns]].sort_values(_FLOW, ignore_index=True)


def segment_worth(now: DataFrame) -> dict[str, float]:
    """Return each segment's mean value per user, or mean requests where no value is mapped."""
    rows = now.groupBy("segment_id").agg(
        (stable_sum(F.col("value")) / F.count("*")).alias("value"),
        F.avg("n_requests").alias("requests"),
    )
    frame = rows.toPandas()  # bounded by segments
    named = "value" if frame["value"].notna().any() else "requests"
    return dict(zip(frame["segment_id"], frame[named].fillna(0.0).astype(float), strict=True))
