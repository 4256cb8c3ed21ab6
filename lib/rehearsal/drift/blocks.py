"""Counts of a run, read a block of segments at a time: a year of days does not fit at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import READ, Cells, build_cells, outputs_in
from rehearsal.drift.layout import Layout
from rehearsal.tables.frames import instants

SIZES = (
    "segment_id", "window_start", "granularity", "output", "n_paired", "n_users", "sum_denominator",
)  # fmt: skip
TYPED = (
    "segment_id", "window_start", "output", "request_type", "n_paired", "sum_production",
    "sum_production_sq", "sum_difference", "sum_distance", "sum_absolute", "n_flips",
    "sum_denominator", "sum_denominator_difference", "production_bins", "experimental_bins",
)  # fmt: skip
_NUMBERS_AT_ONCE = 10_000_000


@dataclass(frozen=True)
class Counted:
    """Rows of `drift_counts` of all request types together: the plain columns, and how to read all.

    What is read at once takes `numbers` doubles at most, but always the windows of one segment;
    stacked and measured that is several times as much memory.
    """

    sizes: pd.DataFrame
    """Columns SIZES of every row; bounded by segments x windows x outputs."""
    read: Callable[[Sequence[str]], pd.DataFrame]
    """The rows of these segments, with the columns `cells.READ`."""
    numbers: int = _NUMBERS_AT_ONCE

    def cells(self, bins: Bins, segments: Iterable[str], windows: pd.DataFrame) -> Iterator[Cells]:
        """Yield the cells of a block of segments after another, in their order.

        Args:
            bins: the bins of the counts.
            segments: those to read; one without counts has empty cells.
            windows: of the cells, from `calendar`.
        """
        # Of all rows: segments without a request do not tell what would have been counted of them.
        outputs = outputs_in(self.sizes, bins)
        width = Layout(tuple(outputs)).cell_width
        n = max(self.numbers // (width * len(windows)), 1)
        names = sorted(segments)
        for first in range(0, len(names), n):
            block = names[first : first + n]
            yield build_cells(self.read(block), bins, block, windows, outputs)


def stored(counts: DataFrame) -> Counted:
    """Return rows of `drift_counts` of one run, whatever their request type, to be read by Spark.

    Files hold them in order of segments, so that little more than a block is scanned for it.
    """
    whole = counts.where("request_type IS NULL")

    def read(segments: Sequence[str]) -> pd.DataFrame:
        return whole.where(F.col("segment_id").isin(list(segments))).select(*READ).toPandas()

    return Counted(whole.select(*SIZES).toPandas(), read)


def held(counts: pd.DataFrame) -> Counted:
    """Return counts that are in memory anyway."""
    return Counted(
        counts[list(SIZES)], lambda segments: counts[counts["segment_id"].isin(segments)]
    )


def with_types(
    counts: DataFrame, scores: pd.DataFrame, blocks: Iterable[Cells]
) -> Iterator[tuple[pd.DataFrame, Cells]]:
    """Yield the rows per request type of the segments of each block, and the block.

    Args:
        counts: rows of `drift_counts` of one run, whatever their request type.
        scores: rows of `drift_scores`; only windows in which a segment breaches are read.
        blocks: of `Counted.cells`.
    """
    red = scores[(scores["status"] == "red") & scores["segment_id"].notna()]
    typed = counts.where("request_type IS NOT NULL").select(*TYPED)
    typed = typed.where(F.col("window_start").isin(starts_of(red)))
    for cells in blocks:
        segments = F.col("segment_id").isin(list(cells.grid.segments))
        yield typed.where(segments).toPandas(), cells


def starts_of(rows: pd.DataFrame) -> list[datetime]:
    """Return the windows of rows that came from Spark, as instants that Spark reads as they are.

    Without a zone PySpark would take them for the driver's own.
    """
    return [at.to_pydatetime() for at in instants(rows["window_start"].drop_duplicates())]
