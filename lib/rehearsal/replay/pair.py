"""Both models on the same request: one row per request with both outputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from rehearsal.errors import ModelError
from rehearsal.replay.model import PackedModel
from rehearsal.replay.outputs import Outputs, align, faults
from rehearsal.settings import StoredOutput

_PROBE_ROWS = 20
_FAULT = "fault"
_SCORED = (
    "production_probabilities array<double>, production_value double, "
    "experimental_probabilities array<double>, experimental_value double, fault string"
)


@dataclass(frozen=True)
class Pair:
    """The two models, and the class order their probabilities are stored in."""

    production: PackedModel
    experimental: PackedModel
    classes: tuple[str, ...]


def probe_pair(requests: DataFrame, production: PackedModel, experimental: PackedModel) -> Pair:
    """Score a few requests with both models before any work starts; return the pair.

    Raises:
        ModelError: a model fails, returns a wrong shape, or the two have no output in common.
    """
    wanted = _inputs(production, experimental)
    sample = requests.select(*wanted).limit(_PROBE_ROWS).toPandas()
    outputs = [model.predict(sample) for model in (production, experimental)]
    first, second = outputs
    shared_value = first.value is not None and second.value is not None
    if not shared_value and (first.probabilities is None or second.probabilities is None):
        raise ModelError(
            f"production returns {_shape(first)} but experimental returns {_shape(second)}; "
            "drift needs the same kind of output from both"
        )
    if (first.probabilities is None) != (second.probabilities is None):
        raise ModelError(
            f"production returns {_shape(first)} but experimental returns {_shape(second)}; "
            "log both with class probabilities, or both with a value alone"
        )
    # Production's order first, so that a class the experimental model adds comes last.
    classes = tuple(dict.fromkeys([*first.classes, *second.classes]))
    return Pair(production, experimental, classes)


def score_pair(requests: DataFrame, pair: Pair) -> DataFrame:
    """Return `requests` with `production`, `experimental`, `classes` and `fault` (null = usable).

    Only the models' inputs pass through Python; each worker loads each model once.
    """
    columns = _inputs(pair.production, pair.experimental)
    scorer = pandas_udf(_scorer(pair), _SCORED)  # type: ignore[call-overload]
    scored = requests.withColumn("scored", scorer(F.struct(*columns)))
    return scored.select(
        *requests.columns,
        _output("production"),
        _output("experimental"),
        _classes(pair.classes),
        F.col("scored")[_FAULT].alias(_FAULT),
    )


def stored_pair(
    requests: DataFrame, production: StoredOutput, experimental: StoredOutput
) -> DataFrame:
    """Return `requests` with outputs already in the log, in the form of `score_pair`."""
    classes = tuple(dict.fromkeys([*production.probabilities, *experimental.probabilities]))
    sides = {"production": production, "experimental": experimental}
    found = [_stored_fault(name, stored) for name, stored in sides.items()]
    return requests.select(
        *requests.columns,
        *(_stored_output(stored, classes).alias(name) for name, stored in sides.items()),
        _classes(classes),
        F.coalesce(*found).alias(_FAULT),
    )


def _scorer(pair: Pair) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    def score(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            first, second = pair.production.predict(batch), pair.experimental.predict(batch)
            wrong = zip(faults(first, "production"), faults(second, "experimental"), strict=True)
            yield pd.DataFrame(
                {
                    "production_probabilities": _rows(align(first, pair.classes), len(batch)),
                    "production_value": _values(first, len(batch)),
                    "experimental_probabilities": _rows(align(second, pair.classes), len(batch)),
                    "experimental_value": _values(second, len(batch)),
                    "fault": [a or b for a, b in wrong],
                }
            )

    # pandas_udf reads the kind of function off these hints.
    score.__annotations__ = {"batches": Iterator[pd.DataFrame], "return": Iterator[pd.DataFrame]}
    return score


def _inputs(production: PackedModel, experimental: PackedModel) -> list[Column]:
    kinds = dict([*production.inputs, *experimental.inputs])
    return [F.col(f"`{name}`").try_cast(kind).alias(name) for name, kind in kinds.items()]


def _rows(table: np.ndarray | None, n: int) -> list[np.ndarray] | list[None]:
    return list(table) if table is not None else [None] * n


def _values(outputs: Outputs, n: int) -> np.ndarray:
    return outputs.value if outputs.value is not None else np.full(n, None)


def _output(name: str) -> Column:
    fields = [F.col(f"scored.{name}_{part}").alias(part) for part in ("probabilities", "value")]
    return F.struct(*fields).alias(name)


def _classes(classes: tuple[str, ...]) -> Column:
    return F.array(*(F.lit(label) for label in classes)).cast("array<string>").alias("classes")


def _stored_output(stored: StoredOutput, classes: tuple[str, ...]) -> Column:
    if stored.probabilities:
        zero = F.lit(0.0)
        held = stored.probabilities
        by_class = [F.col(f"`{held[label]}`") if label in held else zero for label in classes]
        probabilities = F.array(*by_class)
    else:
        probabilities = F.lit(None).cast("array<double>")
    if stored.value is not None:
        value = F.col(f"`{stored.value}`")
    elif len(classes) == 2:  # noqa: PLR2004
        value = probabilities[1]
    else:
        value = F.lit(None).cast("double")
    return F.struct(probabilities.alias("probabilities"), value.alias("value"))


def _stored_fault(name: str, stored: StoredOutput) -> Column:
    value = F.col(f"`{stored.value}`") if stored.value is not None else F.lit(0.0)
    parts = [F.col(f"`{column}`") for column in stored.probabilities.values()]
    total = sum(parts[1:], parts[0]) if parts else F.lit(1.0)
    least = F.least(*parts, F.lit(0.0)) if parts else F.lit(0.0)
    infinite = F.lit(float("inf"))
    return (
        F.when(value.isNull() | (F.abs(value) == infinite), f"{name} has no finite stored value")
        .when(total.isNull(), f"{name} has no stored probability for some class")
        .when(
            (F.abs(total - 1) > F.lit(1e-3)) | (least < 0),
            f"{name}'s stored probabilities are negative or do not sum to 1",
        )
    )


def _shape(outputs: Outputs) -> str:
    if outputs.probabilities is None:
        return "a value"
    return f"probabilities of {len(outputs.classes)} classes"
