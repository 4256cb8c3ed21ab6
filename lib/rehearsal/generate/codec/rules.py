"""What valid rows keep: ranges of columns, a <= b, and values that another column's value implies.

A rule holds where all it names have values: a missing value breaks none. Order is transitive: of
a <= b and b <= c follows a <= c, also in a row without b.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.errors import SettingsError
from rehearsal.generate.codec.columns import numbers, texts
from rehearsal.names import quoted
from rehearsal.settings import AtMost, Generator, Implied


@dataclass(frozen=True)
class Field:
    """A column the codec covers: its name, kind, and whether it is a condition."""

    name: str
    kind: str
    condition: bool


@dataclass(frozen=True)
class Range:
    """`low` <= column <= `high`."""

    column: str
    low: float
    high: float


@dataclass(frozen=True)
class Order:
    """`column` <= `other`."""

    column: str
    other: str


@dataclass(frozen=True)
class Implication:
    """Where `column` is `when`, `then` is `value`."""

    column: str
    when: str | float
    then: str
    value: float


@dataclass(frozen=True)
class Rules:
    """The rules of a table; `orders` holds what follows from them too."""

    ranges: tuple[Range, ...] = ()
    orders: tuple[Order, ...] = ()
    implications: tuple[Implication, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column a constraint is about, in order."""
        named = [name for order in self.orders for name in (order.column, order.other)]
        named += [name for rule in self.implications for name in (rule.column, rule.then)]
        return tuple(sorted(set(named)))

    def broken(self) -> Column:
        """Return the BOOLEAN column of rows that break a rule; never null."""
        faults = [~_at(r.column).between(r.low, r.high) for r in self.ranges]
        faults += [_at(o.column) > _at(o.other) for o in self.orders]
        for i in self.implications:
            when = _at(i.column).cast("string") if isinstance(i.when, str) else _at(i.column)
            faults.append((when == F.lit(i.when)) & (_at(i.then) != F.lit(i.value)))
        found = F.lit(False)
        for fault in faults:
            found = found | F.coalesce(fault, F.lit(False))
        return found

    def broken_in(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows of a table in memory break a rule, shape (n,)."""
        found = np.zeros(len(frame), dtype=bool)
        for r in self.ranges:
            value = numbers(frame[r.column])
            found |= (value < r.low) | (value > r.high)
        for o in self.orders:
            found |= numbers(frame[o.column]) > numbers(frame[o.other])
        for i in self.implications:
            then = numbers(frame[i.then])
            found |= is_value(frame[i.column], i.when) & (then != i.value) & ~np.isnan(then)
        return found

    def forced_numbers(self, column: str) -> tuple[float, ...]:
        """Return the numbers of a column that a rule tells apart, ascending."""
        told = {i.value for i in self.implications if i.then == column}
        named = {i.when for i in self.implications if i.column == column}
        return tuple(sorted(told | {when for when in named if not isinstance(when, str)}))

    def forced_categories(self, column: str) -> tuple[str, ...]:
        """Return the categories of a column that a rule tells apart, in order."""
        named = {i.when for i in self.implications if i.column == column}
        return tuple(sorted(when for when in named if isinstance(when, str)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Rules":
        """Return the rules of `to_dict`."""
        return cls(
            tuple(Range(**values) for values in plain["ranges"]),
            tuple(Order(**values) for values in plain["orders"]),
            tuple(Implication(**values) for values in plain["implications"]),
        )


def is_value(values: pd.Series, wanted: str | float) -> NDArray[np.bool_]:
    """Return which values are the wanted category or number, shape (n,)."""
    same = texts(values) == wanted if isinstance(wanted, str) else numbers(values) == wanted
    return np.asarray(same, dtype=bool)


def _at(name: str) -> Column:
    return F.col(quoted(name))


def make_rules(fields: Sequence[Field], settings: Generator) -> Rules:
    """Return the rules of the settings, checked against the columns there are.

    Raises:
        SettingsError: a rule names a column that cannot have it.
    """
    faults: list[str] = []
    numeric = [f.name for f in fields if f.kind == "continuous"]
    generated = [f.name for f in fields if f.kind == "continuous" and not f.condition]
    _check(faults, "generator.ranges", settings.ranges, numeric, "a number")
    orders, implications = [], []
    for position, rule in enumerate(settings.constraints):
        key = f"generator.constraints.{position}"
        if isinstance(rule, AtMost):
            for part in ("column", "other"):
                name = getattr(rule, part)
                _check(faults, f"{key}.{part}", [name], generated, "a generated number")
            orders.append((rule.column, rule.other))
        else:
            _check(faults, f"{key}.then", [rule.then], generated, "a generated number")
            implications.append(_implication(faults, key, rule, fields))
    if faults:
        raise SettingsError("\n".join(["the rules do not fit the columns:", *faults]))
    ranges = tuple(Range(name, low, high) for name, (low, high) in sorted(settings.ranges.items()))
    followed = tuple(Order(*pair) for pair in sorted(closure(orders)))
    return Rules(ranges, followed, tuple(implications))


def _check(
    faults: list[str], key: str, names: Sequence[str] | Mapping[str, Any], allowed: list[str],
    what: str,
) -> None:  # fmt: skip
    faults += [
        f"  {key}: {name!r} is not {what} of the log; allowed: {', '.join(allowed) or 'none'}"
        for name in names
        if name not in allowed
    ]


def _implication(
    faults: list[str], key: str, rule: Implied, fields: Sequence[Field]
) -> Implication:
    # A condition's number is known by its bin only, which may hold more values than the one.
    usable = [
        f.name
        for f in fields
        if f.kind in ("categorical", "boolean") or (f.kind == "continuous" and not f.condition)
    ]
    _check(faults, f"{key}.column", [rule.column], usable, "a category or a generated number")
    kind = next((f.kind for f in fields if f.name == rule.column), None)
    when = rule.value_is
    if kind == "continuous":
        if isinstance(when, str):
            faults.append(f"  {key}.is: {rule.column!r} holds numbers, got the text {when!r}")
        else:
            when = float(when)
    elif isinstance(when, bool):
        when = rule.category
    elif not isinstance(when, str):
        faults.append(f"  {key}.is: {rule.column!r} holds categories; put {when!r} in quotes")
    return Implication(rule.column, when, rule.then, rule.value)


def closure(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs and all that follow by transitivity."""
    found = set(pairs)
    while True:
        more = {(a, d) for a, b in found for c, d in found if b == c} - found
        if not more:
            return found
        found |= more
