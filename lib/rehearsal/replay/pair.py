"""Both models on the same request: one row per request with both outputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from rehearsal.errors import ModelError
from rehearsal.names import quoted
from rehearsal.replay.model import PackedModel
from rehearsal.replay.outputs import Outputs, align, faults
from rehearsal.settings import StoredOutput

_PROBE_ROWS = 20
_FAULT = "fault"
_TYPES = {
    "production_probabilities": "array<double>",
    "production_value": "double",
    "experimental_probabilities": "array<double>",
    "experimental_value": "double",
    "fault": "string",
}
_COLUMNS = list(_TYPES)
_SCORED = ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())


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
    required = {*production.required, *experimental.required}
    complete = requests.select(*_inputs(production, experimental))
    if required:
        complete = complete.dropna(subset=sorted(required))
    sample = complete.limit(_PROBE_ROWS).toPandas()
    if sample.empty:
        raise ModelError(
            f"no request has {', '.join(sorted(required))}, which the models' signatures declare "
            "as whole numbers, so that they cannot be missing; check the mapping of these columns"
        )
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
            missing = _missing(batch, pair)
            usable = missing.isna().to_numpy()
            scored = _score(batch[usable], pair) if usable.any() else {}
            found = pd.DataFrame({name: _spread(scored.get(name, []), usable) for name in _COLUMNS})
            every = zip(usable, found["fault"], missing, strict=True)
            found["fault"] = [fault if fit else lacking for fit, fault, lacking in every]
            yield found

    # pandas_udf reads the kind of function off these hints.
    score.__annotations__ = {"batches": Iterator[pd.DataFrame], "return": Iterator[pd.DataFrame]}
    return score


def _missing(batch: pd.DataFrame, pair: Pair) -> pd.Series:
    """Say per request which required input it lacks, or None."""
    reasons = pd.Series(None, batch.index, dtype=object)
    for name, model in (("production", pair.production), ("experimental", pair.experimental)):
        for column in model.required:
            lacking = batch[column].isna() & reasons.isna()
            reasons[lacking] = f"{name} takes {column} as a whole number, and it is missing"
    return reasons


def _spread(values: list[Any], usable: np.ndarray) -> pd.Series:
    """Put the scored rows' values in their places among all rows; None elsewhere."""
    if usable.all():
        return pd.Series(values, dtype=object)
    placed = np.full(len(usable), None, dtype=object)
    for position, value in zip(np.flatnonzero(usable), values, strict=True):
        placed[position] = value
    return pd.Series(placed)


def _score(batch: pd.DataFrame, pair: Pair) -> dict[str, list[Any]]:
    first, second = pair.production.predict(batch), pair.experimental.predict(batch)
    wrong = zip(faults(first, "production"), faults(second, "experimental"), strict=True)
    columns: list[list[Any]] = [
        _rows(align(first, pair.classes), len(batch)),
        _values(first, len(batch)),
        _rows(align(second, pair.classes), len(batch)),
        _values(second, len(batch)),
        [a or b for a, b in wrong],
    ]
    return dict(zip(_COLUMNS, columns, strict=True))


def _inputs(production: PackedModel, experimental: PackedModel) -> list[Column]:
    kinds = dict([*production.inputs, *experimental.inputs])
    return [F.col(quoted(name)).try_cast(kind).alias(name) for name, kind in kinds.items()]


def _rows(table: np.ndarray | None, n: int) -> list[np.ndarray] | list[None]:
    return list(table) if table is not None else [None] * n


def _values(outputs: Outputs, n: int) -> list[float] | list[None]:
    return outputs.value.tolist() if outputs.value is not None else [None] * n


def _output(name: str) -> Column:
    fields = [F.col(f"scored.{name}_{part}").alias(part) for part in ("probabilities", "value")]
    return F.struct(*fields).alias(name)


def _classes(classes: tuple[str, ...]) -> Column:
    return F.array(*(F.lit(label) for label in classes)).cast("array<string>").alias("classes")


def _stored_output(stored: StoredOutput, classes: tuple[str, ...]) -> Column:
    if stored.probabilities:
        zero = F.lit(0.0)
        held = stored.probabilities
        by_class = [F.col(quoted(held[label])) if label in held else zero for label in classes]
        probabilities = F.array(*by_class)
    else:
        probabilities = F.lit(None).cast("array<double>")
    if stored.value is not None:
        value = F.col(quoted(stored.value))
    elif len(classes) == 2:  # noqa: PLR2004
        value = probabilities[1]
    else:
        value = F.lit(None).cast("double")
    return F.struct(probabilities.alias("probabilities"), value.alias("value"))


def _stored_fault(name: str, stored: StoredOutput) -> Column:
    value = F.col(quoted(stored.value)) if stored.value is not None else F.lit(0.0)
    parts = [F.col(quoted(column)) for column in stored.probabilities.values()]
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
