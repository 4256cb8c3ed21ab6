"""How much a network has learnt of its training rows by heart, while it is being trained."""

from math import sqrt

import numpy as np
from scipy.stats import norm

from rehearsal.generate.models.layout import Floats
from rehearsal.stats.ranks import area


def membership_advantage(members: Floats, others: Floats) -> float:
    """Return what an attacker gains who takes rows of a low loss for training rows; 0 = nothing.

    True less false positive rate at the best threshold, of two normal distributions of equal
    variance with the AUC of these rows: steadier than the largest difference met, which is above 0
    even where there is nothing to tell. Below 0 where members have the higher loss. Source: Yeom
    et al. 2018, "Privacy risk in machine learning", definition 4; the AUC is that of Mann-Whitney.

    Args:
        members: losses of training rows, shape (n,).
        others: losses of rows held out, shape (m,).
    """
    n, m = len(members), len(others)
    if n == 0 or m == 0:
        return float("nan")
    losses = np.concatenate([members, others])
    inside = float(np.clip(area(losses, np.arange(n + m) >= n), 1e-6, 1 - 1e-6))
    apart = sqrt(2) * norm.ppf(inside)
    return float(2 * norm.cdf(apart / 2) - 1)
