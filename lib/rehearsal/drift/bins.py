"""Pinned bins: where the value is cut, and the order of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil, log2

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.seeds import derive_seed, hash_order, short_hash
from rehearsal.settings import Drift

_SAMPLE = 100_000
NO_OUTPUT = -1


@dataclass(frozen=True)
class Bins:
    """Inner edges of the value (empty: there is none) and class labels (empty: there are none)."""

    edges: tuple[float, ...]
    classes: tuple[str, ...]

    @property
    def version(self) -> str:
        """A name for exactly these bins."""
        return short_hash("bins", *map(repr, self.edges), "classes", *self.classes)

    def size(self, output: str) -> int:
        """Return how many bins `output` (value or class) has."""
        return len(self.edges) + 1 if output == "value" else len(self.classes)

    @property
    def unit(self) -> float:
        """The magnitude of the value; a power of two, so that scaled sums stay exact."""
        largest = max((abs(edge) for edge in self.edges), default=0.0)
        return 2.0 ** ceil(log2(largest)) if largest else 1.0

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are counted."""
        return (*(["value"] if self.edges else []), *(["class"] if self.classes else []))


def pin_bins(replays: DataFrame, settings: Drift, seed: int) -> Bins:
    """Return bins at the quantiles of production's values, and the classes in their stored order.

    Exact quantiles of a sample by hash: the same whatever the partitioning, which approximate
    quantiles of all rows are not. Equal quantiles (a spike) make one edge.
    """
    head = replays.select("classes").limit(1).collect()
    classes = tuple(head[0]["classes"] or ()) if head else ()
    if settings.value_edges is not None:
        return Bins(settings.value_edges, classes)
    order = hash_order(derive_seed(seed, "bins"), "request_id")
    values = replays.select("request_id", F.col("production.value").alias("value"))
    sample = values.where(F.col("value").isNotNull()).orderBy(order, "request_id").limit(_SAMPLE)
    cuts = [i / settings.bins for i in range(1, settings.bins)]
    found = sample.agg(F.percentile("value", cuts)).collect()[0][0]
    return Bins(tuple(sorted(set(found or ()))), classes)


def value_bin(value: Column, edges: Sequence[float]) -> Column:
    """Return how many edges are <= value: bin i holds edges[i-1] <= value < edges[i]."""
    counted = [(value >= F.lit(edge)).cast("int") for edge in edges]
    return F.coalesce(reduce(Column.__add__, counted), F.lit(NO_OUTPUT))


def class_bin(probabilities: Column) -> Column:
    """Return the position of the most probable class; the first of equals."""
    best = F.array_position(probabilities, F.array_max(probabilities)).cast("int") - 1
    return F.coalesce(best, F.lit(NO_OUTPUT))
