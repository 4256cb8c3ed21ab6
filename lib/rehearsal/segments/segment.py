"""Users to segments: features, fit, assignment and profiles, as the rows of their tables."""

import json
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.segments.features import Feature
from rehearsal.segments.kmeans import Fit, assign, fit_kmeans
from rehearsal.segments.profile import describe_segments, segment_moments
from rehearsal.settings import KMeansSegments
from rehearsal.tables.schemas import COLD


@dataclass(frozen=True)
class Segmentation:
    """Every user's segment (user_id, segment_id, distance), and the fit behind it."""

    assignments: DataFrame
    fit: Fit


def segment_users(
    rows: DataFrame, features: tuple[Feature, ...], settings: KMeansSegments, seed: int
) -> Segmentation:
    """Fit on users with enough history and assign all; the rest are in segment 'cold'.

    Args:
        rows: (user_id, n_requests, features), read from a table: it is passed over three times.
        features: what each position of `features` is.
        settings: k-means settings.
        seed: all randomness depends on it and on user ids.
    """
    warm = F.col("n_requests") >= settings.min_history_requests
    fit = fit_kmeans(rows.where(warm), features, settings, seed)
    cold = rows.where(~warm).select(
        "user_id", F.lit(COLD).alias("segment_id"), F.lit(None).cast("double").alias("distance")
    )
    return Segmentation(assign(rows.where(warm), fit).unionByName(cold), fit)


def profiles(
    rows: DataFrame, assignments: DataFrame, features: tuple[Feature, ...]
) -> pd.DataFrame:
    """Return the profile rows of every segment; bounded by segments x features."""
    joined = rows.join(assignments.select("user_id", "segment_id"), "user_id")
    return describe_segments(segment_moments(joined, len(features)), features)


def segmentation_row(
    spark: SparkSession,
    fit: Fit,
    features: tuple[Feature, ...],
    settings: KMeansSegments,
    as_of: datetime,
    pipeline_path: str,
) -> DataFrame:
    """Return the one row that documents a fitted segmentation, without run and version."""
    curve = [{"k": k, "silhouette": s, "cost": c} for k, s, c in fit.curve]
    row = (
        settings.method, len(fit.segment_ids), as_of, fit.n_fit_users, fit.silhouette, fit.cost,
        curve, [feature.name for feature in features], pipeline_path,
        json.dumps(settings.model_dump(mode="json"), sort_keys=True),
    )  # fmt: skip
    schema = (
        "method string, k int, as_of timestamp, n_fit_users bigint, silhouette double, "
        "cost double, k_curve array<struct<k:int,silhouette:double,cost:double>>, "
        "feature_names array<string>, pipeline_path string, settings_json string"
    )
    return spark.createDataFrame([row], schema)
