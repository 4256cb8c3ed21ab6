"""Canonical synthetic requests to the user's own column names and types."""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, LongType, NumericType, StringType, StructType

from rehearsal.generate.codec.columns import Continuous
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.sampling.sample import NUMBER, SEGMENT, TYPE, VERSION
from rehearsal.names import quoted
from rehearsal.seeds import short_hash
from rehearsal.settings import RequestColumns


def to_own_columns(
    rows: DataFrame, columns: RequestColumns, log: StructType, codec: Codec, run_id: str
) -> DataFrame:
    """Return the rows of `synthetic_requests`, less the run's id.

    Every mapped column has the name and type it has in the log. `rehearsal_weight` stays null: it
    needs the logged counts beside the synthetic ones, and is set when the streams are joined.

    Args:
        rows: sampled requests.
        columns: the user's column names.
        log: schema of the user's request log.
        codec: of the synthesizers.
        run_id: part of every request id.
    """
    keys: dict[str, Column] = {
        columns.request_id: synthetic_id(log[columns.request_id].dataType, run_id),
        columns.user_id: F.col("user_id").try_cast(log[columns.user_id].dataType),
        columns.request_type: F.col(TYPE).try_cast(log[columns.request_type].dataType),
        columns.requested_at: F.col("requested_at").try_cast(log[columns.requested_at].dataType),
    }
    payload = {
        column.name: _as_own(column.name, log, whole=_is_whole(column))
        for column in codec.generated
        if column.name != "requested_at"
    }
    own: Mapping[str, Column] = keys | payload
    return rows.select(
        *(value.alias(name) for name, value in own.items()),
        F.lit("synthetic").alias("rehearsal_origin"),
        SEGMENT, VERSION, TYPE,
        F.lit(None).cast("double").alias("rehearsal_weight"),
    )  # fmt: skip


def no_rows(log: DataFrame, columns: RequestColumns) -> DataFrame:
    """Return an empty frame with the columns `to_own_columns` gives, for a log of this shape."""
    outcome = (columns.outcome,) if columns.outcome else ()
    keys = (columns.request_id, columns.user_id, columns.request_type, columns.requested_at)
    text = ("rehearsal_origin", SEGMENT, VERSION, TYPE)
    return log.limit(0).select(
        *(F.col(quoted(name)) for name in (*keys, *columns.payload, *outcome)),
        *(F.lit(None).cast("string").alias(name) for name in text),
        F.lit(None).cast("double").alias("rehearsal_weight"),
    )


def synthetic_id(kind: DataType, run_id: str) -> Column:
    """Return the request id of a running number, in the log's own type.

    Text: `syn-<run>-<number>`. Numbers: -1, -2, ..., unique without a hash's collisions, and apart
    from logs that count upwards from 0.
    """
    number = F.col(NUMBER)
    if isinstance(kind, NumericType):
        return (-(number + F.lit(1))).cast(kind)
    padded = F.lpad(number.cast("string"), 9, "0")
    return F.concat(F.lit(f"syn-{short_hash(run_id, length=8)}-"), padded)


def _is_whole(column: object) -> bool:
    return isinstance(column, Continuous) and column.numeric.decimals == 0


def _as_own(name: str, log: StructType, *, whole: bool) -> Column:
    value, kind = F.col(quoted(name)), log[name].dataType
    if whole and isinstance(kind, StringType):
        # 3, not 3.0, in a text column of whole numbers.
        value = value.cast(LongType())
    return value.try_cast(kind)
