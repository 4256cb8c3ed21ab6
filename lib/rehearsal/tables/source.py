"""The user's own tables through the column mapping: rows that keep the contract, and the rest.

Inside Rehearsal a request has the columns `request_id user_id request_type requested_at` (STRING,
STRING, STRING, TIMESTAMP) and its features under the user's own names: continuous as DOUBLE,
categorical as STRING, datetime as TIMESTAMP.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    MapType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from rehearsal.errors import SourceError
from rehearsal.names import quoted
from rehearsal.settings import Settings, Source, StoredOutput, UserSource

REQUEST_KEYS = ("request_id", "user_id", "request_type", "requested_at")
_REASON, _ROW = "__reason", "__row"
_NESTED = (ArrayType, MapType, StructType, BinaryType)


@dataclass(frozen=True)
class Admitted:
    """Rows that keep the contract, and the rest as (source_table, reason, row_json)."""

    rows: DataFrame
    rejected: DataFrame


def open_source(spark: SparkSession, source: Source, section: str) -> DataFrame:
    """Return the user's table as it is.

    Raises:
        SourceError: it is not there or not readable.
    """
    try:
        if source.table is not None:
            return spark.read.table(source.table)
        rows = spark.read.format(source.format).load(source.path)
        _ = rows.schema
    except AnalysisException as error:
        kind = source.format if source.path else "a table"
        raise SourceError(
            f"{section}: cannot read {source.label} as {kind}: {str(error).splitlines()[0]}"
        ) from error
    return rows


def source_version(spark: SparkSession, source: Source) -> str | None:
    """Return the newest version of a Delta table; None where the source has no versions."""
    name = source.table
    parts = [quoted(part) for part in str(name).split(".")]
    reference = ".".join(parts) if name is not None else f"delta.{quoted(str(source.path))}"
    if name is None and source.format != "delta":
        return None
    try:
        row = spark.sql(f"DESCRIBE HISTORY {reference} LIMIT 1").select("version").head()
    except AnalysisException:
        return None  # a table or view of another format
    return None if row is None else str(row["version"])


def check_sources(spark: SparkSession, settings: Settings) -> None:
    """Raise `SourceError` naming every mapped column that is missing or cannot hold its role."""
    requests = open_source(spark, settings.requests, "requests")
    roles = request_roles(settings)
    faults = _role_faults(requests.schema, roles, settings.requests.label)
    if settings.users is not None:
        users = open_source(spark, settings.users, "users")
        faults += _role_faults(users.schema, _user_roles(settings.users), settings.users.label)
    if faults:
        raise SourceError("\n".join(["the mapped columns do not fit the tables:", *faults]))


def read_requests(
    spark: SparkSession,
    settings: Settings,
    start: datetime,
    end: datetime,
    *,
    timeless: bool,
    original: bool = False,
    days: Sequence[date] | None = None,
) -> Admitted:
    """Return the requests with `start` <= requested_at < `end`, each request id once.

    Of requests with the same id the earliest stays. Rows without a readable time belong to no
    range; `timeless` says whether this reader rejects them, so that they are counted once.
    `original` keeps the row as it was, in the struct column `original`; `days` are the only UTC
    days wanted.
    """
    table = open_source(spark, settings.requests, "requests")
    time = _typed(table[quoted(settings.requests.columns.requested_at)], TimestampType())
    in_range = (time >= F.lit(start)) & (time < F.lit(end))
    if days is not None:
        in_range = in_range & F.to_date(time).isin(list(days))
    if timeless:
        in_range = in_range | time.isNull()
    label = settings.requests.label
    return admit_requests(table.where(in_range), settings, label, original=original)


def admit_requests(
    table: DataFrame, settings: Settings, label: str, *, original: bool = False
) -> Admitted:
    """Split a table in the user's own columns into requests and rejected rows.

    `original` keeps the row as it was, in the struct column `original`.
    """
    columns = settings.requests.columns
    keys = {name: getattr(columns, name) for name in REQUEST_KEYS}
    rows, reasons = _mapped(table, keys, request_roles(settings))
    judged = _judge(rows, reasons, "request_id", columns.request_id, "requested_at")
    return _split(judged, label, original=original)


def read_users(spark: SparkSession, source: UserSource) -> Admitted:
    """Return the profiles, each user id once: `user_id` and attributes under their own names."""
    table = open_source(spark, source, "users")
    rows, reasons = _mapped(table, {"user_id": source.columns.user_id}, _user_roles(source))
    judged = _judge(rows, reasons, "user_id", source.columns.user_id)
    return _split(judged, source.label)


def outcome_kind(schema: StructType, column: str) -> str:
    """Return how an outcome column is read: continuous when numeric, else categorical."""
    numeric = column in schema.names and isinstance(schema[column].dataType, NumericType)
    return "continuous" if numeric else "categorical"


def request_roles(settings: Settings) -> dict[str, str]:
    """Return how each mapped column of the log is read; rows it does not fit are rejected."""
    columns = settings.requests.columns
    roles = {columns.requested_at: "datetime"}
    roles |= dict.fromkeys((columns.request_id, columns.user_id), "categorical")
    roles[columns.request_type] = "categorical"
    roles |= dict.fromkeys(columns.continuous, "continuous")
    roles |= dict.fromkeys(columns.categorical, "categorical")
    roles |= dict.fromkeys(columns.datetime, "datetime")
    if columns.outcome is not None:
        roles[columns.outcome] = "outcome"
    for model in (settings.models.production, settings.models.experimental):
        if model.stored is not None:
            roles |= dict.fromkeys(_stored_columns(model.stored), "continuous")
    return roles


def _stored_columns(stored: StoredOutput) -> list[str]:
    value = [stored.value] if stored.value is not None else []
    return [*value, *stored.probabilities.values()]


def _user_roles(source: UserSource) -> dict[str, str]:
    columns = source.columns
    roles = {columns.user_id: "categorical"}
    roles |= dict.fromkeys(columns.continuous, "continuous")
    return roles | dict.fromkeys(columns.categorical, "categorical")


def _role_faults(schema: StructType, roles: Mapping[str, str], label: str) -> list[str]:
    faults = []
    for name, role in roles.items():
        if name not in schema.names:
            have = ", ".join(sorted(schema.names))
            faults.append(f"  {label}: no column {name!r} ({role}); the table has {have}")
        elif not _can_hold(schema[name].dataType, role):
            kind = schema[name].dataType.simpleString()
            faults.append(f"  {label}: column {name!r} is {kind}, which cannot be {role}")
    return faults


def _can_hold(kind: DataType, role: str) -> bool:
    if isinstance(kind, _NESTED):
        return False
    if role == "continuous":
        return isinstance(kind, NumericType | StringType | BooleanType)
    if role == "datetime":
        return isinstance(kind, TimestampType | TimestampNTZType | DateType | StringType)
    return True


_ROLE_TYPES: dict[str, DataType] = {
    "continuous": DoubleType(),
    "categorical": StringType(),
    "datetime": TimestampType(),
}


def _mapped(
    table: DataFrame, keys: Mapping[str, str], roles: Mapping[str, str]
) -> tuple[DataFrame, list[tuple[Column, str]]]:
    """Return typed columns under canonical names, and each rule with what breaking it is called."""
    taken = set(keys.values())
    picked: list[Column] = []
    reasons: list[tuple[Column, str]] = []
    for name, source in keys.items():
        key_type = TimestampType() if name == "requested_at" else StringType()
        picked.append(_typed(table[quoted(source)], key_type).alias(name))
        what = "is null or not a timestamp" if name == "requested_at" else "is null"
        reasons.append((F.col(quoted(name)).isNull(), f"{source} {what}"))
    for name, role in roles.items():
        if name in taken:
            continue
        kind = _ROLE_TYPES[outcome_kind(table.schema, name) if role == "outcome" else role]
        picked.append(_typed(table[quoted(name)], kind).alias(name))
        if not isinstance(kind, StringType):
            raw = F.col(_ROW)[name]
            bad = raw.isNotNull() & raw.try_cast(kind).isNull()
            reasons.append((bad, f"{name} is not a {'number' if role != 'datetime' else 'time'}"))
    everything = F.struct(*(table[quoted(name)] for name in table.columns)).alias(_ROW)
    return table.select(*picked, everything), reasons


def _typed(column: Column, kind: DataType) -> Column:
    # NaN means missing, as it does in pandas.
    typed = column.try_cast(kind)
    return F.nanvl(typed, F.lit(None).cast(kind)) if isinstance(kind, DoubleType) else typed


def _judge(
    rows: DataFrame, reasons: Iterable[tuple[Column, str]], key: str, own_name: str, *first: str
) -> DataFrame:
    """Add the first rule each row breaks; a key that an earlier sound row has is one of them."""
    judged = rows.withColumn(_REASON, _first_reason(reasons))
    row = F.xxhash64(*map(_hashable, rows.select(f"{_ROW}.*").schema))
    order = Window.partitionBy(key).orderBy(F.col(_REASON).isNotNull(), *first, row)
    repeated = (F.row_number().over(order) > 1) & F.col(key).isNotNull()
    not_unique = F.when(repeated, F.lit(f"{own_name} is not unique"))
    return judged.withColumn(_REASON, F.coalesce(_REASON, not_unique))


def _hashable(field: StructField) -> Column:
    """A column of the row as it was; Spark hashes no maps and no variants, wherever they are."""
    column, kind = F.col(_ROW)[field.name], field.dataType.simpleString()
    return F.to_json(column) if "map<" in kind or "variant" in kind else column


def _first_reason(reasons: Iterable[tuple[Column, str]]) -> Column:
    return F.coalesce(*(F.when(broken, F.lit(text)) for broken, text in reasons))


def _split(judged: DataFrame, label: str, *, original: bool = False) -> Admitted:
    good = judged.where(F.col(_REASON).isNull()).withColumn("original", F.col(_ROW))
    good = good.drop(_REASON, _ROW, *([] if original else ["original"]))
    bad = judged.where(F.col(_REASON).isNotNull()).select(
        F.lit(label).alias("source_table"),
        F.col(_REASON).alias("reason"),
        F.to_json(_ROW).alias("row_json"),
    )
    return Admitted(good, bad)
