"""The level at which each window is tested: alpha over windows, cells and tests."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from rehearsal.drift.measured import mean_of, tested_by
from rehearsal.settings import Drift, metrics_of
from rehearsal.stats.multiple import spending


def window_levels(
    sizes: pd.DataFrame, windows: pd.DataFrame, settings: Drift, n_windows: int
) -> np.ndarray:
    """Return the level of a lone signal in each window, (W,).

    A window's share of alpha, divided by the cells with enough data (all users are one of them)
    and the tests of a cell.

    Args:
        sizes: segment_id, window_start, output, n_paired, n_users of every segment and window.
        windows: of `calendar`.
        settings: minima, thresholds, alpha.
        n_windows: windows there will be, over which alpha is spent.
    """
    both = sizes.groupby(["window_start", "output"], as_index=False)[["n_paired", "n_users"]].sum()
    every = pd.concat([sizes, both.assign(segment_id=None)], ignore_index=True)
    n, users = (every[name].to_numpy() for name in ("n_paired", "n_users"))
    told = every[enough(n, users, settings)]
    cells = told.drop_duplicates(["segment_id", "window_start"])["window_start"].value_counts()
    tested = cells.reindex(windows["window_start"], fill_value=0).to_numpy()
    share = spending(n_windows, np.arange(1, len(windows) + 1), settings.spending)
    tests = _tests(sizes["output"].unique(), settings)
    return np.asarray(settings.alpha * share / (np.maximum(tested, 1) * tests))


def enough(n_paired: np.ndarray, n_users: np.ndarray, settings: Drift) -> np.ndarray:
    """Return which cells have enough requests and users to be told of."""
    return np.asarray((n_paired >= settings.min_requests) & (n_users >= settings.min_users))


def _tests(counted: Iterable[str], settings: Drift) -> int:
    """Return how many tests a segment has, so that a lone signal must be as much surer."""
    tests = {
        (output, tested_by(metric))
        for one in counted
        for output in (one, mean_of(one))
        for metric in metrics_of(output)
        if getattr(settings.thresholds_of(output), metric) is not None
    }
    return max(len(tests), 1)
