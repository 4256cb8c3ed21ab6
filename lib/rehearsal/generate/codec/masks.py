"""The rules as masks of token columns, such that drawing column after column gets through.

Sampling goes from the first column to the last. So whatever the last one rules out must be ruled
out of the earlier ones already: going back from the last column, codes without support in it are
excluded, and pairs of earlier codes that no code of it goes with (directional path consistency,
Dechter and Pearl 1987). 'Missing' stays allowed beside everything, as the way out of three or more
columns that leave no code in common.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.generate.codec.columns import Categorical, Continuous, TokenSource
from rehearsal.generate.codec.numeric import MISSING, Codes
from rehearsal.generate.codec.rules import Implication, Rules
from rehearsal.generate.models.layout import Layout, Mask

Allowed = NDArray[np.bool_]
Pairs = dict[tuple[int, int], Allowed]


def make_masks(
    columns: Mapping[str, tuple[int, TokenSource]], rules: Rules, n_conditions: int
) -> tuple[tuple[Mask, ...], tuple[tuple[int, int], ...]]:
    """Return masks, and the (token column, code) that no row can have.

    Args:
        columns: name -> its first token column's position, and how it is coded.
        rules: to be kept.
        n_conditions: token columns that are given.
    """
    pairs: Pairs = {}
    for order in rules.orders:
        (i, first), (j, second) = columns[order.column], columns[order.other]
        lows, _ = _ends(first)
        _, highs = _ends(second)
        _add(pairs, i, j, ~(lows[:, None] > highs[None, :]))
    for implication in rules.implications:
        (i, first), (j, second) = columns[implication.column], columns[implication.then]
        _add(pairs, i, j, _implied(first, second, implication))
    nullable = {i: _nullable(column) for i, column in columns.values()}
    return _settle(pairs, nullable, n_conditions)


def _ends(column: TokenSource) -> tuple[NDArray, NDArray]:
    if not isinstance(column, Continuous):
        raise TypeError(f"order is of numbers, got {column.kind}")
    return column.numeric.bounds(np.arange(column.numeric.size))


def _implied(first: TokenSource, second: TokenSource, rule: Implication) -> Allowed:
    _, values = _ends(second)
    if isinstance(first, Categorical):
        is_when = np.arange(first.sizes[0]) == first.code_of(str(rule.when))
    else:
        lows, highs = _ends(first)
        is_when = (lows == rule.when) & (highs == rule.when)
    # A bin may be a single value too, so the forced atom is found by its value and place.
    atom = np.flatnonzero(values == rule.value)[:1]
    is_value = np.isin(np.arange(len(values)), [MISSING, *atom])
    allowed: Allowed = ~is_when[:, None] | is_value[None, :]
    return allowed


def _nullable(column: TokenSource) -> bool:
    if isinstance(column, Continuous):
        return column.numeric.nullable
    return column.nullable if isinstance(column, Categorical) else True


def _add(pairs: Pairs, i: int, j: int, allowed: Allowed) -> None:
    key, matrix = ((i, j), allowed) if i < j else ((j, i), allowed.T)
    pairs[key] = pairs[key] & matrix if key in pairs else matrix


def _settle(
    pairs: Pairs, nullable: Mapping[int, bool], n_conditions: int
) -> tuple[tuple[Mask, ...], tuple[tuple[int, int], ...]]:
    possible = {}
    for (i, j), allowed in pairs.items():
        for column, size in zip((i, j), allowed.shape, strict=True):
            possible[column] = np.ones(size, dtype=bool)
            possible[column][MISSING] = nullable[column]
    for later in sorted(possible, reverse=True):
        _look_back(pairs, possible, later, n_conditions)
    return _masks(pairs), _never(possible, n_conditions)


def _look_back(pairs: Pairs, possible: dict[int, Allowed], later: int, n_conditions: int) -> None:
    earlier = sorted(i for i, j in pairs if j == later)
    support = {i: pairs[i, later] & possible[later] for i in earlier}
    for i in earlier:
        if i >= n_conditions:
            supported = support[i].any(axis=1)
            supported[MISSING] = True
            possible[i] &= supported
    for i, j in combinations(earlier, 2):
        if j >= n_conditions:
            shared = support[i].astype(np.int64) @ support[j].T.astype(np.int64)
            _add(pairs, i, j, shared > 0)


def _masks(pairs: Pairs) -> tuple[Mask, ...]:
    masks = []
    for (i, j), allowed in sorted(pairs.items()):
        with_way_out = allowed.copy()
        with_way_out[MISSING, :] = with_way_out[:, MISSING] = True
        masks.append(Mask(i, j, with_way_out))
    return tuple(masks)


def _never(possible: Mapping[int, Allowed], n_conditions: int) -> tuple[tuple[int, int], ...]:
    return tuple(
        (column, int(code))
        for column in sorted(possible)
        if column >= n_conditions
        for code in np.flatnonzero(~possible[column])
        if code != MISSING
    )


def misfit(codes: Mapping[int, Column], layout: Layout) -> Column:
    """Return the BOOLEAN column of rows whose codes the layout does not allow; never null.

    Args:
        codes: token column's position -> INT column.
        layout: with the masks.
    """
    found = F.lit(False)
    for mask in layout.masks:
        # Row after row in one list, of which places count from 1.
        allowed = F.lit(mask.allowed.ravel().tolist())
        place = codes[mask.earlier] * mask.allowed.shape[1] + codes[mask.later] + 1
        found = found | ~F.element_at(allowed, place)
    for column, code in layout.never:
        found = found | (codes[column] == code)
    return found


def misfit_in(codes: Mapping[int, Codes], layout: Layout, n: int) -> NDArray[np.bool_]:
    """Return what `misfit` finds, shape (n,), of codes of shape (n,) each."""
    found = np.zeros(n, dtype=bool)
    for mask in layout.masks:
        found |= ~mask.allowed[codes[mask.earlier], codes[mask.later]]
    for column, code in layout.never:
        found |= codes[column] == code
    return found
