"""What a table in memory was like, so that synthetic tables are like it: types, and conditions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.generate.codec.columns import Categorical
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.models.layout import Codes

_NAMED = 10
_TRUTH = {"True": True, "False": False}


@dataclass(frozen=True)
class Table:
    """The columns a synthesizer was fitted on.

    Args:
        types: column -> pandas type, in the table's order.
        seen: categorical condition column -> codes that its rows had.
    """

    types: Mapping[str, str]
    seen: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, frame: pd.DataFrame, codec: Codec, codes: Codes) -> "Table":
        """Return what to remember of a table and its codes, shape (n, token columns)."""
        at, seen = 0, {}
        for column in codec.conditions:
            if isinstance(column, Categorical):
                seen[column.name] = tuple(np.unique(codes[:, at]).tolist())
            at += len(column.sizes)
        return cls({str(name): _type(frame[name]) for name in frame}, seen)

    def restore(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return decoded columns in the table's order and types; others as they are."""
        known = [name for name in self.types if name in frame]
        ordered = frame[known].join(frame.drop(columns=known))
        return pd.DataFrame({name: self._restored(values) for name, values in ordered.items()})

    def _restored(self, values: pd.Series) -> pd.Series:
        kind = self.types.get(str(values.name), "object")
        if kind.startswith("bool"):
            values = values.astype(object).map(_TRUTH)
        if kind.startswith("datetime64") and "," not in kind:
            values = values.dt.tz_localize(None)
        return values if kind == "object" else values.astype(pd.api.types.pandas_dtype(kind))

    def check(self, codec: Codec, frame: pd.DataFrame) -> None:
        """Refuse a category that no row had, and that is not one of several rare ones either.

        Raises:
            ModelError: names the column, the values asked for, and those that are known.
        """
        for column in codec.conditions:
            if not isinstance(column, Categorical) or column.name not in self.seen:
                continue
            values = frame[column.name]
            strange = ~np.isin(column.encode(values)[:, 0], self.seen[column.name])
            if strange.any():
                asked = _listed(sorted({str(value) for value in values[strange]}))
                raise ModelError(
                    f"the training rows have no {column.name} = {asked}, so nothing is known of "
                    f"such rows; ask for one of {_listed(column.kept)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the table's description as plain JSON values."""
        # Pairs, since the keys of JSON objects may come back in another order.
        return {"types": list(self.types.items()), "seen": dict(self.seen)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Table":
        """Return the description of `to_dict`."""
        seen = {name: tuple(codes) for name, codes in values["seen"].items()}
        return cls(dict(values["types"]), seen)


def plain(frame: pd.DataFrame, texts: frozenset[str] = frozenset()) -> pd.DataFrame:
    """Return the table as the codec takes it: booleans and all other categories as text.

    Args:
        frame: any columns.
        texts: columns that are text even if the values given are numbers.
    """
    return frame.assign(
        **{
            str(name): _text(values)
            for name, values in frame.items()
            if str(name) in texts or not _measured(values.dtype)
        }
    )


def _measured(dtype: Any) -> bool:
    types = pd.api.types
    return bool(
        types.is_datetime64_any_dtype(dtype)
        or (types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype))
    )


def _text(values: pd.Series) -> pd.Series:
    missing = values.isna()
    return values.astype(object).map(str).mask(missing, None)


def _type(values: pd.Series) -> str:
    # Booleans with a gap come as objects from most readers.
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        return "boolean"
    return str(values.dtype)


def _listed(values: Any) -> str:
    named = ", ".join(map(repr, values[:_NAMED]))
    return named if len(values) <= _NAMED else f"{named} and {len(values) - _NAMED} more"
