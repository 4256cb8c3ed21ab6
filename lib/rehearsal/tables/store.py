"""Where Rehearsal's own tables live, and the only reads and writes of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from rehearsal.errors import ContractError
from rehearsal.names import quoted
from rehearsal.settings import Settings
from rehearsal.tables.contract import TableContract
from rehearsal.tables.guard import refuse_production

SliceValue = str | date | list[date]
Within = tuple[str, datetime, datetime]
"""A column of instants, and the span of it: from <= instant < to."""


@dataclass(frozen=True)
class Store:
    """Reads slices of the tables and replaces them whole; nothing else writes."""

    spark: SparkSession
    settings: Settings

    def reference(self, contract: TableContract) -> str:
        """Return the table as SQL names it: `` delta.`/path/name` `` or catalog.schema.name."""
        output = self.settings.output
        if output.path is not None:
            return f"delta.{quoted(f'{_absolute(output.path)}/{contract.name}')}"
        schema = ".".join(quoted(part) for part in str(output.catalog_schema).split("."))
        return f"{schema}.{quoted(contract.name)}"

    def exists(self, contract: TableContract) -> bool:
        """Return whether the table has been made yet."""
        return self._table(contract) is not None

    def _table(self, contract: TableContract) -> DataFrame | None:
        """Return the table; None if it has not been made yet."""
        try:
            rows = self.spark.read.table(self.reference(contract))
            _ = rows.schema  # where frames are lazy, only this looks
        except AnalysisException as error:
            if _is_missing(error):
                return None
            raise
        return rows

    def read(self, contract: TableContract, **slice_values: SliceValue) -> DataFrame:
        """Return the rows of one slice; columns declared since the table was made are NULL.

        Raises:
            ContractError: the table is not there yet; the message names the step that makes it.
        """
        rows = self._table(contract)
        if rows is None:
            raise ContractError(
                f"no table {contract.name} in {self.location}; "
                f"`rehearsal {contract.made_by}` makes it"
            )
        since = [field for field in contract.schema if field.name not in rows.columns]
        if since:
            rows = rows.withColumns({one.name: F.lit(None).cast(one.dataType) for one in since})
        return rows.where(_slice_condition(slice_values)) if slice_values else rows

    def replace(self, contract: TableContract, rows: DataFrame, **slice_values: SliceValue) -> None:
        """Replace one slice by `rows`, atomically; the same call again leaves the same table.

        The slice's own columns need not be in `rows`: they hold the slice's values. A list of
        values replaces the slices of them all; then the column is in `rows`.

        Raises:
            ContractError: columns or slice differ from the contract.
            ProductionGuardError: the table lies where the configuration says production is.
        """
        self._overwrite(contract, rows, None, slice_values)

    def replace_within(
        self, contract: TableContract, rows: DataFrame, within: Within, **slice_values: SliceValue
    ) -> None:
        """Replace a span of time of one slice, as `replace` does; what lies outside it stays."""
        self._overwrite(contract, rows, within, slice_values)

    def _overwrite(
        self,
        contract: TableContract,
        rows: DataFrame,
        within: Within | None,
        slice_values: Mapping[str, SliceValue],
    ) -> None:
        refuse_production(self.settings)
        if tuple(slice_values) != contract.slice_by:
            raise ContractError(
                f"{contract.name} is replaced by ({', '.join(contract.slice_by)}), "
                f"got ({', '.join(slice_values)})"
            )
        single = {name: F.lit(v) for name, v in slice_values.items() if not isinstance(v, list)}
        keyed = rows.withColumns(single) if single else rows
        fitted = self._fit(contract, keyed)
        self._create(contract, fitted.schema)
        condition = _slice_condition(slice_values)
        replaced: dict[str, Any] = {"slice": slice_values}
        if within is not None:
            time, since, until = within
            condition &= (F.col(time) >= F.lit(since)) & (F.col(time) < F.lit(until))
            replaced |= {"within": within}
        metadata = json.dumps(replaced, default=str)
        writer = fitted.writeTo(self.reference(contract)).option("userMetadata", metadata)
        # A table that an earlier version made gains the columns declared since.
        writer = writer.option("mergeSchema", "true")
        writer.overwrite(condition)

    def ensure(self, contract: TableContract) -> None:
        """Make the table, empty, if it is not there yet.

        Raises:
            ProductionGuardError: the table lies where the configuration says production is.
        """
        refuse_production(self.settings)
        self._create(contract, contract.schema)

    def clear(self, contract: TableContract, **slice_values: SliceValue) -> None:
        """Leave the slice empty, and the table there; writes nothing where that is so already."""
        self.ensure(contract)
        rows = self.read(contract, **slice_values)
        if not rows.isEmpty():
            self.replace(contract, rows.limit(0), **slice_values)

    def change(
        self,
        contract: TableContract,
        statement: str,
        values: dict[str, Any],
        **frames: DataFrame,
    ) -> None:
        """Run one atomic DELETE, UPDATE or MERGE on `{table}`, for tables that keep a history.

        Args:
            contract: the table.
            statement: SQL of ours, with `:name` for every value and `{name}` for every frame.
            values: what the `:name`s stand for; bound, never part of the text.
            frames: what the `{name}`s stand for.

        Raises:
            ProductionGuardError: the table lies where the configuration says production is.
        """
        refuse_production(self.settings)
        table = self.reference(contract)
        if frames:  # then Spark formats the text, and a brace of the path's own must survive it
            table = table.replace("{", "{{").replace("}", "}}")
        text = statement.replace("{table}", table)
        self.spark.sql(text, args=values, **frames)

    def folder(self, *parts: str) -> str:
        """Return a folder beside the tables for files a table row points to."""
        return "/".join([str(self.settings.output.path or self.settings.output.scratch), *parts])

    @property
    def location(self) -> str:
        """The folder or schema, as messages show it."""
        return str(self.settings.output.path or self.settings.output.catalog_schema)

    def _create(self, contract: TableContract, schema: StructType) -> None:
        held = self._table(contract)
        if held is not None:
            self._add_slice_columns(contract, held.columns)
            return
        columns = ", ".join(_ddl(schema, name) for name in schema.names)
        partition = ", ".join(quoted(name) for name in contract.partition_by)
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.reference(contract)} ({columns}) USING DELTA"
            + (f" PARTITIONED BY ({partition})" if partition else "")
            + f" COMMENT {_literal(contract.comment)}"
            + (f" TBLPROPERTIES ('{_MAPPED[0]}' = '{_MAPPED[1]}')" if _is_mapped(schema) else "")
        )
        if self.settings.output.path is not None and not self.exists(contract):
            self._make_begun(contract, schema, f"{_absolute(self.settings.output.path)}")

    def _make_begun(self, contract: TableContract, schema: StructType, folder: str) -> None:
        """Make a table that a driver was killed while making.

        It leaves a log without a version, which SQL takes for a table that is there; the writer
        does not.
        """
        writer = self.spark.createDataFrame([], schema).write.format("delta").mode("append")
        if _is_mapped(schema):
            writer = writer.option(*_MAPPED)
        writer.partitionBy(*contract.partition_by).save(f"{folder}/{contract.name}")
        comment = _literal(contract.comment)
        self.spark.sql(f"COMMENT ON TABLE {self.reference(contract)} IS {comment}")

    def _add_slice_columns(self, contract: TableContract, held: list[str]) -> None:
        """Give a table of an earlier version what its slices are told by since; the rest merges."""
        for name in set(contract.slice_by) - set(held):
            column = _ddl(contract.schema, name)
            self.spark.sql(f"ALTER TABLE {self.reference(contract)} ADD COLUMNS ({column})")

    def _fit(self, contract: TableContract, rows: DataFrame) -> DataFrame:
        declared = {field.name: field for field in contract.schema}
        missing = sorted(set(declared) - set(rows.columns))
        extra = sorted(set(rows.columns) - set(declared)) if not contract.open else []
        if missing or extra:
            raise ContractError(
                f"rows for {contract.name} do not fit: missing {missing}, not declared {extra}"
            )
        fixed = [
            rows[quoted(name)].cast(field.dataType).alias(name, metadata=field.metadata)
            for name, field in declared.items()
        ]
        own = [rows[quoted(name)] for name in rows.columns if name not in declared]
        return rows.select(*own, *fixed)


_MAPPED = ("delta.columnMapping.mode", "name")


def _is_mapped(schema: StructType) -> bool:
    """Return whether a name has a character that Parquet's own names may not have."""
    return any(set(name) & set(" ,;{}()\n\t=") for name in schema.names)


def _absolute(path: str) -> str:
    """Delta takes a path for a table's name only when it is absolute."""
    return path if "://" in path else str(Path(path.removeprefix("file:")).resolve())


def _slice_condition(values: Mapping[str, SliceValue]) -> Column:
    return reduce(Column.__and__, (_holds(F.col(quoted(n)), v) for n, v in values.items()))


def _holds(column: Column, value: SliceValue) -> Column:
    return column.isin(value) if isinstance(value, list) else column == F.lit(value)


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _ddl(schema: StructType, name: str) -> str:
    field = schema[name]
    comment = field.metadata.get("comment", "")
    return f"{quoted(name)} {field.dataType.simpleString()} COMMENT {_literal(comment)}"


def _is_missing(error: AnalysisException) -> bool:
    condition = error.getCondition() or ""
    return condition.startswith(
        (
            "TABLE_OR_VIEW_NOT_FOUND",
            "DELTA_MISSING_DELTA_TABLE",
            "PATH_NOT_FOUND",
            "DELTA_TABLE_NOT_FOUND",
        )
    )
