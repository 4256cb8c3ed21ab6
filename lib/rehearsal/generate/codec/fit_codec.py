"""Fit the codec of a run on its training rows, as bounded aggregates.

Two passes: exact counts of the categories, and a sample of rows in hash order for the numbers.
Both are the same whatever the partitioning.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from rehearsal.generate.codec.columns import (
    Categorical,
    Continuous,
    Datetime,
    TokenSource,
    epoch_seconds,
)
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.numeric import Floats, fit_numeric
from rehearsal.names import quoted
from rehearsal.seeds import derive_seed, hash_order
from rehearsal.settings import Generator, Settings
from rehearsal.tables.source import outcome_kind

SAMPLE_ROWS = 100_000
MAX_POOLED = 1_000
_DAY = 86_400


@dataclass(frozen=True)
class Field:
    """A column the codec covers: its name, kind, and whether it is a condition."""

    name: str
    kind: str
    condition: bool


def codec_fields(settings: Settings, requests_schema: StructType) -> list[Field]:
    """Return conditions (request type, profile attributes), then what is generated.

    Args:
        settings: the column mapping.
        requests_schema: of the user's request log, which decides the outcome's kind.
    """
    columns, fields = settings.requests.columns, [Field("request_type", "categorical", True)]
    if settings.users is not None:
        users = settings.users.columns
        fields += [Field(name, "continuous", True) for name in users.continuous]
        fields += [Field(name, "categorical", True) for name in users.categorical]
    fields += [Field(name, "categorical", False) for name in columns.categorical]
    fields += [Field(name, "continuous", False) for name in columns.continuous]
    fields += [Field(name, "datetime", False) for name in (*columns.datetime, "requested_at")]
    if columns.outcome is not None:
        kind = outcome_kind(requests_schema, columns.outcome)
        fields.append(Field(columns.outcome, kind, False))
    return fields


def fit_codec(
    rows: DataFrame,
    fields: Sequence[Field],
    settings: Generator,
    seed: int,
    keep: Mapping[str, Sequence[str]],
) -> Codec:
    """Return the codec of the rows.

    Args:
        rows: training rows with `request_id` and every field by name; passed over twice.
        fields: the columns to cover, conditions first.
        settings: number of bins and categories, and the count below which values are pooled.
        seed: decides which rows are sampled for the numbers.
        keep: column -> categories that get a code of their own however rare they are.
    """
    named = [field.name for field in fields if field.kind == "categorical"]
    counts = _category_counts(rows, named, settings)
    return _build(fields, counts, _number_sample(rows, fields, seed), settings, keep)


def fields_of(frame: pd.DataFrame, conditions: Sequence[str]) -> list[Field]:
    """Return the fields of a table in memory, conditions first, kinds by the columns' types."""
    rest = [str(name) for name in frame.columns if name not in conditions]
    return [Field(name, _kind_of(frame[name]), name in conditions) for name in (*conditions, *rest)]


def _kind_of(values: pd.Series) -> str:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "datetime"
    numeric = pd.api.types.is_numeric_dtype(values.dtype)
    return "continuous" if numeric and values.dtype != bool else "categorical"


def fit_codec_frame(frame: pd.DataFrame, fields: Sequence[Field], settings: Generator) -> Codec:
    """Return the codec of a table in memory; `fit_codec` is the same on Spark."""
    counts, sample = {}, {}
    for position, field in enumerate(fields):
        values = frame[field.name]
        if field.kind == "categorical":
            found = values.dropna().astype(str).value_counts()
            ranked = sorted(found[found >= settings.min_count].items(), key=lambda c: (-c[1], c[0]))
            counts[field.name] = {str(name): int(n) for name, n in ranked}
        else:
            numbers = epoch_seconds(values) if field.kind == "datetime" else values
            sample[f"value_{position}"] = np.asarray(numbers, dtype=np.float64)
    return _build(fields, counts, pd.DataFrame(sample), settings, {})


def _build(
    fields: Sequence[Field],
    counts: Mapping[str, Mapping[str, int]],
    sample: pd.DataFrame,
    settings: Generator,
    keep: Mapping[str, Sequence[str]],
) -> Codec:
    made: dict[bool, list[TokenSource]] = {True: [], False: []}
    for position, field in enumerate(fields):
        if field.kind == "categorical":
            forced = keep.get(field.name, ())
            column: TokenSource = _categorical(field.name, counts[field.name], forced, settings)
        else:
            column = _numbers(field, sample[f"value_{position}"], settings)
        made[field.condition].append(column)
    return Codec(tuple(made[True]), tuple(made[False]))


def _category_counts(
    rows: DataFrame, names: Sequence[str], settings: Generator
) -> dict[str, dict[str, int]]:
    """Return column -> category -> rows, most frequent first; at most max_categories + pooled."""
    pairs = F.array(
        *(
            F.struct(F.lit(name).alias("column"), F.col(quoted(name)).alias("category"))
            for name in names
        )
    )
    counted = (
        rows.select(F.explode(pairs).alias("pair"))
        .select("pair.column", "pair.category")
        .where(F.col("category").isNotNull())
        .groupBy("column", "category")
        .agg(F.count("*").alias("n"))
        .where(F.col("n") >= settings.min_count)
    )
    by_count = Window.partitionBy("column").orderBy(F.desc("n"), "category")
    limit = settings.max_categories + MAX_POOLED
    top = counted.withColumn("rank", F.row_number().over(by_count)).where(F.col("rank") <= limit)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    # Bounded: columns x limit.
    for row in sorted(top.collect(), key=lambda row: (row["column"], row["rank"])):
        counts[row["column"]][row["category"]] = row["n"]
    return counts


def _categorical(
    name: str, counts: Mapping[str, int], forced: Sequence[str], settings: Generator
) -> Categorical:
    frequent = list(counts)[: settings.max_categories]
    kept = sorted({*frequent, *forced})
    pooled = tuple((category, n) for category, n in counts.items() if category not in kept)
    return Categorical(name, tuple(kept), tuple(counts.get(c, 0) for c in kept), pooled)


def _number_sample(rows: DataFrame, fields: Sequence[Field], seed: int) -> pd.DataFrame:
    """Return at most SAMPLE_ROWS rows of the numbers and instants (as seconds), in hash order."""
    values = []
    for position, field in enumerate(fields):
        if field.kind != "categorical":
            column = F.col(quoted(field.name))
            number = F.unix_seconds(column) if field.kind == "datetime" else column
            values.append(number.cast("double").alias(f"value_{position}"))
    order = hash_order(derive_seed(seed, "codec"), "request_id")
    chosen = rows.orderBy(order, "request_id").limit(SAMPLE_ROWS)
    # Bounded by SAMPLE_ROWS, whatever the size of the log.
    return chosen.select(*values).toPandas()


def _numbers(field: Field, sample: pd.Series, settings: Generator) -> TokenSource:
    values: Floats = sample.to_numpy(dtype=np.float64)
    bins, min_count = settings.bins, settings.min_count
    if field.kind == "continuous":
        return Continuous(field.name, fit_numeric(values, bins, min_count))
    seconds = values[~np.isnan(values)]
    day = np.floor(seconds / _DAY)
    low, high = (int(seconds.min()), int(seconds.max())) if len(seconds) else (0, 0)
    return Datetime(
        field.name,
        fit_numeric(day, bins, min_count),
        fit_numeric(seconds - day * _DAY, bins, min_count),
        low,
        high,
    )
