"""Values of codes that keep the rules: drawn inside the part of each bin that the others leave."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rehearsal.generate.codec.numeric import Codes, Floats, Numeric
from rehearsal.generate.codec.rules import Implication, Order, is_value


def draw_in_order(
    numerics: Mapping[str, Numeric],
    codes: Mapping[str, Codes],
    orders: Sequence[Order],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Return values with column <= other for every order, shape (n,) each; NaN = missing.

    Every value is drawn from [low, high] of its code, cut by the values drawn below it and by the
    highest that those above it can still reach. Where nothing is left the value is missing.

    Args:
        numerics: how each ordered column is coded.
        codes: of each column, shape (n,).
        orders: transitive.
        rng: draws where in its interval each value falls.
    """
    below = {name: [o.column for o in orders if o.other == name] for name in numerics}
    above = {name: [o.other for o in orders if o.column == name] for name in numerics}
    # A column comes after all below it: by transitivity it has more of them than each of these.
    upwards = sorted(numerics, key=lambda name: len(below[name]))
    bounds = {name: numeric.bounds(codes[name]) for name, numeric in numerics.items()}
    highs: dict[str, Floats] = {}
    values: dict[str, Floats] = {}
    for name in reversed(upwards):
        high = _cut(bounds[name][1], [highs[other] for other in above[name]], np.fmin)
        highs[name] = _step(numerics[name], bounds[name], high)
    for name in upwards:
        low = _cut(bounds[name][0], [values[other] for other in below[name]], np.fmax)
        low = -_step(numerics[name], bounds[name], -low)
        values[name] = numerics[name].draw(low, highs[name], rng.random(len(low)))
    return values


def _cut(end: Floats, others: Sequence[Floats], by: Callable[[Floats, Floats], Floats]) -> Floats:
    cut = end
    for other in others:
        cut = by(cut, other)
    return np.where(np.isnan(end), np.nan, cut)


def _step(numeric: Numeric, bounds: tuple[Floats, Floats], end: Floats) -> Floats:
    """Return the last number at or below `end` that has no more decimals than the column has."""
    if numeric.decimals is None:
        return end
    # An atom stays what it is, also one of more decimals that a rule added.
    return np.where(bounds[0] == bounds[1], end, numeric.of_count(numeric.at_or_below(end)))


def drop_denied(
    frame: pd.DataFrame,
    implications: Sequence[Implication],
    named: Mapping[int, NDArray[np.bool_]],
) -> None:
    """Blank what an implication denies, in place.

    Masked codes deny nothing, but for a draw squeezed onto the very value an implication is about.

    Args:
        frame: generated columns.
        implications: the rules.
        named: position of an implication from a category -> the rows it holds for.
    """
    for position, rule in enumerate(implications):
        when = named.get(position)
        if when is None:
            when = is_value(frame[rule.column], rule.when)
        then = frame[rule.then].to_numpy()
        frame[rule.then] = np.where(when & (then != rule.value), np.nan, then)
