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
    if any(_is_nested(field.dataType) for field in fields):
        columns = [_plain(frame[field.name], field.dataType) for field in fields]
        return spark.createDataFrame(list(zip(*columns, strict=True)), schema)
    # Arrow, column by column: row by row millions of scores take longer than to compute them.
    arrays = [arrow_array(frame[field.name], field.dataType) for field in fields]
    return spark.createDataFrame(pa.Table.from_arrays(arrays, names=schema.names), schema)


def arrow_array(column: pd.Series, kind: DataType) -> pa.Array:
    """Return a column with the Arrow type of a Spark type that is not nested; NaN is null."""
    values: Any = column
    if isinstance(kind, TimestampType):
        values = instants(column)
    elif isinstance(kind, IntegerType | LongType):
        values = column.astype("Int64")  # whole numbers beside NaN, which made them floats
    return pa.Array.from_pandas(values, type=to_arrow_type(kind))


def _is_nested(kind: DataType) -> bool:
    return isinstance(kind, StructType | ArrayType)


def _plain(column: pd.Series, kind: Any) -> list[Any]:
    if isinstance(kind, TimestampType):
        return [None if pd.isna(at) else at.to_pydatetime() for at in instants(column)]
    values = [_native(value) for value in column.tolist()]
    if isinstance(kind, IntegerType | LongType):
        return [None if value is None else int(value) for value in values]
    return values


def instants(column: pd.Series) -> pd.Series:
    """Return instants with a zone: toPandas gives UTC without one, which is read as local time."""
    instants = pd.to_datetime(column)
    return instants.dt.tz_localize("UTC") if instants.dt.tz is None else instants


def _native(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NaT
    return None if missing else value
