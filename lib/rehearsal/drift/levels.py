"""The levels of both models in a cell, means or ratios of two sums, and how they change."""

from dataclasses import dataclass

import numpy as np

from rehearsal.drift.cells import Stack

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Levels:
    """Numbers over cells, (C,), and their derivatives by the stack's sums, (C, m).

    NaN where a model's denominators sum to 0.
    """

    production: np.ndarray
    experimental: np.ndarray
    change: np.ndarray
    production_gradient: np.ndarray
    change_gradient: np.ndarray


def levels(stack: Stack) -> Levels:
    """Return the level of production, N / D, that of experimental, and what lies between them.

    A mean's D is the number of requests under both models. Everything is told from differences
    of sums, experimental - production, which keep small changes of large sums.
    """
    top, top_change, bottom, bottom_change = _sums(stack)
    with np.errstate(invalid="ignore", divide="ignore"):
        theirs = bottom + bottom_change
        usable = (bottom != 0) & (theirs != 0) & (bottom + theirs != 0)
        bottom, theirs = (np.where(usable, one, np.nan) for one in (bottom, theirs))
        production, experimental = top / bottom, (top + top_change) / theirs
        change = (top_change - production * bottom_change) / theirs
    below = stack.unit("denominator" if stack.is_ratio else "n")
    of_production = stack.unit("production") - production[:, None] * below
    of_change = stack.unit("difference") - change[:, None] * below
    if stack.is_ratio:
        of_change -= experimental[:, None] * stack.unit("denominator_difference")
        of_change -= (bottom_change / bottom)[:, None] * of_production
    return Levels(
        production,
        experimental,
        change,
        of_production / bottom[:, None],
        of_change / theirs[:, None],
    )


def pooled_rate(stack: Stack) -> np.ndarray:
    """Return the ratio of both models together, (C,): 0 for means, and without a denominator.

    With it experimental - rate x denominator, less the same of production, is what a request adds
    to a change of the ratio: its sum is that change times the harmonic mean of the denominators,
    and requests that are answered alike add nothing.
    """
    if not stack.is_ratio:
        return np.zeros(len(stack.sums))
    top, top_change, bottom, bottom_change = _sums(stack)
    both = 2 * bottom + bottom_change
    return np.divide(2 * top + top_change, both, out=np.zeros(len(both)), where=both != 0)


def paired_change(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed paired difference of each cell, and its squares over users, (C,) each.

    Of a mean that is sum (y - x). Of a ratio with denominators u, v and both models' rate r it is
    sum (y - r v) - (x - r u): Fieller's (1954) contrast, 0 where the ratios are equal. r is
    estimated too, so that a user's part in its error (the influence of the change where the
    ratios are equal) is a (y - r v) - b (x - r u), a and b being twice the share of production's
    and of experimental's denominators; a = b = 1 leaves the difference of a mean.
    """
    plain = stack.unit("difference")
    if not stack.is_ratio:
        return stack.sum("difference"), np.einsum("i,cij,j->c", plain, stack.products, plain)
    _, change, bottom, bottom_change = _sums(stack)
    rate, both = pooled_rate(stack), 2 * bottom + bottom_change
    lean = np.divide(bottom_change, both, out=np.zeros(len(both)), where=both != 0)
    apart = plain - rate[:, None] * stack.unit("denominator_difference")
    own = stack.unit("production") - rate[:, None] * stack.unit("denominator")
    weights = (1 - lean)[:, None] * apart - 2 * lean[:, None] * own
    terms = weights[:, :, None] * stack.products * weights[:, None, :]
    spread = terms.sum(axis=(1, 2))
    # Below that it is what rounding leaves where every user's ratio is the same.
    kept = spread > _ROUNDING * np.abs(terms).sum(axis=(1, 2))
    return change - rate * bottom_change, np.where(kept, spread, 0.0)


def _sums(stack: Stack) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return N and D of production, and by how much experimental's are more."""
    top, change = stack.sum("production"), stack.sum("difference")
    if stack.is_ratio:
        return top, change, stack.sum("denominator"), stack.sum("denominator_difference")
    return top, change, stack.sum("n"), np.zeros(len(top))
