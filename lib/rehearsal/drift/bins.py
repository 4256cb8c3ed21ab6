"""Pinned bins: where the value is cut, and the order of the classes."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import ContractError
from rehearsal.seeds import derive_seed, hash_order, short_hash
from rehearsal.settings import Drift

MOST_BINS = 100
"""Bins of an output, of which every cell counts each pair: 240 kB in each segment and window."""
_SAMPLE = 100_000


@dataclass(frozen=True)
class Bins:
    """Inner edges of the value (empty: there is none) and class labels (empty: there are none).

    Raises:
        ContractError: more than MOST_BINS of either.
    """

    edges: tuple[float, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what would not fit: counts are of pairs of bins, 3 K^2 numbers a cell."""
        if len(self.classes) > MOST_BINS:
            raise ContractError(
                f"the models have {len(self.classes)} classes, and drift is counted over "
                f"{MOST_BINS} at most; let both models return the probabilities of the most "
                "frequent ones and the sum of the rest as a class 'other', or only a value"
            )
        if len(self.edges) >= MOST_BINS:
            raise ContractError(
                f"the value has {len(self.edges) + 1} bins, and drift is counted over {MOST_BINS} "
                "at most; name fewer edges in drift.value_edges"
            )

    @property
    def version(self) -> str:
        """A name for exactly these bins."""
        return short_hash("bins", *map(repr, self.edges), "classes", *self.classes)

    def size(self, output: str) -> int:
        """Return how many bins an output has; 0 where it is not binned."""
        if output == "value":
            return len(self.edges) + 1 if self.edges else 0
        return len(self.classes) if output == "class" else 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that are counted."""
        return (*(["value"] if self.edges else []), *(["class"] if self.classes else []))


def check_classes(replays: DataFrame, bins: Bins) -> None:
    """Refuse pinned classes that are not those of the replays.

    Raises:
        ContractError: other classes, or another order; counts would mix them up.
    """
    head = replays.select("classes").head()
    found = tuple(head["classes"] or ()) if head else bins.classes
    if found != bins.classes:
        raise ContractError(
            f"drift.bins_version {bins.version} has classes {', '.join(bins.classes) or 'none'}, "
            f"but the replays have {', '.join(found) or 'none'}; leave bins_version out to pin "
            "new ones"
        )


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
    finite = F.abs("value") < float("inf")  # false for NaN, which is above all numbers
    sample = values.where(finite).orderBy(order, "request_id").limit(_SAMPLE)
    cuts = [i / settings.bins for i in range(1, settings.bins)]
    found = sample.agg(F.percentile("value", cuts)).collect()[0][0]
    return Bins(tuple(sorted(set(found or ()))), classes)
