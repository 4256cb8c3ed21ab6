"""Two groups of numbers by their ranks."""

import numpy as np


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the share of (positive, negative) pairs in order, ties half: the ROC AUC.

    Both classes have at least one row. Source: Mann and Whitney 1947, "On a test of whether one of
    two random variables is stochastically larger than the other".

    Args:
        scores: shape (n,).
        positive: bool, shape (n,).
    """
    from scipy.stats import rankdata

    n = int(positive.sum())
    m = len(scores) - n
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))
