"""Counts of many segments as those of one, summed where they are and not on the driver."""

from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType

from rehearsal.tables.schemas import DRIFT_COUNTS

_PREFIXES = ("n_", "sum_")
_ADDED = frozenset(
    field.name
    for field in DRIFT_COUNTS.schema
    if field.name.startswith(_PREFIXES) or isinstance(field.dataType, ArrayType)
)


def summed(counts: DataFrame, segment_id: str) -> DataFrame:
    """Return rows of `drift_counts` of several segments as those of one, under a name for it.

    A user is in one segment, so that what is summed over users adds up too.
    """
    keys = ("window_start", "request_type", "output")

    def added(rows: pd.DataFrame) -> pd.DataFrame:
        return add_rows(rows, segment_id)

    return counts.groupBy(*keys).applyInPandas(added, counts.schema)


def add_rows(rows: pd.DataFrame, segment_id: str) -> pd.DataFrame:
    """Return the one row that these rows of a window, type and output add up to.

    Doubles are added in the order of the segments: the same sum on any cluster.
    """
    ordered = rows.sort_values("segment_id")
    one = {
        name: _added(ordered[name]) if name in _ADDED else ordered[name].iloc[0] for name in rows
    }
    return pd.DataFrame([one | {"segment_id": segment_id}], columns=rows.columns)


def _added(values: pd.Series) -> Any:
    known = values.dropna()
    return None if known.empty else np.add.reduce(known.to_list(), axis=0)
