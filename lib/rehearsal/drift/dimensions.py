"""What a request can be told apart by: its type, features and profile, and when it came."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.settings import Settings

OTHER, MISSING = "(other)", "(missing)"
HOUR, DAY = "hour of day", "part of week"
_TOP, _BINS, _DIGITS = 10, 5, 6
_SAMPLE = 20_000
_HOUR_MICROS, _DAY_HOURS = 3_600_000_000, 24
_FITTED = "segment int, dimension int, labels array<string>, edges array<double>"

Origin = Literal["key", "request", "user"]


@dataclass(frozen=True)
class Field:
    """A dimension before its values are known: where it comes from and whether it is a number."""

    name: str
    origin: Origin
    continuous: bool = False


def fields_of(settings: Settings) -> tuple[Field, ...]:
    """Return every dimension of a request: categories first, then numbers, then its time."""
    log = settings.requests.columns
    profile = settings.users.columns if settings.users else None
    found = [Field("request_type", "key"), *(Field(name, "request") for name in log.categorical)]
    found += [Field(name, "user") for name in (profile.categorical if profile else ())]
    found += [Field(name, "request", continuous=True) for name in log.continuous]
    found += [
        Field(name, "user", continuous=True) for name in (profile.continuous if profile else ())
    ]
    return (*found, Field(HOUR, "key"), Field(DAY, "key"))


def time_columns(instant: Column) -> dict[str, Column]:
    """Return the quarter of the UTC day and weekday or weekend; no session zone enters."""
    hour = F.floor(F.unix_micros(instant) / F.lit(_HOUR_MICROS))
    quarter = F.floor(F.pmod(hour, F.lit(_DAY_HOURS)) / F.lit(6)).cast("int")
    day = F.pmod(F.floor(hour / F.lit(_DAY_HOURS)) + F.lit(3), F.lit(7))  # 1970-01-01: a Thursday
    quarters = F.array(*(F.lit(f"{start:02}-{start + 6:02} UTC") for start in (0, 6, 12, 18)))
    return {HOUR: quarters[quarter], DAY: F.when(day < F.lit(5), "weekday").otherwise("weekend")}


@dataclass(frozen=True)
class Dimension:
    """A dimension in one segment: its most frequent categories, or the inner edges of its bins."""

    name: str
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    continuous: bool = False

    @cached_property
    def value_names(self) -> tuple[str, ...]:
        """The label of every code."""
        if not self.continuous:
            return (*self.labels, OTHER, MISSING)
        shown = [f"{edge:.{_DIGITS}g}" for edge in self.edges]
        if not shown:
            return "any", MISSING
        inner = [f"{low} to < {high}" for low, high in pairwise(shown)]
        return (f"< {shown[0]}", *inner, f">= {shown[-1]}", MISSING)

    def codes(self, column: pa.Array) -> np.ndarray:
        """Return the position of each request's value in `value_names`."""
        missing = len(self.value_names) - 1
        if self.continuous:
            numbers = column.to_numpy(zero_copy_only=False).astype(float)
            places = np.searchsorted(np.array(self.edges), numbers, "right")
            return np.where(np.isnan(numbers), missing, places)
        places = pc.index_in(column, pa.array(self.labels, pa.string())).fill_null(missing - 1)
        return np.where(column.is_null(), missing, places.to_numpy(zero_copy_only=False))


def fit_dimensions(
    rows: DataFrame, fields: tuple[Field, ...], n_requests: Mapping[int, int]
) -> list[tuple[Dimension, ...]]:
    """Return the dimensions of each segment, by its number, from a sample by hash.

    Every segment has its own: the values frequent in it, and quantiles of its own numbers.

    Args:
        rows: (segment, draw, f0, f1, ...), draw uniform on [0, 1) by the request's id.
        fields: what f0, f1, ... are.
        n_requests: requests of each segment, which give the share that is sampled.
    """
    shares = F.lit([min(1.0, _SAMPLE / max(n_requests[i], 1)) for i in range(len(n_requests))])
    names = [f"f{i}" for i in range(len(fields))]
    sample = rows.where(F.col("draw") < shares[F.col("segment")]).select("segment", *names)

    def fit(group: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(
            _fitted(group, fields), columns=["segment", "dimension", "labels", "edges"]
        )

    # Bounded by segments x dimensions x values.
    found = sample.groupBy("segment").applyInPandas(fit, _FITTED).collect()
    held = {(row["segment"], row["dimension"]): row for row in found}
    return [
        tuple(_dimension(field, held.get((segment, i))) for i, field in enumerate(fields))
        for segment in range(len(n_requests))
    ]


def _dimension(field: Field, fitted: Any) -> Dimension:
    labels, edges = (fitted["labels"], fitted["edges"]) if fitted else ((), ())
    return Dimension(field.name, tuple(labels), tuple(edges), field.continuous)


def _fitted(group: pd.DataFrame, fields: Iterable[Field]) -> Iterator[tuple[int, int, list, list]]:
    segment = int(group["segment"].iloc[0])
    for i, field in enumerate(fields):
        known = group[f"f{i}"].dropna()
        if field.continuous:
            yield segment, i, [], quantile_edges(known.to_numpy(float))
        else:
            yield segment, i, frequent(known), []


def quantile_edges(values: np.ndarray) -> list[float]:
    """Return the inner edges of bins with about as many values each.

    Edges are rounded to what a label shows, so that the label is the edge; equal ones are one.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return []
    cuts = np.quantile(finite, [i / _BINS for i in range(1, _BINS)])
    return sorted({float(f"{cut:.{_DIGITS}g}") for cut in cuts})


def frequent(values: pd.Series) -> list[str]:
    """Return the most frequent values, most frequent first; of equally frequent ones by name."""
    counts = values.astype(str).value_counts()
    order = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [str(name) for name, _ in order[:_TOP]]
