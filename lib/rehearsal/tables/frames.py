"""Small pandas frames of the driver as Spark frames of a contract's types."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_type
from pyspark.sql.types import ArrayType, DataType, IntegerType, LongType, StructType, TimestampType

from rehearsal.tables.contract import TableContract


def to_spark(spark: SparkSession, frame: pd.DataFrame, contract: TableContract) -> DataFrame:
    """Return the frame's columns with the contract's types; NaN and NaT become null."""
    fields = [field for field in contract.schema if field.name in frame.columns]
    schema = StructType(fields)
    columns = [_plain(frame[field.name], field.dataType) for field in fields]
    if any(_is_nested(field.dataType) for field in fields):
        rows = list(zip(*columns, strict=True))
        return spark.createDataFrame(rows, schema)
    # Arrow: hundreds of thousands of scores row by row would take as long as to compute them.
    arrays = [
        pa.array(column, to_arrow_type(field.dataType))
        for column, field in zip(columns, fields, strict=True)
    ]
    table = pa.Table.from_arrays(arrays, names=[field.name for field in fields])
    return spark.createDataFrame(table, schema)


def _is_nested(kind: DataType) -> bool:
    return isinstance(kind, StructType | ArrayType)


def _plain(column: pd.Series, kind: Any) -> list[Any]:
    if isinstance(kind, TimestampType):
        # toPandas gives UTC without a zone; createDataFrame would read that as local time.
        instants = pd.to_datetime(column)
        zoned = instants.dt.tz_localize("UTC") if instants.dt.tz is None else instants
        return [None if pd.isna(value) else value.to_pydatetime() for value in zoned]
    values = [_native(value) for value in column.tolist()]
    if isinstance(kind, IntegerType | LongType):
        return [None if value is None else int(value) for value in values]
    return values


def _native(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NaT
    return None if missing else value
