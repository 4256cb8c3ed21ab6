"""Paired tests, users as units: both models answered the same requests."""

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc
from scipy.stats import f, t

Numbers = float | np.ndarray

LEAST_MOVERS, LEAST_SKEWED = 10, 40
"""Users that must move a pool of bins for it to be a degree of freedom of its own."""


@dataclass(frozen=True)
class Wald:
    """d' S^-1 d with its reference, (...,); `units` is the size of the sample that is of."""

    statistic: np.ndarray
    df: np.ndarray
    units: np.ndarray
    p_value: np.ndarray
    weights: np.ndarray
    """S^-1 d, (..., K), so that any part d_t of d contributes d_t . weights to the statistic."""


def clustered_wald(
    difference: np.ndarray,
    spread: np.ndarray,
    n_users: Numbers,
    n_movers: Numbers,
    pools: np.ndarray | None = None,
) -> Wald:
    """Test that a vector of paired differences has mean 0; one, or each of a stack.

    The statistic is d' S^-1 d with d the sum and S the sum of d_u d_u' over users u. Where every
    user has one request it is Stuart-Maxwell's (Stuart 1955, Maxwell 1970), and in one dimension
    McNemar's. Under the null it is distributed as units * Beta(df/2, (units - df)/2), Hotelling's
    F written for the uncentred S. Users who do not move add nothing to it, so `units` is not the
    number of users but what gives the reference the variance of the statistic under random signs,
    2 (df - sum h_u^2) with leverages h_u = df / movers: (1 + 2/df) movers - 2, at most all users.
    No p-value is below that of all movers going one way, 2^(1 - movers).

    Args:
        difference: d, (..., K).
        spread: S, (..., K, K).
        n_users: users in the cell, (...,).
        n_movers: users with any d_u != 0, (...,).
        pools: number of the pool of each entry, (..., K); entries of one pool are added first.

    Returns:
        NaN p-value where there is nothing to test: too few movers for a single dimension.
    """
    k = difference.shape[-1]
    member = np.eye(k) if pools is None else np.eye(pools.max(initial=0) + 1)[pools]
    pooled = member.swapaxes(-1, -2)
    values, vectors = np.linalg.eigh(pooled @ spread @ member)
    held = values > np.maximum(values.max(axis=-1, keepdims=True, initial=0.0), 0.0) * 1e-9
    root = np.sqrt(np.where(held, values, np.inf))  # nothing along the others
    along = _times(vectors.swapaxes(-1, -2), _times(pooled, difference)) / root
    statistic, df = (along * along).sum(axis=-1), held.sum(axis=-1)
    units = wald_units(df, n_users, n_movers)
    p_value = wald_p_value(statistic, df, units, n_movers)
    return Wald(statistic, df, units, p_value, _times(member, _times(vectors, along / root)))


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.asarray((matrix @ vector[..., None])[..., 0])


def wald_units(df: Numbers, n_users: Numbers, n_movers: Numbers) -> np.ndarray:
    """Return the size of the sample that the reference of `clustered_wald` is of."""
    with np.errstate(divide="ignore", invalid="ignore"):
        matched = (1 + 2 / np.asarray(df, float)) * n_movers - 2
    return np.asarray(np.where(np.asarray(df) > 0, np.minimum(n_users, matched), 0.0))


def wald_p_value(statistic: Numbers, df: Numbers, units: Numbers, n_movers: Numbers) -> np.ndarray:
    """Return the p-value of `clustered_wald`; NaN where there is nothing to test."""
    df, units = np.asarray(df, float), np.asarray(units, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(statistic / units, 1.0)
        tail = fdtrc(df, units - df, ratio / (1 - ratio) * (units - df) / df)
        tail = np.where(ratio == 1, 0.0, tail)
    least = 2.0 ** (1 - np.asarray(n_movers, float))
    return np.asarray(np.where((df > 0) & (units > df), np.maximum(tail, least), np.nan))


def pools_of(movers: np.ndarray, *, ordered: bool, least: float = LEAST_MOVERS) -> np.ndarray:
    """Return the pool of each bin, so that at least `least` users move each pool.

    Ordered bins are pooled with their neighbours, classes with the other rare classes. Movers say
    nothing of the direction, so that the test given the pools keeps its level.

    Args:
        movers: users with a difference in the bin, (K,).
        ordered: bins of a number, else classes.
        least: the least movers of a pool.
    """
    order = np.arange(len(movers)) if ordered else np.argsort(-movers, kind="stable")
    pools, pool, held = np.zeros(len(movers), int), 0, 0.0
    for place in order:
        pools[place] = pool
        held += float(movers[place])
        if held >= least:
            pool, held = pool + 1, 0.0
    if held < least and pool:  # what is left joins the pool before it
        pools[pools == pool] = pool - 1
    return pools


def steady_pools(squares: np.ndarray, fourths: np.ndarray, *, ordered: bool) -> np.ndarray:
    """Return the pool of each bin, so that no pool's variance hangs on a few users.

    A bin is moved by (sum d_u^2)^2 / sum d_u^4 effective users: all that move it where each has
    one request, fewer where some weigh more. Differences of one request are as often 1 as -1
    under the null, and LEAST_MOVERS will do; those of several can be skewed (one model favours an
    answer per user), and the test needs up to LEAST_SKEWED for its tail to hold. Signs do not
    enter, so that the test given the pools keeps its level under random signs. Where there are
    enough for two pools of LEAST_MOVERS there are at least two.

    Args:
        squares: sum over users of d_u^2 per bin, (K,).
        fourths: of d_u^4.
        ordered: bins of a number, else classes.
    """
    effective = np.divide(squares**2, fourths, out=np.zeros(len(squares)), where=fourths > 0)
    several = 1 - squares.sum() / max(fourths.sum(), 1e-300)
    least = LEAST_MOVERS + (LEAST_SKEWED - LEAST_MOVERS) * max(several, 0.0)
    pools = pools_of(effective, ordered=ordered, least=least)
    if pools.any() or effective.sum() < 2 * LEAST_MOVERS or (effective > 0).sum() < 2:  # noqa: PLR2004
        return pools
    order = np.arange(len(effective)) if ordered else np.argsort(-effective, kind="stable")
    below = effective[order].cumsum()
    cut = int(np.abs(below[:-1] - below[-1] / 2).argmin())
    pools[order[cut + 1 :]] = 1
    return pools


def wald_threshold(alpha: np.ndarray, df: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the statistic from which `clustered_wald` is significant at alpha."""
    with np.errstate(invalid="ignore", divide="ignore"):
        quantile = f.isf(alpha, df, units - df)
        odds = quantile * df / (units - df)
        return np.asarray(np.where(units > df, units * odds / (1 + odds), np.nan))


def above(score: np.ndarray, error: np.ndarray, bound: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Return one-sided p-values of score > bound, by Student's t.

    A score without any error is as certain as can be: 0 above the bound, else 1.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (score - bound) / error
        p = t.sf(z, np.maximum(df, 1))
    certain = np.where(score > bound, 0.0, 1.0)
    p = np.where(error == 0, certain, p)
    untold = np.isnan(score) | np.isnan(bound) | np.isnan(error)
    return np.asarray(np.where(untold, np.nan, p))
