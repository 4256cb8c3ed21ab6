"""The level at which each window is tested: alpha over windows, cells and tests."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from rehearsal.drift.bins import Bins
from rehearsal.settings import METRICS, OUTPUTS, Drift
from rehearsal.stats.multiple import spending

SUM_METRICS = frozenset(
    ("flip_rate", "mean_kl_nats", "mse", "relative_mse", "mae", "mean_change",
     "kpi_relative_change")
)  # fmt: skip


def window_levels(
    sizes: pd.DataFrame, windows: pd.DataFrame, bins: Bins, settings: Drift, n_windows: int
) -> np.ndarray:
    """Return the level of a lone signal in each window, (W,).

    A window's share of alpha, divided by the cells with enough data (all users are one of them)
    and the tests of a cell.

    Args:
        sizes: segment_id, window_start, output, n_paired, n_users of every segment and window.
        windows: of `calendar`.
        bins: what outputs are binned by.
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
    tests = _tests(set(sizes["output"]), bins, settings)
    return np.asarray(settings.alpha * share / (np.maximum(tested, 1) * tests))


def enough(n_paired: np.ndarray, n_users: np.ndarray, settings: Drift) -> np.ndarray:
    """Return which cells have enough requests and users to be told of."""
    return np.asarray((n_paired >= settings.min_requests) & (n_users >= settings.min_users))


def is_kpi(output: str) -> bool:
    """Return whether a relative change of the output makes sense."""
    return output not in OUTPUTS


def _tests(outputs: Collection[str], bins: Bins, settings: Drift) -> int:
    """Return how many tests a segment has, so that a lone signal must be as much surer."""
    judged = {name for name in METRICS if getattr(settings.thresholds, name) is not None}
    binned = sum(bins.size(name) > 0 for name in outputs)
    of_bins = binned * bool(judged - SUM_METRICS)
    of_means = len(outputs) * ("mean_change" in judged)
    kpis = sum(is_kpi(name) for name in outputs)
    of_means = max(of_means, kpis * ("kpi_relative_change" in judged))
    sizes = len(judged & SUM_METRICS - {"mean_change", "kpi_relative_change"}) * binned
    return max(of_bins + of_means + sizes, 1)
