"""Rows as numbers and category codes that several tables share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rehearsal.errors import ModelError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
MISSING = -1


@dataclass(frozen=True, eq=False)
class Table:
    """Rows whose equal categories have equal codes in every table of one `encode`.

    Args:
        number_names: of the columns of `numbers`.
        numbers: shape (n, numbers), instants as seconds since 1970; NaN is missing.
        code_names: of the columns of `codes`.
        codes: shape (n, categorical columns), most frequent category 0; -1 is missing.
    """

    number_names: tuple[str, ...]
    numbers: Floats
    code_names: tuple[str, ...]
    codes: Codes

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: NDArray[np.int64]) -> "Table":
        """Return the rows at these positions."""
        return replace(self, numbers=self.numbers[rows], codes=self.codes[rows])

    def append(self, other: "Table") -> "Table":
        """Return these rows, then the other's."""
        return replace(
            self,
            numbers=np.concatenate([self.numbers, other.numbers]),
            codes=np.concatenate([self.codes, other.codes]),
        )

    def independent(self, rng: np.random.Generator) -> "Table":
        """Return each column's values in an order of its own: marginals kept, dependence lost."""
        return replace(
            self,
            numbers=rng.permuted(self.numbers, axis=0),
            codes=rng.permuted(self.codes, axis=0),
        )

    def without(self, name: str) -> "Table":
        """Return the rows without one column."""
        numbers = [i for i, other in enumerate(self.number_names) if other != name]
        codes = [i for i, other in enumerate(self.code_names) if other != name]
        return Table(
            tuple(self.number_names[i] for i in numbers),
            self.numbers[:, numbers],
            tuple(self.code_names[i] for i in codes),
            self.codes[:, codes],
        )


def encode(*frames: pd.DataFrame) -> list[Table]:
    """Return the frames as tables with the same columns and the same category codes.

    The first frame's types decide: numbers, instants, and anything else (booleans too) as
    categories by their text. A number that is not finite is missing.

    Raises:
        ModelError: a frame lacks a column of the first, or a value is not of its column's kind.
    """
    first, sizes = frames[0], [len(frame) for frame in frames]
    _check_columns(frames)
    numbers: dict[str, Floats] = {}
    codes: dict[str, Codes] = {}
    for name in map(str, first.columns):
        parts = [frame[name] for frame in frames]
        if pd.api.types.is_datetime64_any_dtype(first[name].dtype):
            numbers[name] = np.concatenate([_seconds(part) for part in parts])
        elif pd.api.types.is_numeric_dtype(first[name].dtype) and first[name].dtype != bool:
            numbers[name] = np.concatenate([_finite(part) for part in parts])
        else:
            codes[name] = _shared_codes(parts)
    n = sum(sizes)
    wide = Table(
        tuple(numbers),
        np.stack(list(numbers.values()), axis=1) if numbers else np.empty((n, 0)),
        tuple(codes),
        np.stack(list(codes.values()), axis=1) if codes else np.empty((n, 0), dtype=np.int64),
    )
    ends = np.cumsum([0, *sizes])
    return [wide.take(np.arange(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def sample_rows(table: Table, n: int, rng: np.random.Generator) -> Table:
    """Return at most n rows, without replacement."""
    return table if len(table) <= n else table.take(rng.permutation(len(table))[:n])


def _check_columns(frames: Sequence[pd.DataFrame]) -> None:
    columns = list(frames[0].columns)
    for frame in frames[1:]:
        lacking = sorted(str(name) for name in columns if name not in frame.columns)
        if lacking:
            raise ModelError(
                f"cannot compare tables: one of them has no column {', '.join(lacking)}; "
                "give all of them the columns of the real rows"
            )


def _finite(values: pd.Series) -> Floats:
    try:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"column {values.name!r} holds numbers in the real rows, but not in the others: {error}"
        ) from error
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _seconds(values: pd.Series) -> Floats:
    try:
        # Microseconds, not pandas' nanoseconds, which end in the year 2262.
        zoned = isinstance(values.dtype, pd.DatetimeTZDtype)
        plain = values.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else values
        micros = plain.to_numpy(dtype="datetime64[us]")
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"column {values.name!r} holds instants in the real rows, but not in the others: "
            f"{error}"
        ) from error
    return np.where(np.isnat(micros), np.nan, micros.astype(np.int64) / 1e6)


def _shared_codes(parts: Sequence[pd.Series]) -> Codes:
    """Return codes of all parts, one after another, by frequency and then by name."""
    values = np.concatenate([part.to_numpy(dtype=object) for part in parts])
    found, distinct = pd.factorize(values)
    # By text: a boolean comes back from a codec as the category "True".
    names, place = np.unique(np.asarray([str(v) for v in distinct], dtype=str), return_inverse=True)
    counts = np.bincount(place[found[found >= 0]], minlength=len(names))
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.lexsort((names, -counts))] = np.arange(len(names))
    codes: Codes = np.append(rank[place], MISSING)[found]
    return codes
