"""The reversible codec of a run; it owns the column layout that networks and samplers use.

Condition columns come first. Every request becomes one row of small integers, the token columns,
in the order of `Codec.tokens`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.errors import ModelError
from rehearsal.generate.codec.bounded import draw_in_order, drop_denied
from rehearsal.generate.codec.columns import (
    Categorical,
    Continuous,
    TokenSource,
    column_from_dict,
    column_to_dict,
)
from rehearsal.generate.codec.masks import make_masks, misfit, misfit_in
from rehearsal.generate.codec.numeric import Codes, Floats, Numeric
from rehearsal.generate.codec.rules import Rules
from rehearsal.generate.models.layout import Layout
from rehearsal.names import quoted


@dataclass(frozen=True)
class Token:
    """One column of codes in [0, size)."""

    name: str
    column: str
    part: int
    kind: str
    condition: bool
    size: int


@dataclass(frozen=True)
class Codec:
    """Conditions, clamped when sampling, then the generated columns, and the rules they keep."""

    conditions: tuple[TokenSource, ...]
    generated: tuple[TokenSource, ...]
    rules: Rules = field(default_factory=Rules)

    @property
    def columns(self) -> tuple[TokenSource, ...]:
        """Every column, conditions first."""
        return (*self.conditions, *self.generated)

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The token columns in order; their names are safe in any file format."""
        made: list[Token] = []
        for column in self.columns:
            condition = len(made) < self.n_conditions
            made += [
                Token(
                    f"token_{len(made) + part:03d}", column.name, part,
                    "condition" if condition else column.kind, condition, size,
                )
                for part, size in enumerate(column.sizes)
            ]  # fmt: skip
        return tuple(made)

    @property
    def n_conditions(self) -> int:
        """How many of the token columns, from the first on, are conditions."""
        return sum(len(column.sizes) for column in self.conditions)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of codes per token column."""
        return tuple(token.size for token in self.tokens)

    def layout(self, n_profile: int = 0) -> Layout:
        """Return what generators need to know of the token columns, the rules as masks."""
        places = {name: (at, self._by_name[name]) for name, at in self._first.items()}
        masks, never = make_masks(places, self.rules, self.n_conditions)
        return Layout(self.sizes, self.n_conditions, n_profile, masks, never)

    def expressions(self, *, conditions_only: bool = False) -> dict[str, Column]:
        """Return token name -> INT column, of a frame that has the columns by name."""
        columns = self.conditions if conditions_only else self.columns
        made = [code for c in columns for code in c.expressions(F.col(quoted(c.name)))]
        return {token.name: code for token, code in zip(self.tokens, made, strict=False)}

    def require(self, present: Iterable[str], *, conditions_only: bool = False) -> None:
        """Check that a table has every column of the codec; others it may have are passed over.

        Raises:
            ModelError: one is missing.
        """
        known, present = self.conditions if conditions_only else self.columns, set(present)
        missing = [column.name for column in known if column.name not in present]
        if missing:
            raise ModelError(
                f"the table has no column {', '.join(map(repr, missing))}, which the codec was "
                f"fitted on; it has {', '.join(sorted(present)) or 'none'}; add it, if only with "
                "nulls, or fit the generators again"
            )

    def encode(self, frame: pd.DataFrame) -> Codes:
        """Return codes, shape (n, token columns), equal to `expressions` in Spark.

        Raises:
            ModelError: the table lacks a column of the codec.
        """
        self.require(map(str, frame.columns))
        return _joined(frame, self.columns)

    def encode_conditions(self, frame: pd.DataFrame) -> Codes:
        """Return codes of the condition columns only, shape (n, n_conditions).

        Raises:
            ModelError: the table lacks one of them.
        """
        self.require(map(str, frame.columns), conditions_only=True)
        return _joined(frame, self.conditions)

    def breaches(self) -> Column:
        """Return the BOOLEAN column of rows that generators must not learn from; never null.

        They break a rule, or the masks: beyond the ends that codes reach to, where few rows have
        values, codes may be out of order where the values are not.
        """
        codes = dict(enumerate(self.expressions().values()))
        return self.rules.broken() | misfit(codes, self.layout())

    def breaches_in(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Return the rows of a table in memory that `breaches` finds, shape (n,)."""
        ruled = {name: self._by_name[name] for name in self.rules.columns}
        codes = {self._first[name]: c.encode(frame[name])[:, 0] for name, c in ruled.items()}
        return self.rules.broken_in(frame) | misfit_in(codes, self.layout(), len(frame))

    def decode(self, codes: Codes, rng: np.random.Generator) -> pd.DataFrame:
        """Return the generated columns of codes, shape (n, token columns); they keep the rules."""
        ordered = self._ordered(codes, rng)
        values: dict[str, pd.Series | Floats] = {}
        for column in self.generated:
            at = self._first[column.name]
            own = codes[:, at : at + len(column.sizes)]
            made = ordered.get(column.name)
            values[column.name] = column.decode(own, rng) if made is None else made
        frame = pd.DataFrame(values, index=range(len(codes)))
        drop_denied(frame, self.rules.implications, self._named(codes))
        return frame

    def _ordered(self, codes: Codes, rng: np.random.Generator) -> dict[str, Floats]:
        names = {name for o in self.rules.orders for name in (o.column, o.other)}
        numerics = {c.name: self._numeric(c.name) for c in self.generated if c.name in names}
        own = {name: codes[:, self._first[name]] for name in numerics}
        return draw_in_order(numerics, own, self.rules.orders, rng) if names else {}

    def _named(self, codes: Codes) -> dict[int, NDArray[np.bool_]]:
        named = {}
        for position, rule in enumerate(self.rules.implications):
            at, column = self._first[rule.column], self._by_name[rule.column]
            if isinstance(column, Categorical):
                named[position] = codes[:, at] == column.code_of(str(rule.when))
        return named

    def _numeric(self, name: str) -> Numeric:
        column = self._by_name[name]
        if not isinstance(column, Continuous):
            raise TypeError(f"order is of numbers, got {column.kind} column {name!r}")
        return column.numeric

    @cached_property
    def _by_name(self) -> dict[str, TokenSource]:
        return {column.name: column for column in self.columns}

    @cached_property
    def _first(self) -> dict[str, int]:
        """Column -> position of its first token column."""
        return {t.column: position for position, t in enumerate(self.tokens) if t.part == 0}

    def title(self, token: Token) -> str:
        """Return the token's column as a reader knows it: `requested_at (day)`."""
        part = self._by_name[token.column].parts[token.part]
        return f"{token.column} ({part})" if part else token.column

    def label(self, token: Token, code: int) -> str:
        """Return what a code stands for: a range, a category, missing or other."""
        return self._by_name[token.column].label(token.part, code)

    def to_json(self) -> str:
        """Return the codec as text; `from_json` gives an equal one back."""
        parts = {"conditions": self.conditions, "generated": self.generated}
        plain = {name: [column_to_dict(c) for c in columns] for name, columns in parts.items()}
        return json.dumps(plain | {"rules": self.rules.to_dict()}, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Codec":
        """Return the codec of `to_json`."""
        plain = json.loads(text)
        conditions, generated = (
            tuple(column_from_dict(values) for values in plain[name])
            for name in ("conditions", "generated")
        )
        return cls(conditions, generated, Rules.from_dict(plain["rules"]))


def _joined(frame: pd.DataFrame, columns: Iterable[TokenSource]) -> Codes:
    none = np.zeros((len(frame), 0), dtype=np.int64)
    return np.concatenate([none, *(c.encode(frame[c.name]) for c in columns)], axis=1)
