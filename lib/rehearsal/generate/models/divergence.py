"""How far a sample is from held-out rows, for generators without a likelihood."""

from itertools import combinations

import numpy as np

from rehearsal.generate.models.layout import Codes, Floats, Layout


def pair_divergence(rows: Codes, sample: Codes, layout: Layout) -> float:
    """Return the Jensen-Shannon divergence in nats, the mean over pairs of columns.

    Pairs of two conditions are left out, since they are given; a single column is a pair with
    itself. In [0, ln 2], and 0 only where all pairs are alike; rows drawn alike do not reach 0,
    but as many rows of one sample and of another are judged alike.

    Args:
        rows: held out, shape (n, columns).
        sample: as many rows of the same conditions, shape (n, columns).
        layout: of both.
    """
    n_columns = len(layout.sizes)
    pairs = [pair for pair in combinations(range(n_columns), 2) if pair[1] >= layout.n_conditions]
    if n_columns == 1:
        pairs = [(0, 0)]
    return float(np.mean([_divergence(rows, sample, *pair) for pair in pairs]))


def _divergence(rows: Codes, sample: Codes, one: int, other: int) -> float:
    both = np.concatenate([rows, sample])
    keys = both[:, one] * (int(both[:, other].max()) + 1) + both[:, other]
    # Only cells that are met: two columns of 10,000 codes have too many.
    _, cells = np.unique(keys, return_inverse=True)
    p = np.bincount(cells[: len(rows)], minlength=cells.max() + 1) / len(rows)
    q = np.bincount(cells[len(rows) :], minlength=cells.max() + 1) / len(sample)
    middle = (p + q) / 2
    return (_relative(p, middle) + _relative(q, middle)) / 2


def _relative(p: Floats, q: Floats) -> float:
    met = p > 0
    return float(np.sum(p[met] * np.log(p[met] / q[met])))
