"""How far users have moved away from the fit in force, from one pass over them."""

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.segments.adapt.change import Measures, Tally, measure, psi
from rehearsal.segments.assign import assign
from rehearsal.segments.model import SegmentModel
from rehearsal.sums import stable_sum
from rehearsal.tables.schemas import NOISE

# Units of the sums below: far above a user's squared distance, so that they add up exactly.
_SQUARED_UNIT, _FOURTH_UNIT = 2.0**10, 2.0**20


def tally_users(rows: DataFrame, model: SegmentModel) -> Tally:
    """Return one pass over users: by nearest segment, in the order of the model's ids.

    Sums are of numbers rounded alike, so that they do not depend on the order of users. Noise
    counts as a segment after the others where the model knows it, and not in the sums.
    """
    ids = _names(model)
    far = {name: model.far.get(name, float("inf")) for name in ids}
    squared = F.col("distance") * F.col("distance")
    # A single segment has no second: nobody is more in it than elsewhere.
    has_second = F.col("second_distance") < F.lit(float("inf"))
    ratio = F.when(has_second, 1 - F.try_divide("distance", "second_distance"))
    placed = assign(rows, model)
    limit = F.coalesce(*(F.when(F.col("segment_id") == n, F.lit(d)) for n, d in far.items()))
    sums = placed.withColumn("far", F.col("distance") > limit).groupBy("segment_id").agg(
        F.count("*").alias("n"),
        stable_sum(squared, _SQUARED_UNIT).alias("squared"),
        stable_sum(squared * squared, _FOURTH_UNIT).alias("fourth"),
        F.count_if("far").alias("far"),
        stable_sum(F.coalesce(ratio, F.lit(0.0))).alias("silhouette"),
    )  # fmt: skip
    found = {row["segment_id"]: row for row in sums.collect()}  # bounded by segments
    held = [found[name] for name in ids if name in found]
    inside = [row for row in held if row["segment_id"] != NOISE]
    return Tally(
        users=np.array([found[name]["n"] if name in found else 0 for name in ids]),
        squared=sum(row["squared"] for row in inside),
        fourth=sum(row["fourth"] for row in inside),
        far=sum(row["far"] for row in inside),
        silhouette=sum(row["silhouette"] for row in inside),
    )


def _names(model: SegmentModel) -> list[str]:
    is_place = model.reach is not None and not (model.assign_noise and model.segments)
    return [*model.segments, *([NOISE] if is_place else [])]


def measures_since_fit(now: Tally, model: SegmentModel) -> Measures:
    """Return the change of all users since the fit of `model`."""
    shares = np.array([model.shares.get(name, 0.0) for name in _names(model)])
    n = int(now.users.sum())
    n_fit_users = model.n_users or n
    if model.cost is None:  # dbscan: what counts is the mix, and how many are in no dense place
        noise = now.users[-1] / n if NOISE in _names(model) else 0.0
        rise = max(noise - model.shares.get(NOISE, 0.0), 0.0)
        mix = psi(now.users / n, shares, n)
        return Measures(mix, 1.0, float(rise), 0.0, n, len(shares), n_fit_users)
    return measure(now, shares, model.cost, model.silhouette or 0.0, n_fit_users)
