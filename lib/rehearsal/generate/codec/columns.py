"""The three kinds of column, each as one or two token columns of codes.

A column's methods agree: `expressions` (Spark) and `encode` (numpy) give the same codes, and
`decode` inverts them up to a draw inside the bin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.generate.codec.numeric import MISSING, Codes, Floats, Numeric

OTHER = 1
_FIRST_CATEGORY = 2
_DAY = 86_400


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
        return self.numeric.encode(np.asarray(values, dtype=np.float64))[:, None]

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
    with no frequent category at all decodes 'other' to null.
    """

    name: str
    kept: tuple[str, ...]
    counts: tuple[int, ...]
    pooled: tuple[tuple[str, int], ...]

    kind = "categorical"
    parts = ("",)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes per token column."""
        return (_FIRST_CATEGORY + len(self.kept),)

    def expressions(self, column: Column) -> list[Column]:
        """Return the INT code columns of a STRING column."""
        code = F.lit(OTHER)
        if self.kept:
            at = F.array_position(F.lit(list(self.kept)), column).cast("int")
            code = F.when(at > 0, at + F.lit(OTHER)).otherwise(code)
        return [F.when(column.isNull(), F.lit(MISSING)).otherwise(code).cast("int")]

    def encode(self, values: Sequence[Any] | pd.Series) -> Codes:
        """Return codes, shape (n, 1); None and NaN are missing."""
        series = pd.Series(values, dtype=object)
        known = {name: code for code, name in enumerate(self.kept, _FIRST_CATEGORY)}
        codes = series.map(known).fillna(OTHER).astype(np.int64)
        return np.where(series.isna(), MISSING, codes)[:, None].astype(np.int64)

    def decode(self, codes: Codes, rng: np.random.Generator) -> pd.Series:
        """Return categories of codes, shape (n, 1); None = missing."""
        names = np.array([None, None, *self.kept], dtype=object)
        values = names[codes[:, 0]]
        others = codes[:, 0] == OTHER
        values[others] = self._others(rng.random(len(codes))[others])
        return pd.Series(values, dtype=object)

    def _others(self, uniform: Floats) -> NDArray[np.object_]:
        choices = self.pooled or tuple(zip(self.kept, self.counts, strict=True))
        weights = np.cumsum([count for _, count in choices], dtype=np.float64)
        if not len(weights) or weights[-1] == 0:
            return np.full(len(uniform), None, dtype=object)
        at = np.searchsorted(weights, uniform * weights[-1], side="right")
        names: NDArray[np.object_] = np.array([name for name, _ in choices], dtype=object)
        drawn: NDArray[np.object_] = names[np.minimum(at, len(names) - 1)]
        return drawn

    def label(self, part: int, code: int) -> str:
        """Return the category of a code."""
        del part
        return {MISSING: "missing", OTHER: "other"}.get(code) or self.kept[code - _FIRST_CATEGORY]


@dataclass(frozen=True)
class Datetime:
    """An instant in two token columns: day, and second of the day (UTC).

    Whole seconds; what a day and a second make together never leaves [low, high], the seconds
    since 1970 first and last seen.
    """

    name: str
    day: Numeric
    second: Numeric
    low: int
    high: int

    kind = "datetime"
    parts = ("day", "time of day")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes per token column."""
        return (self.day.size, self.second.size)

    def expressions(self, column: Column) -> list[Column]:
        """Return the INT code columns of a TIMESTAMP column."""
        seconds = F.unix_seconds(column)
        of_day = F.pmod(seconds, F.lit(_DAY).cast("bigint"))
        day = ((seconds - of_day) / F.lit(_DAY)).cast("double")
        return [self.day.expression(day), self.second.expression(of_day.cast("double"))]

    def encode(self, values: Sequence[Any] | pd.Series) -> Codes:
        """Return codes, shape (n, 2), of UTC timestamps; NaT is missing."""
        seconds = epoch_seconds(values)
        day = np.floor(seconds / _DAY)
        return np.stack([self.day.encode(day), self.second.encode(seconds - day * _DAY)], axis=1)

    def decode(self, codes: Codes, rng: np.random.Generator) -> pd.Series:
        """Return timestamps with zone UTC of codes, shape (n, 2); NaT when either is missing."""
        uniform = rng.random((2, len(codes)))
        midnight = self.day.decode(codes[:, 0], uniform[0]) * _DAY
        seconds = midnight + self.second.decode(codes[:, 1], uniform[1])
        # The first and the last day were seen in part: draw again inside that part.
        first, last = np.maximum(midnight, self.low), np.minimum(midnight + _DAY - 1, self.high)
        redrawn = first + np.floor(uniform[1] * (last - first + 1))
        outside = (seconds < self.low) | (seconds > self.high)
        return _stamps(np.where(outside, redrawn, seconds))

    def label(self, part: int, code: int) -> str:
        """Return the dates or the times of day of a code."""
        numeric = self.second if part else self.day
        n_atoms = len(numeric.atoms)
        if code == MISSING:
            return "missing"
        if code <= n_atoms:
            return _moment(part, numeric.atoms[code - 1])
        at = code - n_atoms - 1
        ends = [_moment(part, end) for end in (numeric.lows[at], numeric.highs[at])]
        return " to ".join(dict.fromkeys(ends))


TokenSource = Continuous | Categorical | Datetime


def epoch_seconds(values: Sequence[Any] | pd.Series) -> Floats:
    """Return whole seconds since 1970, shape (n,), of UTC timestamps; NaT gives NaN."""
    series = pd.Series(values)
    zoned = isinstance(series.dtype, pd.DatetimeTZDtype)
    micros = series.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else series
    micros = micros.to_numpy(dtype="datetime64[us]")
    seconds = np.floor_divide(micros.astype(np.int64), 1_000_000).astype(np.float64)
    return np.where(np.isnat(micros), np.nan, seconds)


def _stamps(seconds: Floats) -> pd.Series:
    # Microseconds, not pandas' nanoseconds, which end in the year 2262.
    missing = np.isnan(seconds)
    whole = np.where(missing, 0, seconds).astype(np.int64)
    stamps = np.where(missing, np.datetime64("NaT", "us"), (whole * 1_000_000).view("<M8[us]"))
    return pd.Series(stamps).dt.tz_localize("UTC")


def column_to_dict(column: TokenSource) -> dict[str, Any]:
    """Return the column as plain JSON values."""
    return {"kind": column.kind, **asdict(column)}


def column_from_dict(values: Mapping[str, Any]) -> TokenSource:
    """Return the column `column_to_dict` was given."""
    name = values["name"]
    if values["kind"] == Continuous.kind:
        return Continuous(name, _numeric(values["numeric"]))
    if values["kind"] == Datetime.kind:
        day, second = _numeric(values["day"]), _numeric(values["second"])
        return Datetime(name, day, second, values["low"], values["high"])
    pooled = tuple((category, count) for category, count in values["pooled"])
    return Categorical(name, tuple(values["kept"]), tuple(values["counts"]), pooled)


def _numeric(values: Mapping[str, Any]) -> Numeric:
    atoms, lows, highs = (tuple(values[key]) for key in ("atoms", "lows", "highs"))
    return Numeric(atoms, lows, highs, values["whole"])


def _moment(part: int, value: float) -> str:
    if part:
        return f"{int(value) // 3600:02d}:{int(value) % 3600 // 60:02d}"
    return str(np.datetime64(int(value), "D"))
