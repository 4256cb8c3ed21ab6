"""What a table in memory was like, so that synthetic tables are like it: types, and conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nextafter
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.generate.codec.columns import Categorical, TokenSource, texts
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.instants import Datetime
from rehearsal.generate.models.layout import Codes

_NAMED = 10
_NULLABLE = {"bool": "boolean"} | {
    f"{sign}int{bits}": f"{sign.upper()}Int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_TRUTH = {"true": True, "false": False}
_FEWEST = 2


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
        if values.isna().any():
            # Too few rows to tell a value leave columns missing that had none missing.
            kind = _NULLABLE.get(kind, kind)
        if kind.startswith("bool"):
            values = values.astype(object).map(_TRUTH)
        if kind.startswith("datetime64") and "," not in kind:
            values = values.dt.tz_localize(None)
        if "int" in kind.lower() and pd.api.types.is_float_dtype(values.dtype):
            values = values.round().clip(*_ends(kind.lower()))
        return values if kind == "object" else values.astype(pd.api.types.pandas_dtype(kind))

    def check(self, codec: Codec, frame: pd.DataFrame) -> None:
        """Refuse a category that no row had, and that is not one of several rare ones either.

        And a number that is not whole where the table had whole ones only.

        Raises:
            ModelError: names the column, the values asked for, and those that are known.
        """
        for column in codec.conditions:
            if "int" in self.types.get(column.name, "").lower():
                _check_whole(column.name, frame[column.name])
            if not isinstance(column, Categorical) or column.name not in self.seen:
                continue
            values = frame[column.name]
            strange = ~np.isin(column.encode(values)[:, 0], self.seen[column.name])
            if strange.any():
                asked = listed(sorted({str(value) for value in values[strange]}))
                raise ModelError(
                    f"the training rows have no {column.name} = {asked}, so nothing is known of "
                    f"such rows; ask for one of {listed(column.kept)}"
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


def check_table(frame: pd.DataFrame, conditions: Sequence[str]) -> None:
    """Refuse a table that no synthesizer can be fitted on.

    Raises:
        ModelError: names what is wrong with it.
    """
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise ModelError(
            f"the columns need names that are texts, each its own, not {listed(names)}; rename "
            "them, e.g. by frame.rename(columns=str)"
        )
    strange = [name for name in conditions if name not in names]
    if strange:
        raise ModelError(f"the table has no column {listed(strange)}, only {listed(names)}")
    if set(names) <= set(conditions):
        raise ModelError("every column is a condition; leave one to be generated")
    check_rows(len(frame), "")


def check_rows(n: int, kept: str) -> None:
    """Refuse fewer rows than one to fit and one to decide when to stop.

    Args:
        n: how many there are.
        kept: that they keep the rules, if they were chosen so.

    Raises:
        ModelError: they are too few.
    """
    if n < _FEWEST:
        raise ModelError(f"a synthesizer is fitted on {_FEWEST} rows or more{kept}, not {n}")


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as the codec takes it: booleans and all other categories as text."""
    made = {name: _text(v) for name, v in frame.items() if not _measured(v.dtype)}
    return frame.assign(**{str(name): values for name, values in made.items()})


def plain_conditions(frame: pd.DataFrame, columns: Sequence[TokenSource]) -> pd.DataFrame:
    """Return the condition columns as the codec takes them, of values given in any spelling.

    Raises:
        ModelError: a value is no number, or no instant.
    """
    made = {}
    for column in columns:
        values = frame[column.name]
        try:
            made[column.name] = _condition(column, values)
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"the condition {column.name} is {column.kind}, got {listed(list(values))}: {error}"
            ) from error
    return pd.DataFrame(made, index=frame.index)


def _condition(column: TokenSource, values: pd.Series) -> pd.Series:
    if isinstance(column, Categorical):
        return _text(values)
    if isinstance(column, Datetime):
        return pd.to_datetime(values, utc=True)
    return pd.to_numeric(values)


def _measured(dtype: Any) -> bool:
    types = pd.api.types
    return bool(
        types.is_datetime64_any_dtype(dtype)
        or (types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype))
    )


def _text(values: pd.Series) -> pd.Series:
    spelled = texts(values)
    return spelled.mask(spelled.isna(), None)


def _check_whole(name: str, values: pd.Series) -> None:
    given = values.dropna()
    broken = given[given % 1 != 0]
    if len(broken):
        raise ModelError(
            f"the training rows have whole numbers as {name}, got {listed(broken.tolist())}"
        )


def _ends(kind: str) -> tuple[float, float]:
    """Return the lowest and highest double that a type of integers holds."""
    info = np.iinfo(kind)
    # The highest of 64 bits, as a double, is one above it.
    above = float(info.max) > info.max
    return float(info.min), nextafter(float(info.max), 0.0) if above else float(info.max)


def _type(values: pd.Series) -> str:
    # Booleans with a gap come as objects from most readers.
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        return "boolean"
    return str(values.dtype)


def listed(values: Sequence[Any]) -> str:
    """Return the first of many values, and how many more there are."""
    named = ", ".join(map(repr, values[:_NAMED]))
    return named if len(values) <= _NAMED else f"{named} and {len(values) - _NAMED} more"
