"""The reversible codec of a run; it owns the column layout that networks and samplers use.

Condition columns come first. Every request becomes one row of small integers, the token columns,
in the order of `Codec.tokens`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.generate.codec.columns import TokenSource, column_from_dict, column_to_dict
from rehearsal.generate.codec.numeric import Codes
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
    """Conditions, clamped when sampling, then the generated columns."""

    conditions: tuple[TokenSource, ...]
    generated: tuple[TokenSource, ...]

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The token columns in order; their names are safe in any file format."""
        made: list[Token] = []
        for column in (*self.conditions, *self.generated):
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
        """Return what generators need to know of the token columns."""
        return Layout(self.sizes, self.n_conditions, n_profile)

    def expressions(self, *, conditions_only: bool = False) -> dict[str, Column]:
        """Return token name -> INT column, of a frame that has the columns by name."""
        columns = self.conditions if conditions_only else (*self.conditions, *self.generated)
        made = [code for c in columns for code in c.expressions(F.col(quoted(c.name)))]
        return {token.name: code for token, code in zip(self.tokens, made, strict=False)}

    def encode(self, frame: pd.DataFrame) -> Codes:
        """Return codes, shape (n, token columns), equal to `expressions` in Spark."""
        columns = (*self.conditions, *self.generated)
        return np.concatenate([column.encode(frame[column.name]) for column in columns], axis=1)

    def encode_conditions(self, frame: pd.DataFrame) -> Codes:
        """Return codes of the condition columns only, shape (n, n_conditions)."""
        none = np.zeros((len(frame), 0), dtype=np.int64)
        return np.concatenate([none, *(c.encode(frame[c.name]) for c in self.conditions)], axis=1)

    def decode(self, codes: Codes, rng: np.random.Generator) -> pd.DataFrame:
        """Return the generated columns of codes, shape (n, token columns)."""
        values, at = {}, self.n_conditions
        for column in self.generated:
            width = len(column.sizes)
            values[column.name] = column.decode(codes[:, at : at + width], rng)
            at += width
        return pd.DataFrame(values, index=range(len(codes)))

    @cached_property
    def _by_name(self) -> Mapping[str, TokenSource]:
        return {column.name: column for column in (*self.conditions, *self.generated)}

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
        return json.dumps(plain, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Codec":
        """Return the codec of `to_json`."""
        plain = json.loads(text)
        conditions, generated = (
            tuple(column_from_dict(values) for values in plain[name])
            for name in ("conditions", "generated")
        )
        return cls(conditions, generated)
