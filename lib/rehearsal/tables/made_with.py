"""What a run's rows were made with, kept beside them, so that a part is added only to its like."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pyspark.sql import DataFrame

from rehearsal.errors import ContractError
from rehearsal.tables.contract import TableContract

COLUMN = "settings_json"


def as_json(settings: Mapping[str, Any]) -> str:
    """Return settings as the column holds them: the same text for the same settings."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def refuse_other(contract: TableContract, rows: DataFrame, run_id: str, now: str) -> None:
    """Refuse to add a part to rows that were made with other settings; none are no matter.

    Args:
        contract: the table, with a column `settings_json`.
        rows: the run's rows in it, all made with the same.
        run_id: the run.
        now: what the part is made with, from `as_json`.

    Raises:
        ContractError: they differ; the message says in what.
    """
    row = rows.select(COLUMN).head()
    if row is None or row[COLUMN] == now:
        return
    told = "they do not say what they were made with"
    if row[COLUMN] is not None:
        told = "; ".join(changes(json.loads(row[COLUMN]), json.loads(now)))
    raise ContractError(
        f"a part cannot be added to the {contract.name} of run {run_id}: {told}; "
        f"run {contract.made_by} without --since and --until to make all of them anew, "
        "or give another run id"
    )


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield 'KEY was X, is Y now' for what differs, keys of mappings within joined by dots."""
    old, new = dict(_flat(before)), dict(_flat(now))
    for key in sorted({*old, *new}):
        was, is_now = (json.dumps(side[key]) if key in side else "not there" for side in (old, new))
        if was != is_now:
            yield f"{key} was {was}, is {is_now} now"


def _flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value
