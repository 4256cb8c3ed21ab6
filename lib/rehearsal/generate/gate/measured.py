"""A score with its standard error."""

from dataclasses import dataclass

import numpy as np

from rehearsal.generate.gate.table import Floats
from rehearsal.stats.ranks import area


@dataclass(frozen=True)
class Measured:
    """A score and what it would vary by over other rows of the same number."""

    value: float
    error: float


def auc(scores: Floats, positive: np.ndarray) -> Measured:
    """Return the share of (positive, negative) pairs in order, ties half.

    Both classes have at least one row. Source of the error: Hanley and McNeil 1982, "The meaning
    and use of the area under a receiver operating characteristic (ROC) curve", formulas 1 and 2.

    Args:
        scores: shape (n,).
        positive: bool, shape (n,).
    """
    n = int(positive.sum())
    m = len(scores) - n
    found = area(scores, positive)
    # At areas of 0 and 1 the formula says that there is no error at all; half a pair is always.
    a = float(np.clip(found, 0.5 / max(n, m), 1 - 0.5 / max(n, m)))
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m)
    return Measured(found, float(np.sqrt(variance)))
