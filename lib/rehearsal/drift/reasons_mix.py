"""Whether a segment's requests changed, or what the models make of them: the change in two parts.

The change of the mean score between two spans is a mix part and a rate part for any dimension
(Kitagawa 1955; at the baseline's rates, as Oaxaca 1973 and Blinder 1973 have it). With p, q the
shares of value v before and after, and r0, r1 its mean scores:

    mean1 - mean0 = sum (q - p) r0  +  sum q (r1 - r0)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.breach import BASELINE, BREACHING, Breach
from rehearsal.drift.dimensions import Dimension
from rehearsal.drift.drivers import dense
from rehearsal.drift.lattice import lattice_of
from rehearsal.drift.random_groups import shift

LEAST_REQUESTS = 30
"""Requests a value needs in a span to have a mean score of its own there."""
_COLUMNS = (
    "dimension", "n_baseline", "n_breaching", "score_baseline", "score_breaching",
    "mix_part", "rate_part", "js_distance", "psi", "p_value",
)  # fmt: skip
_SCHEMA = (
    "dimension string, n_baseline bigint, n_breaching bigint, "
    + ", ".join(f"{name} double" for name in _COLUMNS[3:])
    + ", breach int"
)


@dataclass(frozen=True)
class Parts:
    """The change of a mean as the sum of two parts."""

    mix: float
    rate: float


def parts_of_change(
    n_before: np.ndarray, s_before: np.ndarray, n_after: np.ndarray, s_after: np.ndarray
) -> Parts:
    """Return the mix and the rate part, whose sum is the change of the mean score.

    A value with fewer than LEAST_REQUESTS before has no rate r0 of its own: it takes r1, and if
    it is as rare after, the mean of both spans. So a value that is new brings its score through
    the mix. What a rare value scored before, which is in the change all the same, counts as rate.

    Args:
        n_before: requests of each value before, (K,), at least one.
        s_before: sums of their scores.
        n_after: requests of each value after, (K,), at least one.
        s_after: sums of their scores.
    """
    before, after = n_before.sum(), n_after.sum()
    change = s_after.sum() / after - s_before.sum() / before
    with np.errstate(invalid="ignore", divide="ignore"):
        own, new = s_before / n_before, s_after / n_after
        both = np.nan_to_num((s_before + s_after) / (n_before + n_after))
    fallback = np.where(n_after >= LEAST_REQUESTS, new, both)
    rate_before = np.where(n_before >= LEAST_REQUESTS, own, fallback)
    mix = float(((n_after / after - n_before / before) * rate_before).sum())
    return Parts(mix, float(change - mix))


def mix_rows(
    sums: DataFrame, breaches: Sequence[Breach], dimensions: Sequence[tuple[Dimension, ...]]
) -> pd.DataFrame:
    """Return one row per breach with a baseline and dimension: how it moved, and what that brings.

    Scores are means per request, in what a request adds to the statistic.

    Args:
        sums: of every cell of the lattice, from `lattice_sums`.
        breaches: of the run.
        dimensions: of each segment.
    """
    first = [lattice_of(dimensions[one.segment]).singles[0] for one in breaches]
    singles = F.col("cell") >= F.lit(first)[F.col("breach")]

    def parts(cells: pd.DataFrame) -> pd.DataFrame:
        number = int(cells["breach"].iloc[0])
        one = breaches[number]
        return parts_of_dimensions(one, dimensions[one.segment], cells).assign(breach=number)

    # Bounded by breaches x dimensions.
    return sums.where(singles).groupBy("breach").applyInPandas(parts, _SCHEMA).toPandas()


def parts_of_dimensions(
    breach: Breach, dimensions: tuple[Dimension, ...], cells: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per dimension of a breach, none without requests in both spans.

    Args:
        breach: what breaches.
        dimensions: of its segment.
        cells: its rows of `lattice_sums`, those of single dimensions at least.
    """
    lattice = lattice_of(dimensions)
    n, s = dense(cells, lattice.width)
    found: list[tuple[object, ...]] = []
    for d, dimension in enumerate(dimensions):
        counts, scores = lattice.single(n, d), lattice.single(s, d) * breach.unit
        by_value = [
            side[span].sum(axis=0) for span in (BASELINE, BREACHING) for side in (counts, scores)
        ]
        before, after = int(by_value[0].sum()), int(by_value[2].sum())
        if not before or not after:
            continue
        split, moved = parts_of_change(*by_value), shift(counts[BASELINE], counts[BREACHING])
        means = by_value[1].sum() / before, by_value[3].sum() / after
        found.append(
            (dimension.name, before, after, *means, split.mix, split.rate,
             moved.js_distance, moved.psi, moved.p_value)
        )  # fmt: skip
    return pd.DataFrame(found, columns=list(_COLUMNS))
