"""Users in random groups: errors that know that a user's requests are alike, from sums that add.

Each user is in one of a fixed number of groups by hash. Sums per group add over partitions without
bringing a user's requests together, and groups are independent and alike whatever happens inside
a user, so that the spread between groups gives the error (Wolter 2007, Introduction to Variance
Estimation, ch. 2). Exact sums over users would need a shuffle by user for every sub-population;
64 groups cost a t distribution with at most 63 degrees of freedom in place of a normal one.
"""

from dataclasses import dataclass

import numpy as np
from pyspark.sql import Column
from pyspark.sql import functions as F
from scipy.stats import f, t

from rehearsal.seeds import derive_seed, hash_order
from rehearsal.stats.divergence import Shares, divergence, js_distance
from rehearsal.stats.paired import pools_of

GROUPS = 128
"""All groups; those below HALF search for sub-populations, the others confirm them."""
HALF = GROUPS // 2
LEAST_GROUPS = 8
"""Groups that must have requests on both sides of a comparison; below, nothing is tested."""
_LEAST_WITH_VALUE = 10


def group_of(seed: int, user: str) -> Column:
    """Return the group of each user, 0 .. GROUPS - 1, fixed by (seed, user)."""
    order = hash_order(derive_seed(seed, "user groups"), user)
    return F.pmod(order, F.lit(GROUPS)).cast("int")


@dataclass(frozen=True)
class Contrast:
    """A difference of two means with its p-value; NaN where there are too few groups."""

    difference: float
    p_value: float


def contrast(n_part: np.ndarray, s_part: np.ndarray, n: np.ndarray, s: np.ndarray) -> Contrast:
    """Test that a part's mean is that of the rest, two-sided, users clustered by random groups.

    The error is the delete-a-group jackknife's about the estimate (Kott 2001), which unlike a
    linearised one does not fall short when the part is small or its users differ in size. Student's
    t has one degree of freedom less than the groups that the smaller side is in; no p-value is
    below that of all of them going one way, 2^(1 - groups).

    Args:
        n_part: requests of the part per group, (G,).
        s_part: sums of their scores, (G,).
        n: requests of part and rest, (G,).
        s: sums of their scores, (G,).
    """
    n_rest, s_rest = n - n_part, s - s_part
    least = int(min((n_part > 0).sum(), (n_rest > 0).sum()))
    if least < 2:  # noqa: PLR2004
        one_sided = n_part.sum() == 0 or n_rest.sum() == 0
        apart = np.nan if one_sided else _apart(n_part, s_part, n_rest, s_rest)
        return Contrast(float(apart), np.nan)
    difference = _apart(n_part, s_part, n_rest, s_rest)
    held = n > 0
    left = [
        _without(n_side[held], s_side[held])
        for n_side, s_side in ((n_part, s_part), (n_rest, s_rest))
    ]
    groups = held.sum()
    error = np.sqrt((groups - 1) / groups * ((left[0] - left[1] - difference) ** 2).sum())
    if least < LEAST_GROUPS:
        return Contrast(difference, np.nan)
    if error == 0:
        p_value = 1.0 if difference == 0 else 0.0
    else:
        p_value = float(2 * t.sf(abs(difference) / error, least - 1))
    return Contrast(difference, max(p_value, 2.0 ** (1 - least)))


def _apart(n_part: np.ndarray, s_part: np.ndarray, n_rest: np.ndarray, s_rest: np.ndarray) -> float:
    return float(s_part.sum() / n_part.sum() - s_rest.sum() / n_rest.sum())


def _without(n: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Return the mean without each group."""
    return np.asarray((s.sum() - s) / (n.sum() - n))


@dataclass(frozen=True)
class Shift:
    """How far a mix moved: corrected for sampling noise, with the p-value of no change."""

    js_distance: float
    psi: float
    p_value: float


def shift(before: np.ndarray, after: np.ndarray) -> Shift:
    """Return how far the mix of values moved between two spans, users clustered by random groups.

    Args:
        before: requests per group and value, (G, K).
        after: the same of the later span; the same groups, so that users in both count once.

    Returns:
        NaN without requests in a span; the p-value also with too few groups, or one value.
    """
    if before.sum() == 0 or after.sum() == 0:
        return Shift(np.nan, np.nan, np.nan)
    both = before + after
    held = np.ix_(both.sum(axis=1) > 0, both.sum(axis=0) > 0)
    found = _mix_shares(before[held], after[held])
    js = js_distance(divergence("js_nats", found))
    psi = divergence("psi", found)
    p_value = _mix_test(before[held], after[held], found)
    return Shift(float(js.corrected[0]), float(psi.corrected[0]), p_value)


def _mix_shares(before: np.ndarray, after: np.ndarray) -> Shares:
    """Return both mixes with their covariance, linearised between groups (Cochran 1977, ch. 6)."""
    k, groups = before.shape[1], len(before)
    residuals, plain, smooth = [], [], []
    for counts in (before, after):
        n = counts.sum()
        share = counts.sum(axis=0) / n
        residuals.append((counts - share * counts.sum(axis=1, keepdims=True)) / n)
        plain.append(share[None])
        smooth.append((counts.sum(axis=0) + 0.5)[None] / (n + k / 2))
    both = np.concatenate(residuals, axis=1)
    covariance = both.T @ both * groups / max(groups - 1, 1)
    return Shares(smooth[0], smooth[1], plain[0], plain[1], covariance[None])


def _mix_test(before: np.ndarray, after: np.ndarray, found: Shares) -> float:
    """Return the p-value of Hotelling's T^2 over groups, values in few groups pooled."""
    groups = len(before)
    pools = pools_of(((before + after) > 0).sum(axis=0), ordered=False, least=_LEAST_WITH_VALUE)
    member = np.eye(pools.max() + 1)[pools]
    apart = (found.plain_q - found.plain_p)[0] @ member
    spread = member.T @ found.difference_covariance[0] @ member
    values, vectors = np.linalg.eigh(spread)
    kept = values > max(values.max(initial=0.0), 0.0) * 1e-9
    df = int(kept.sum())
    if groups < max(LEAST_GROUPS, df + 2):
        return np.nan
    if np.abs(apart - vectors[:, kept] @ (vectors[:, kept].T @ apart)).max() > 1e-9:  # noqa: PLR2004
        # A direction in which no group differs from another, yet the spans do: v2 for v1.
        return 2.0 ** (1 - groups)
    if not df:
        return np.nan
    along = (vectors[:, kept].T @ apart) ** 2 / values[kept]
    tail = float(f.sf(along.sum() * (groups - df) / (df * (groups - 1)), df, groups - df))
    return max(tail, 2.0 ** (1 - groups))
