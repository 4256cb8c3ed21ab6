"""A table contract: name, columns with meaning, key, and the slice one write replaces."""

from dataclasses import dataclass

from pyspark.sql.types import DataType, StructField, StructType

from rehearsal.errors import ContractError


@dataclass(frozen=True)
class TableContract:
    """What a table holds; `open` tables carry the user's own columns beside the declared ones.

    partition_by: so that a run's files are its own, and runs that write at once do not conflict. A
    table that was made otherwise stays as it is.
    """

    name: str
    comment: str
    made_by: str
    schema: StructType
    key: tuple[str, ...]
    slice_by: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    open: bool = False


def no_rows_of(contract: TableContract, run_id: str) -> ContractError:
    """Return the error that a run has no rows in a table, naming the step that makes them."""
    return ContractError(
        f"{contract.name} has no rows of run {run_id}; "
        f"`rehearsal {contract.made_by}` with the same run id makes them"
    )


def column(name: str, kind: DataType, comment: str, *, nullable: bool = True) -> StructField:
    """Return one column whose comment holds its unit, range or meaning."""
    return StructField(name, kind, nullable, {"comment": comment})
