"""The kinds of column, each as one token column of codes or more.

A column's methods agree: `expressions` (Spark) and `encode` (numpy) give the same codes, and
`decode` inverts them up to a draw inside the bin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.generate.codec.instants import Datetime
from rehearsal.generate.codec.numeric import MISSING, Codes, Floats, Numeric

OTHER = 1
_FIRST_CATEGORY = 2


@dataclass(frozen=True)
class Continuous:
    """A number in one token column."""

    name: str
    numeric: Numeric

    kind = "continuous"
    parts = ("",)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes per token column."""
        return (self.numeric.size,)

    def expressions(self, column: Column) -> list[Column]:
        """Return the INT code columns of a DOUBLE column."""
        return [self.numeric.expression(column)]

    def encode(self, values: Sequence[Any] | pd.Series) -> Codes:
        """Return codes, shape (n, 1)."""
        return self.numeric.encode(numbers(values))[:, None]

    def decode(self, codes: Codes, rng: np.random.Generator) -> pd.Series:
        """Return float64 values of codes, shape (n, 1); NaN = missing."""
        return pd.Series(self.numeric.decode(codes[:, 0], rng.random(len(codes))))

    def label(self, part: int, code: int) -> str:
        """Return the range or value of a code."""
        del part
        return self.numeric.label(code)


@dataclass(frozen=True)
class Categorical:
    """A category in one token column: 0 missing, 1 other, then the kept categories.

    `pooled` are the categories behind 'other' that enough rows had, with their counts. Decoding
    'other' draws one of them. Without any it draws a kept category by its count: the rare ones
    could give a person away, and a null would be new to a model that never met one. Only a column
    with no such category at all decodes 'other' to null. `ruled` are the kept categories a
    constraint is about, which 'other' never stands for. `boolean` columns decode to booleans.
    """

    name: str
    kept: tuple[str, ...]
    counts: tuple[int, ...]
    pooled: tuple[tuple[str, int], ...]
    nullable: bool = True
    boolean: bool = False
    ruled: tuple[str, ...] = ()

    kind = "categorical"
    parts = ("",)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes per token column."""
        return (_FIRST_CATEGORY + len(self.kept),)

    def code_of(self, category: str) -> int:
        """Return the code of a kept category, that of 'other' for the rest."""
        return self.kept.index(category) + _FIRST_CATEGORY if category in self.kept else OTHER

    def expressions(self, column: Column) -> list[Column]:
        """Return the INT code columns of a STRING or BOOLEAN column."""
        code = F.lit(OTHER)
        if self.kept:
            at = F.array_position(F.lit(list(self.kept)), column.cast("string")).cast("int")
            code = F.when(at > 0, at + F.lit(OTHER)).otherwise(code)
        return [F.when(column.isNull(), F.lit(MISSING)).otherwise(code).cast("int")]

    def encode(self, values: Sequence[Any] | pd.Series) -> Codes:
        """Return codes, shape (n, 1); None and NaN are missing."""
        at, distinct = pd.factorize(pd.Series(values), use_na_sentinel=True)
        known = {name: code for code, name in enumerate(self.kept, _FIRST_CATEGORY)}
        codes = [known.get(text, OTHER) for text in texts(pd.Series(distinct))]
        # The sentinel -1 of missing values finds the last place.
        return np.array([*codes, MISSING], dtype=np.int64)[at][:, None]

    def decode(self, codes: Codes, rng: np.random.Generator) -> pd.Series:
        """Return categories of codes, shape (n, 1), or booleans; None = missing."""
        values = self._names[codes[:, 0]]
        others = np.flatnonzero(codes[:, 0] == OTHER)
        if len(others):
            values[others] = self._others(rng.random(len(others)))
        made = pd.Series(values, dtype=object)
        if not self.boolean:
            return made
        found = made.map({"true": True, "false": False}).astype("boolean")
        return found if found.isna().any() else found.astype(bool)

    @cached_property
    def _names(self) -> NDArray[np.object_]:
        return np.array([None, None, *self.kept], dtype=object)

    @cached_property
    def _choices(self) -> tuple[tuple[str, int], ...]:
        own = zip(self.kept, self.counts, strict=True)
        free = tuple((name, n) for name, n in own if n and name not in self.ruled)
        return self.pooled or free

    def _others(self, uniform: Floats) -> NDArray[np.object_]:
        weights = np.cumsum([count for _, count in self._choices], dtype=np.float64)
        if not len(weights):
            return np.full(len(uniform), None, dtype=object)
        at = np.searchsorted(weights, uniform * weights[-1], side="right")
        names: NDArray[np.object_] = np.array([name for name, _ in self._choices], dtype=object)
        drawn: NDArray[np.object_] = names[np.minimum(at, len(names) - 1)]
        return drawn

    def label(self, part: int, code: int) -> str:
        """Return the category of a code."""
        del part
        return {MISSING: "missing", OTHER: "other"}.get(code) or self.kept[code - _FIRST_CATEGORY]


TokenSource = Continuous | Categorical | Datetime


def numbers(values: Sequence[Any] | pd.Series) -> Floats:
    """Return numbers, shape (n,); every kind of missing value is NaN."""
    made: Floats = pd.Series(values).to_numpy(dtype=np.float64, na_value=np.nan)
    return made


def texts(values: pd.Series) -> pd.Series:
    """Return values as the text that Spark would make of them; missing ones stay missing."""
    spelled = values.astype(object).map(_spell, na_action="ignore")
    return spelled.astype(object)


def _spell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def column_to_dict(column: TokenSource) -> dict[str, Any]:
    """Return the column as plain JSON values."""
    return {"kind": column.kind, **asdict(column)}


def column_from_dict(values: Mapping[str, Any]) -> TokenSource:
    """Return the column `column_to_dict` was given."""
    plain = {key: value for key, value in values.items() if key != "kind"}
    if values["kind"] == Continuous.kind:
        return Continuous(plain["name"], _numeric(plain["numeric"]))
    if values["kind"] == Datetime.kind:
        date, second = tuple(map(_numeric, plain["date"])), _numeric(plain["second"])
        return Datetime(plain["name"], date, second, plain["low"], plain["high"])
    lists = {key: tuple(plain[key]) for key in ("kept", "counts", "ruled")}
    pooled = tuple((category, count) for category, count in plain["pooled"])
    return Categorical(**{**plain, **lists, "pooled": pooled})


def _numeric(values: Mapping[str, Any]) -> Numeric:
    lists = {key: tuple(values[key]) for key in ("atoms", "lows", "highs")}
    return Numeric(**{**values, **lists})
