"""A bounded sample of real users for the map of the segments, and each segment's prototypes."""

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from rehearsal.seeds import derive_seed, hash_order
from rehearsal.segments.preparation import Preparation

MAP_USERS, PROTOTYPES = 2000, 3


def map_sample(
    placed: DataFrame, described: DataFrame, preparation: Preparation, seed: int
) -> pd.DataFrame:
    """Return (segment_id, user_id, x, y, distance, prototype_rank), at most some thousand rows.

    x and y are the first two principal components of the scaled features over the sample;
    prototypes are the users nearest their segment's centre, of equal ones the first by id.

    Args:
        placed: (user_id, segment_id, distance); users without a distance (cold, noise) have no
            place on the map.
        described: (user_id, features) of at least these users.
        preparation: scales the features.
        seed: with user ids, all that the sample depends on.
    """
    placed = placed.where(F.col("distance").isNotNull()).select("user_id", "segment_id", "distance")
    order = hash_order(derive_seed(seed, "map"), "user_id")
    drawn = placed.orderBy(order, "user_id").limit(MAP_USERS)
    nearest = Window.partitionBy("segment_id").orderBy("distance", "user_id")
    ranked = placed.withColumn("prototype_rank", F.row_number().over(nearest))
    prototypes = ranked.where(F.col("prototype_rank") <= PROTOTYPES)
    together = prototypes.unionByName(drawn.withColumn("prototype_rank", F.lit(None).cast("int")))
    # Features of the few: those of all users are neither sorted nor moved.
    features = described.select("user_id", "features")
    frame = features.join(F.broadcast(together), "user_id").toPandas()  # bounded by the sample
    frame = frame.sort_values(["user_id", "prototype_rank"]).drop_duplicates("user_id")
    frame = frame.sort_values(["segment_id", "user_id"], ignore_index=True)
    if frame.empty:
        return frame.assign(x=[], y=[]).drop(columns="features")
    points = preparation.apply(np.array(frame["features"].to_list(), dtype=float))
    x, y = _two_components(points)
    return frame.assign(x=x, y=y).drop(columns="features")


def _two_components(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project rows on their first two principal components, signs fixed."""
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    strongest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), strongest])[:, None]
    flat = centred @ axes.T
    return flat[:, 0], flat[:, 1] if flat.shape[1] > 1 else np.zeros(len(flat))
