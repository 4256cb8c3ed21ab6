"""Centres from the sample by each method, and k-means of MLlib on all users."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyspark.ml.clustering import BisectingKMeans, KMeans
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.segments.assign import list_array
from rehearsal.segments.cluster.centres import Panel, choose, fit_centres, judge, merge_small
from rehearsal.segments.cluster.measure import Measured, measure
from rehearsal.segments.cluster.search import cost_of, count_distinct, top_up
from rehearsal.segments.mixture import Mixture, fit_mixture
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.nearest import nearest_labels
from rehearsal.segments.pipeline import prepared
from rehearsal.settings import Segments


@dataclass(frozen=True)
class Draft:
    """Centres (k, p) fitted to the sample, their mean squared distance there, and each k's panel.

    `mixture` holds the other parameters where the centres are a mixture's means.
    """

    centres: np.ndarray
    cost: float
    panels: tuple[Panel, ...] = ()
    mixture: Mixture | None = None


def cold_draft(
    spark: SparkSession, points: np.ndarray, settings: Segments, seed: int, ks: Sequence[int]
) -> Draft:
    """Return the best k's centres on the sample, points (n, p), by the method of the settings.

    A mixture takes the number of its components, and where they start, from k-means.
    """
    if settings.method == "bisecting":
        return _merged(points, _bisecting(spark, points, settings, seed, ks), settings)
    best, panels = choose(points, ks, seed, settings.restarts, settings.max_iterations)
    draft = _merged(points, Draft(best.centres, best.cost, tuple(panels)), settings)
    if settings.method == "mixture":
        labels = nearest_labels(np.ascontiguousarray(points.T), draft.centres)
        return replace(_mixture(points, labels, len(draft.centres), settings), panels=draft.panels)
    return draft


def warm_draft(
    points: np.ndarray, labels: np.ndarray, warm: SegmentModel, settings: Segments
) -> Draft | None:
    """Return centres settled from where the users of each of a model's segments are now.

    None where users are in fewer places than the model has segments: which are gone is unknown.

    Args:
        points: the sample as the new preparation has it, shape (n, p).
        labels: the model's centre of each of them, which needs no common space, shape (n,).
        warm: the model.
        settings: iterations.
    """
    k, columns = len(warm.centres), np.ascontiguousarray(points.T)
    if warm.mixture is not None:
        return _mixture(points, labels, k, settings)
    taken = np.unique(labels)
    means = np.stack([points[labels == label].mean(axis=0) for label in taken])
    # A segment that nobody of the sample is in starts again where users are served worst.
    start = top_up(columns, means, k)
    if len(start) < k:
        return None
    order = np.concatenate([taken, np.setdiff1d(np.arange(k), taken)])
    start = start[np.argsort(order, kind="stable")]
    found = fit_centres(points, k, 0, 1, settings.max_iterations, init=start)
    return Draft(found.centres, found.cost) if len(found.centres) == k else None


def cheaper_on_all(
    rows: DataFrame, model: SegmentModel, measured: Measured, settings: Segments
) -> tuple[SegmentModel, Measured]:
    """Return the model, or one with as many centres of MLlib's k-means on all users if cheaper."""
    if len(model.centres) == 1:  # the mean of all users, which a pass over them finds
        return model, measured
    points = prepared(rows, model.preparation).select("point").persist()
    fitted = KMeans(
        featuresCol="point", k=len(model.centres), seed=model.seed,
        maxIter=settings.max_iterations,
        # "auto" settles on the slower row solver for dense vectors.
        solver="block", maxBlockSizeInMB=0.1,
    ).fit(points)  # fmt: skip
    points.unpersist()
    centres = np.array(fitted.clusterCenters())
    if len(centres) != len(model.centres):
        return model, measured
    other = replace(model, centres=centres)
    other_measured = measure(rows, other)
    cheaper = other_measured.cost < measured.cost
    return (other, other_measured) if cheaper else (model, measured)


def _merged(points: np.ndarray, draft: Draft, settings: Segments) -> Draft:
    if settings.small_segments != "merge":
        return draft
    merged = merge_small(points, draft.centres, settings.min_segment_share, settings.max_iterations)
    return replace(draft, centres=merged.centres, cost=merged.cost)


def _in_one_partition(spark: SparkSession, points: np.ndarray) -> DataFrame:
    """Points (n, p) of the bounded sample as a frame whose fits do not depend on the cluster."""
    frame = spark.createDataFrame(pa.table({"point": list_array(points)}))
    return frame.coalesce(1).select(array_to_vector(F.col("point")).alias("point")).persist()


def _best(points: np.ndarray, fits: Sequence[np.ndarray]) -> tuple[int, tuple[Panel, ...]]:
    """Return which centres have the highest silhouette, the fewest of equal ones; all panels."""
    panels = tuple(judge(points, centres) for centres in fits)
    order = [(panel.silhouette, -panel.k) for panel in panels]
    return order.index(max(order)), panels


def _capped(points: np.ndarray, ks: Sequence[int]) -> list[int]:
    distinct = count_distinct(points, max(ks))
    return sorted({min(k, distinct) for k in ks})


def _bisecting(
    spark: SparkSession, points: np.ndarray, settings: Segments, seed: int, ks: Sequence[int]
) -> Draft:
    frame = _in_one_partition(spark, points)

    def fitted(k: int) -> np.ndarray:
        if k == 1:  # which MLlib refuses
            return np.asarray(points.mean(axis=0, keepdims=True))
        method = BisectingKMeans(
            featuresCol="point", k=k, seed=seed, maxIter=settings.max_iterations
        )
        return np.array(method.fit(frame).clusterCenters())

    fits = [fitted(k) for k in _capped(points, ks)]
    frame.unpersist()
    best, panels = _best(points, fits)
    return Draft(fits[best], cost_of(np.ascontiguousarray(points.T), fits[best]), panels)


def _mixture(points: np.ndarray, labels: np.ndarray, k: int, settings: Segments) -> Draft:
    means, mixture = fit_mixture(points, labels, k, settings.max_iterations)
    return Draft(means, cost_of(np.ascontiguousarray(points.T), means), mixture=mixture)
