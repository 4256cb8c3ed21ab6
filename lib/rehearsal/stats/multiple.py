"""Control of false alarms over many tests, and over many looks."""

import numpy as np

from rehearsal.settings import Spending


def q_values(p_values: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg q-values along the last axis (Benjamini & Hochberg 1995).

    NaN (not tested) stays NaN and does not count.
    """
    p = np.atleast_2d(np.asarray(p_values, float))
    order = np.argsort(p, axis=1)  # NaN last
    ranked = np.take_along_axis(p, order, axis=1)
    tested = (~np.isnan(p)).sum(axis=1, keepdims=True)
    # The factor first: it is at least 1, so that no rounding takes q below p.
    scaled = ranked * (tested / np.arange(1, p.shape[1] + 1))
    # The smallest of this and all larger p-values; NaN must not win.
    falling = np.minimum.accumulate(np.nan_to_num(scaled, nan=np.inf)[:, ::-1], axis=1)[:, ::-1]
    q = np.full_like(p, np.nan)
    np.put_along_axis(q, order, np.where(np.isnan(ranked), np.nan, np.minimum(falling, 1)), axis=1)
    return np.asarray(q.reshape(np.shape(p_values)))


def simes(p_values: np.ndarray) -> np.ndarray:
    """Return the p-value that none of the last axis' hypotheses is false (Simes 1986).

    NaN where none was tested.
    """
    q = np.nan_to_num(q_values(p_values), nan=np.inf).min(axis=-1)
    return np.asarray(np.where(np.isinf(q), np.nan, q))


def hierarchical_q_values(p_values: np.ndarray, alpha: float) -> np.ndarray:
    """Return q-values of tests in groups, so that q <= alpha is a discovery at both levels.

    Groups are tested first, by Simes' combination of their tests, with Benjamini-Hochberg over
    groups; within each of the R selected of m groups, tests are discovered at alpha R / m, which
    controls the false discovery rate averaged over selected groups (Benjamini & Bogomolov 2014).

    Args:
        p_values: one row per group, (groups, tests); NaN where not tested.
        alpha: the level that decides which groups are selected.
    """
    outer = q_values(simes(p_values))
    tested, selected = (~np.isnan(outer)).sum(), (outer <= alpha).sum()
    inner = q_values(p_values) * (tested / max(selected, 1))
    return np.asarray(np.minimum(np.maximum(inner, outer[:, None]), 1.0))


def spending(n_looks: int, looks: np.ndarray, plan: Spending) -> np.ndarray:
    """Return the share of alpha that each look may spend; shares of all looks sum to at most 1.

    'even' divides it over a number of looks that is known before the first: with another number,
    looks already taken would have had another share. 'endless' gives look i (from 1) the share
    1 / (i (i + 1)), whose sum never passes 1, however many there will be.

    Args:
        n_looks: how many looks there will be.
        looks: the numbers of the looks, from 1.
        plan: how to spend.
    """
    if plan == "even":
        return np.full(len(looks), 1 / max(n_looks, 1))
    return np.asarray(1 / (looks * (looks + 1.0)))
