"""k-means|| of MLlib on a sample that depends on (seed, user) alone, then one pass over all users.

A sample keeps every fit small; taken in hash order into one partition it makes the fit the same
on any cluster, which MLlib's k-means on partitioned data is not (SPARK-21679).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool

import numpy as np
import pandas as pd
from pyspark import inheritable_thread_target
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.feature import (
    ElementwiseProduct,
    Imputer,
    SQLTransformer,
    StandardScaler,
    VectorAssembler,
)
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from rehearsal.errors import ContractError
from rehearsal.seeds import derive_seed, hash_order
from rehearsal.segments.features import Feature
from rehearsal.settings import KMeansSegments

_FITS_AT_ONCE = 4
_TAILS = {"none": "{0}", "log": "log1p({0})", "sqrt": "sqrt({0})"}


@dataclass(frozen=True)
class Fit:
    """A fitted segmentation: raw `features` in, cluster index out, and what each k would give."""

    pipeline: PipelineModel
    centres: np.ndarray
    curve: tuple[tuple[int, float, float], ...]
    silhouette: float
    cost: float
    n_fit_users: int
    segment_ids: tuple[str, ...]


def fit_kmeans(
    rows: DataFrame, features: Sequence[Feature], settings: KMeansSegments, seed: int
) -> Fit:
    """Return the best k in [k_min, k_max] by simplified silhouette, fitted on a sample of users.

    Args:
        rows: (user_id, features ARRAY<DOUBLE>), nulls allowed.
        features: what each position is; their groups weigh the same unless settings say.
        settings: range of k, sample size, restarts, weights of feature groups.
        seed: with user ids, all that the sample and the starts depend on.

    Raises:
        ContractError: fewer users with history than `k_min`.
    """
    order = hash_order(derive_seed(seed, "fit sample"), "user_id")
    sample = rows.orderBy(order, "user_id").limit(settings.fit_sample_users)
    prepared = _preparation(features, settings).fit(sample.select("features").persist())
    points = prepared.transform(sample).select("point").persist()
    n = points.count()
    if n < settings.k_min:
        raise ContractError(
            f"only {n} users have {settings.min_history_requests} or more requests before the "
            f"replay, too few for segments.k_min={settings.k_min}; lengthen "
            "segments.history_days or lower segments.k_min"
        )
    ks = range(settings.k_min, min(settings.k_max, n) + 1)
    candidates = _fit_all(points, [(k, 0) for k in ks], settings, seed)
    judged = _judge(points, [_centres(model) for model in candidates])
    # On equal silhouettes the smaller k is the simpler account.
    best_k = max(judged, key=lambda row: (row[1], -row[0]))[0]
    starts = [(best_k, start) for start in range(settings.restarts)]
    refits = _fit_all(points, starts, settings, seed)
    model = min(refits, key=lambda fitted: fitted.summary.trainingCost)
    ((_, silhouette, cost, sizes),) = _judge(points, [_centres(model)])
    pipeline = PipelineModel(stages=[*prepared.stages, model])
    curve = tuple((k, s, c) for k, s, c, _ in judged)
    return Fit(pipeline, _centres(model), curve, silhouette, cost, n, _name_by_size(sizes))


def assign(rows: DataFrame, fit: Fit) -> DataFrame:
    """Return (user_id, segment_id, distance): nearest centre, Euclidean in scaled units."""
    centres = fit.centres

    @pandas_udf("double")  # type: ignore[call-overload,untyped-decorator]
    def distance(points: pd.Series, clusters: pd.Series) -> pd.Series:
        stacked = np.stack(points.to_list())
        return pd.Series(np.linalg.norm(stacked - centres[clusters.to_numpy()], axis=1))

    ids = F.array(*(F.lit(name) for name in fit.segment_ids))
    clustered = fit.pipeline.transform(rows)
    return clustered.select(
        "user_id",
        F.element_at(ids, F.col("cluster") + 1).alias("segment_id"),
        distance(vector_to_array(F.col("point")), "cluster").alias("distance"),
    )


def _preparation(features: Sequence[Feature], settings: KMeansSegments) -> Pipeline:
    """Tails tamed, missing values at the median, unit variance, each group with its weight."""
    names = [f"f{i}" for i in range(len(features))]
    sizes = pd.Series([feature.group for feature in features]).value_counts()
    weigh = {str(group): weight for group, weight in settings.group_weights.items()}
    weights = [
        float(weigh.get(feature.group, 1.0) / np.sqrt(sizes[feature.group])) for feature in features
    ]
    picked = ", ".join(
        f"CAST({_TAILS[feature.tail].format(f'features[{i}]')} AS DOUBLE) AS {names[i]}"
        for i, feature in enumerate(features)
    )
    filled = [f"{name}_filled" for name in names]
    return Pipeline(
        stages=[
            SQLTransformer(statement=f"SELECT *, {picked} FROM __THIS__"),  # noqa: S608 - own names
            Imputer(inputCols=names, outputCols=filled, strategy="median"),
            VectorAssembler(inputCols=filled, outputCol="assembled"),
            StandardScaler(inputCol="assembled", outputCol="scaled", withMean=True, withStd=True),
            ElementwiseProduct(
                inputCol="scaled", outputCol="point", scalingVec=Vectors.dense(weights)
            ),
        ]
    )


def _fit_all(
    points: DataFrame, starts: Sequence[tuple[int, int]], settings: KMeansSegments, seed: int
) -> list[KMeansModel]:
    """Fit every (k, start); side by side, since each is a chain of jobs too small to fill cores."""

    def fit(start: tuple[int, int]) -> KMeansModel:
        k, number = start
        return KMeans(
            featuresCol="point", predictionCol="cluster", k=k,
            seed=derive_seed(seed, "k-means", k, number), maxIter=settings.max_iterations,
            # "auto" settles on the slower row solver for dense vectors.
            solver="block", maxBlockSizeInMB=0.1,
        ).fit(points)  # fmt: skip

    with ThreadPool(min(len(starts), _FITS_AT_ONCE)) as pool:
        return pool.map(inheritable_thread_target(points.sparkSession)(fit), starts)


def _centres(model: KMeansModel) -> np.ndarray:
    return np.array(model.clusterCenters())


def _judge(
    points: DataFrame, candidates: list[np.ndarray]
) -> list[tuple[int, float, float, list[int]]]:
    """Return (k, simplified silhouette, cost, sizes) of every candidate from one pass.

    The simplified silhouette is the mean over users of (b - a) / max(a, b), with a and b the
    distances to the nearest and the second nearest centre (Hruschka et al. 2004).
    """

    def measure(batches: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        for batch in batches:
            stacked = np.stack(batch["point"].to_list())
            for index, centres in enumerate(candidates):
                squares = ((stacked[:, None, :] - centres[None]) ** 2).sum(axis=2)
                nearest = np.sort(squares, axis=1)[:, :2]
                a, b = np.sqrt(nearest[:, 0]), np.sqrt(nearest[:, 1])
                gap = np.divide(b - a, b, out=np.zeros_like(b), where=b > 0)
                sizes = np.bincount(squares.argmin(axis=1), minlength=len(centres))
                yield pd.DataFrame(
                    {"index": [index], "gap": [gap.sum()], "cost": [nearest[:, 0].sum()],
                     "sizes": [sizes.tolist()]}
                )  # fmt: skip

    schema = "index int, gap double, cost double, sizes array<bigint>"
    arrays = points.select(vector_to_array(F.col("point")).alias("point"))
    # One row per candidate and batch of the bounded sample.
    measured = arrays.mapInPandas(measure, schema).toPandas()
    result = []
    for index, centres in enumerate(candidates):
        rows = measured[measured["index"] == index]
        sizes = np.sum(np.stack(rows["sizes"].to_list()), axis=0)
        silhouette = float(rows["gap"].sum() / sizes.sum())
        result.append((len(centres), silhouette, float(rows["cost"].sum()), sizes.tolist()))
    return result


def _name_by_size(sizes: list[int]) -> tuple[str, ...]:
    """Segment ids by cluster index: s1 is the largest in the sample."""
    order = sorted(range(len(sizes)), key=lambda cluster: (-sizes[cluster], cluster))
    rank = {cluster: position for position, cluster in enumerate(order, start=1)}
    width = len(str(len(sizes)))
    return tuple(f"s{rank[cluster]:0{width}d}" for cluster in range(len(sizes)))
