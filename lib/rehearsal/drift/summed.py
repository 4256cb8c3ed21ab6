"""Counts of all users, summed over segments where they are and not on the driver."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from rehearsal.drift.bins import Bins
from rehearsal.drift.blocks import starts_of
from rehearsal.drift.cells import Cells, Grid, build_cells
from rehearsal.tables.made_with import COLUMN
from rehearsal.tables.schemas import DRIFT_COUNTS

_NAME = "all"
_PREFIXES = ("n_", "sum_")
_ADDED = frozenset(
    field.name
    for field in DRIFT_COUNTS.schema
    if field.name.startswith(_PREFIXES) or isinstance(field.dataType, ArrayType)
)


def of_all_users(
    counts: DataFrame, scores: pd.DataFrame, bins: Bins, windows: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, Cells]]:
    """Yield what `contributions` takes, of all users together, if they breach: at most once.

    Args:
        counts: rows of `drift_counts` of one run, whatever their segment and request type.
        scores: rows of `drift_scores`; only the windows in which all users breach are summed.
        bins: the bins of the counts.
        windows: of the cells, from `calendar`.
    """
    red = scores[(scores["status"] == "red") & scores["segment_id"].isna()]
    if red.empty:
        return
    # Bounded by windows x request types x bins^2.
    rows = _summed(counts.drop(COLUMN).where(F.col("window_start").isin(starts_of(red)))).toPandas()
    typed = rows["request_type"].notna()
    cells = build_cells(rows[~typed], bins, [_NAME], windows)
    yield rows[typed], replace(cells, grid=Grid((None,), windows))


def _summed(counts: DataFrame) -> DataFrame:
    """Return rows of `drift_counts` of all segments as those of one.

    A user is in one segment, so that what is summed over users adds up too.
    """
    keys = ("window_start", "request_type", "output")
    return counts.groupBy(*keys).applyInPandas(add_rows, counts.schema)


def add_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the one row that these rows of a window, type and output add up to.

    Doubles are added in the order of the segments: the same sum on any cluster.
    """
    ordered = rows.sort_values("segment_id")
    one = {
        name: _added(ordered[name]) if name in _ADDED else ordered[name].iloc[0] for name in rows
    }
    return pd.DataFrame([one | {"segment_id": _NAME}], columns=rows.columns)


def _added(values: pd.Series) -> Any:
    known = values.dropna()
    return None if known.empty else np.add.reduce(known.to_list(), axis=0)
