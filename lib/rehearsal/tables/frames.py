"""Small pandas frames of the driver as Spark frames of a contract's types."""

from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import IntegerType, LongType, StructType, TimestampType

from rehearsal.tables.contract import TableContract


def to_spark(spark: SparkSession, frame: pd.DataFrame, contract: TableContract) -> DataFrame:
    """Return the frame's columns with the contract's types; NaN and NaT become null."""
    fields = [field for field in contract.schema if field.name in frame.columns]
    columns = [_plain(frame[field.name], field.dataType) for field in fields]
    rows = list(zip(*columns, strict=True)) if fields else []
    return spark.createDataFrame(rows, StructType(fields))


def _plain(column: pd.Series, kind: Any) -> list[Any]:
    values = [_native(value) for value in column.tolist()]
    if isinstance(kind, IntegerType | LongType):
        return [None if value is None else int(value) for value in values]
    if isinstance(kind, TimestampType):
        # toPandas gives UTC without a zone; createDataFrame would read that as local time.
        return [
            value and pd.Timestamp(value).tz_localize("UTC").to_pydatetime() for value in values
        ]
    return values


def _native(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NaT
    return None if missing else value
