"""The same segmentation as a Spark ML pipeline, for those who serve models as such."""

from collections.abc import Sequence

import numpy as np
from pyspark.ml import PipelineModel, Transformer
from pyspark.ml.clustering import KMeans, KMeansModel
from pyspark.ml.feature import SQLTransformer, VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession

from rehearsal.errors import ModelError
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.preparation import CLIP, SANE, Preparation

_TAILS = {
    "none": "{0}",
    "log": "log1p(greatest({0}, 0D))",
    "sqrt": "sqrt(greatest({0}, 0D))",
}
_PIPELINES = ("kmeans", "bisecting")


def to_pipeline(spark: SparkSession, model: SegmentModel) -> PipelineModel:
    """Return the model as a pipeline that adds `point`, `cluster` and `segment_id` to its input.

    Input is (features ARRAY<DOUBLE>, any other columns). The pipeline saves and loads as any
    other. Every user gets the segment that `model.assign` gives, except where two centres are
    equally near up to rounding.

    Raises:
        ModelError: the method is not one of nearest centres: mixture and dbscan.
    """
    if model.method not in _PIPELINES:
        raise ModelError(
            f"a {model.method} segmentation has no Spark ML pipeline, only "
            f"{' and '.join(_PIPELINES)} have; use its model_json with SegmentModel.from_json"
        )
    return PipelineModel(stages=[*_preparation(model.preparation), *_placing(spark, model)])


def prepared(rows: DataFrame, preparation: Preparation) -> DataFrame:
    """Return rows (features, ...) with the vector `point`, without leaving the JVM."""
    return PipelineModel(stages=[*_preparation(preparation)]).transform(rows)


def _preparation(preparation: Preparation) -> list[Transformer]:
    """Return the stages that add `point`; their names are all that the SQL is made of."""
    scaled = [f"rehearsal_scaled_{i}" for i in range(len(preparation.features))]
    stages: list[Transformer] = [
        _with_columns({name: _scaled(preparation, i) for i, name in enumerate(scaled)})
    ]
    columns = scaled
    if preparation.rotation is not None:
        columns = [f"rehearsal_axis_{i}" for i in range(preparation.width)]
        sums = [
            " + ".join(f"{name} * {_literal(x)}" for name, x in zip(scaled, axis, strict=True))
            for axis in preparation.rotation.T
        ]
        stages.append(_with_columns(dict(zip(columns, sums, strict=True)), without=scaled))
    stages.append(VectorAssembler(inputCols=columns, outputCol="point"))
    return [*stages, _with_columns({}, without=columns)]


def _with_columns(columns: dict[str, str], without: Sequence[str] = ()) -> SQLTransformer:
    less = f" EXCEPT ({', '.join(without)})" if without else ""
    added = "".join(f", {expression} AS {name}" for name, expression in columns.items())
    return SQLTransformer(statement=f"SELECT *{less}{added} FROM __THIS__")  # noqa: S608 - own names


def _placing(spark: SparkSession, model: SegmentModel) -> list[Transformer]:
    """Return the stages that add `cluster` and the name of its segment."""
    if len(model.centres) == 1:  # MLlib refuses k = 1
        return [_with_columns({"cluster": "0", "segment_id": f"'{model.segment_ids[0]}'"})]
    clusters = _centres(spark, model.centres)
    # MLlib has the centres in an order of its own.
    ids = {tuple(c): name for c, name in zip(model.centres, model.segment_ids, strict=True)}
    names = ", ".join(f"'{ids[tuple(centre)]}'" for centre in clusters.clusterCenters())
    named = _with_columns({"segment_id": f"element_at(array({names}), cluster + 1)"})
    return [clusters, named]


def _scaled(preparation: Preparation, i: int) -> str:
    """One scaled feature in SQL: what `Preparation.apply` does, operation by operation."""
    raw = f"try_element_at(features, {i + 1})"
    tamed = _TAILS[preparation.features[i].tail].format(raw)
    centre, scale, weight = (
        _literal(x) for x in (preparation.centre[i], preparation.scale[i], preparation.weights[i])
    )
    scaled = f"least(greatest(({tamed} - {centre}) / {scale}, -{CLIP!r}D), {CLIP!r}D) * {weight}"
    # NaN is above all numbers in Spark, so it is missing here as infinities are.
    return f"CASE WHEN abs({raw}) < {SANE!r}D THEN {scaled} ELSE 0D END"


def _literal(value: float) -> str:
    """A double in SQL, exactly."""
    return f"{float(value)!r}D"


def _centres(spark: SparkSession, centres: np.ndarray) -> KMeansModel:
    """Return MLlib's model with exactly these centres.

    There is no public constructor. Without tolerance or moves, one iteration over the centres
    themselves leaves each where it is.
    """
    frame = spark.createDataFrame([(Vectors.dense(centre),) for centre in centres], ["point"])
    return KMeans(
        featuresCol="point", predictionCol="cluster", k=len(centres), initMode="random",
        maxIter=1, seed=1,
    ).fit(frame.coalesce(1))  # fmt: skip
