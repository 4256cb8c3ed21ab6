"""Along what a segment drifts: its windows' paired differences, those of one mind put together."""

import numpy as np

from rehearsal.drift.cells import Stack
from rehearsal.drift.measure_bins import bin_pools, distribution_parts
from rehearsal.drift.measure_sums import change_parts
from rehearsal.drift.measured import DISTRIBUTION
from rehearsal.stats.paired import Wald, clustered_wald


def window_parts(stack: Stack, at: np.ndarray, test: str) -> tuple[np.ndarray, np.ndarray]:
    """Return d, (W, K), and its squares summed over users, (W, K, K), in each of these cells."""
    if test != DISTRIBUTION:
        return change_parts(stack, at)
    parts = [distribution_parts(stack, int(cell)) for cell in at]
    differences, spreads = (np.array(part) for part in zip(*parts, strict=True))
    return differences, spreads


def agreeing(differences: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return which windows drift the same way as the one that drifts most clearly, (W,).

    Windows that drift opposite ways would cancel, and their parts be shares of next to nothing.

    Args:
        differences: d of each window, (W, K).
        spreads: its squares summed over users, (W, K, K).
    """
    inverse = np.linalg.pinv(spreads.sum(axis=0), hermitian=True)
    along = differences @ inverse @ differences.T
    clearest = int(np.diagonal(along).argmax())
    return np.asarray(along[clearest] > 0)


def together(
    stack: Stack, at: np.ndarray, differences: np.ndarray, spreads: np.ndarray, test: str
) -> Wald:
    """Return the test of these windows together; its weights are the drift's direction.

    Its p-value means nothing: a user may be in several windows.
    """
    spread = spreads.sum(axis=0)
    pools = bin_pools(stack, at, spread) if test == DISTRIBUTION else None
    return clustered_wald(differences.sum(axis=0), spread, 2, 2, pools)
