"""A mixture of products of categoricals: rows of one component have independent columns.

The cheap generator for little data. Conditions are clamped: they decide which components a row
may be of, and p(generated | conditions) is exact. Needs numpy only.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save
from scipy.special import logsumexp

from rehearsal.errors import ModelError
from rehearsal.generate.models.em import TINY, Parameters, described, numbered
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.generate.models.stored import check_layout, stored_shape

_CHUNK_ROWS = 2048


@dataclass(eq=False)
class Mixture:
    """p(row) = sum over k of weight_k(profile) x product over columns of table[code, k].

    A mask takes the codes it forbids out of a column's table, and the rest is made to sum to 1.

    Args:
        layout: of the columns.
        parameters: weights and tables; a code that no row had has probability 0 everywhere.
        centre: mean of every number of the profiles, shape (n_profile,).
        spread: their standard deviation, shape (n_profile,).
    """

    layout: Layout
    parameters: Parameters
    centre: Floats
    spread: Floats

    kind: ClassVar[str] = "mixture"

    def sample(self, conditions: Codes, profiles: Floats, seed: int) -> Codes:
        """Return codes, shape (n, columns), whose first columns are `conditions`, unchanged."""
        rng = np.random.default_rng(seed)
        n, width = len(conditions), len(self.layout.sizes)
        codes = np.zeros((n, width), dtype=np.int64)
        codes[:, : self.layout.n_conditions] = conditions
        # 24 random bits: a whole number of at most 2**28 can be added without rounding up to 1.
        uniform = rng.random((width + 1, n), dtype=np.float32).astype(np.float64)
        for start in range(0, n, _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            component = self._components(codes[part], profiles[part], uniform[-1, part])
            for column in self.layout.generated:
                codes[part, column] = self._draw(
                    column, component, codes[part], uniform[column, part]
                )
        return codes

    def _components(self, codes: Codes, profiles: Floats, uniform: Floats) -> Codes:
        given = np.column_stack([codes[:, : self.layout.n_conditions], profiles])
        # Requests come in few kinds: one computation for each.
        first, kind = _distinct(given)
        logs = self._given(codes[first], profiles[first])
        return _invert(np.exp(logs - logs.max(axis=1, keepdims=True)), kind, uniform)

    def _draw(self, column: int, component: Codes, codes: Codes, uniform: Floats) -> Codes:
        choices = self._choices(column, codes)
        if choices is None:
            return _search(self._cumulative[column], component, uniform)
        odds = self._table(column).T[component] * choices.possible
        odds = np.where(odds.any(axis=1)[:, None], odds, choices.otherwise)
        return _invert(odds, np.arange(len(odds)), uniform)

    def log_likelihood(self, codes: Codes, profiles: Floats) -> Floats:
        """Return log p(generated | conditions, profile) in nats, shape (n,).

        A code that no training row had counts as probability 1e-30, though it is never drawn.
        """
        parts = [
            self._log_likelihood(codes[start : start + _CHUNK_ROWS], profiles[start:][:_CHUNK_ROWS])
            for start in range(0, len(codes), _CHUNK_ROWS)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def _log_likelihood(self, codes: Codes, profiles: Floats) -> Floats:
        logs = self._given(codes, profiles)
        known = logsumexp(logs, axis=1)
        through = numbered(codes, self.layout)
        for column in self.layout.generated:
            choices = self._choices(column, codes)
            own = self._log_tables[through[:, column]]
            logs = logs + (own if choices is None else choices.narrowed(own, codes[:, column]))
        log_p: Floats = logsumexp(logs, axis=1) - known
        return log_p

    def _given(self, codes: Codes, profiles: Floats) -> Floats:
        """Return log p(component, conditions | profile), shape (n, K)."""
        logs = self.parameters.log_weights(described(profiles, self.centre, self.spread))
        through = numbered(codes, self.layout)
        for column in range(self.layout.n_conditions):
            # A condition no row had has the same TINY everywhere: it says nothing of a component.
            logs = logs + self._log_tables[through[:, column]]
        return logs

    def _choices(self, column: int, codes: Codes) -> "_Choices | None":
        masks = self.layout.masks_of(column)
        if not masks:
            return None
        allowed = np.ones((len(codes), self.layout.sizes[column]), dtype=bool)
        for mask in masks:
            allowed &= mask.allowed[codes[:, mask.earlier]]
        return _Choices(allowed, self._table(column))

    def _table(self, column: int) -> Floats:
        start = self.layout.starts[column]
        return self.parameters.tables[start : start + self.layout.sizes[column]]

    @cached_property
    def _log_tables(self) -> Floats:
        log_tables: Floats = np.log(np.maximum(self.parameters.tables, TINY))
        return log_tables

    @cached_property
    def _cumulative(self) -> tuple[Floats, ...]:
        return tuple(_cumulative(self._table(j).T) for j in range(len(self.layout.sizes)))

    def to_bytes(self) -> bytes:
        """Return weights and tables as safetensors; no training row, no code."""
        arrays: dict[str, NDArray[Any]] = {
            "coefficients": self.parameters.coefficients,
            "tables": self.parameters.tables.astype(np.float32),
            "centre": self.centre,
            "spread": self.spread,
        }
        # safetensors writes an array's memory as it lies.
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        shape = {"sizes": self.layout.sizes, "n_conditions": self.layout.n_conditions}
        return save(arrays, {"shape": json.dumps(shape, sort_keys=True)})


class _Choices:
    """The codes of a column that masks leave each row.

    Args:
        allowed: by the masks, shape (n, size).
        table: of the column, shape (size, K).
    """

    def __init__(self, allowed: NDArray[np.bool_], table: Floats) -> None:
        self._table = table
        mean = table.mean(axis=1)
        self.possible = allowed & (mean > 0)
        # A component that gives none of them any probability draws as all together do; where no
        # component gives any, every allowed code alike.
        self.otherwise = np.where(
            self.possible.any(axis=1)[:, None], mean * self.possible, allowed.astype(np.float64)
        )

    def narrowed(self, logs: Floats, codes: Codes) -> Floats:
        """Return each component's log p of the codes among those left, shape (n, K).

        Args:
            logs: log p of them in the whole table, shape (n, K).
            codes: of the column, shape (n,).
        """
        totals = self.possible @ self._table
        shares = self.otherwise[np.arange(len(codes)), codes] / self.otherwise.sum(axis=1)
        own = logs - np.log(np.where(totals > 0, totals, 1.0))
        return np.where(totals > 0, own, np.log(np.maximum(shares, TINY))[:, None])


def _distinct(rows: Floats) -> tuple[Codes, Codes]:
    if rows.shape[1] == 0:
        return np.zeros(min(1, len(rows)), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    _, first, kind = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, kind.reshape(-1)


def _cumulative(odds: Floats) -> Floats:
    """Return running shares per row of odds, the last one exactly 1, plus the row's number."""
    running = np.cumsum(odds, axis=1, dtype=np.float64)
    shares: Floats = running / running[:, -1:] + np.arange(len(odds))[:, None]
    return shares


def _search(cumulative: Floats, row: Codes, uniform: Floats) -> Codes:
    """Return the first place in its row at which each running share exceeds `uniform`."""
    at = np.searchsorted(cumulative.ravel(), row + uniform, side="right")
    return at - row * cumulative.shape[1]


def _invert(odds: Floats, row: Codes, uniform: Floats) -> Codes:
    return _search(_cumulative(odds), row, uniform)


def load(layout: Layout, data: bytes) -> Mixture:
    """Return the mixture of `to_bytes`.

    Raises:
        ModelError: the bytes are damaged, or not those of a mixture of this layout.
    """
    try:
        shape = stored_shape(data)
        arrays = load_arrays(data)
        parameters = Parameters(arrays["coefficients"], arrays["tables"].astype(np.float64))
        made = Mixture(layout, parameters, arrays["centre"], arrays["spread"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"these are not the tables of a mixture: {error}") from error
    known = (tuple(shape["sizes"]), shape["n_conditions"], len(made.centre))
    check_layout("mixture", *known, layout)
    return made
