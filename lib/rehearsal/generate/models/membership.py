"""How much a network has learnt of its training rows by heart, and which epoch is kept for it."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from scipy.stats import norm

from rehearsal.generate.models.generator import Point
from rehearsal.generate.models.layout import Floats
from rehearsal.settings import Generator as Settings
from rehearsal.stats.ranks import area

# The gate measures again, on other rows and with an error.
CLEAR_OF_GATE = 0.67


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


def most_learnt(settings: Settings) -> float:
    """Return the membership advantage up to which an epoch's weights may be kept."""
    return CLEAR_OF_GATE * settings.gate.max_membership


def best_of(curve: Sequence[Point], limit: float) -> Point:
    """Return the epoch with the lowest validation loss of those that learnt no row by heart.

    Where all did, the one that did least.

    Args:
        curve: one epoch or more.
        limit: membership advantage up to which weights may be kept.
    """
    allowed = [point for point in curve if not point.membership > limit]
    if allowed:
        return min(allowed, key=lambda point: point.validation_nats)
    return min(curve, key=lambda point: point.membership)
