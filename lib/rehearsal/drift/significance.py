"""q-values over everything that is looked at: segments, their tests, and windows."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.drift.measured import tested_by
from rehearsal.settings import Drift
from rehearsal.stats.multiple import hierarchical_q_values, spending

Place = tuple[np.ndarray, np.ndarray, int]


def q_values(parts: Sequence[pd.DataFrame], settings: Drift, n_windows: int) -> list[np.ndarray]:
    """Return the q-value of every row of every part; NaN where nothing is tested.

    Each window may spend its share of alpha, so that looking at every window does not add false
    alarms; within a window q-values are hierarchical Benjamini-Hochberg, segments first (all users
    are one of them), then their tests. Only tests of metrics with a threshold count. q_value <=
    alpha is significant: the share is in it.

    Args:
        parts: rows of `with_size_tests`, all of a segment in one of them.
        settings: alpha, spending.
        n_windows: windows there will be.
    """
    tests: dict[tuple[str, str], int] = {}
    placed, n_segments = [], 0
    for part in parts:
        segment, names = pd.factorize(part["segment_id"], use_na_sentinel=False)
        placed.append(list(_places(part, segment + n_segments, tests)))
        n_segments += len(names)
    looks = max(int(part["window"].max()) for part in parts) + 1
    p = np.full((looks, n_segments, len(tests)), np.nan)
    for part, places in zip(parts, placed, strict=True):
        judged = part["p_value"].where(part["threshold"].notna()).to_numpy(float)
        for rows, place in places:
            p[place] = np.fmax(p[place], judged[rows])  # metrics of a test have the same, or none
    q = _within_windows(p, settings, n_windows)
    found = []
    for part, places in zip(parts, placed, strict=True):
        found.append(np.full(len(part), np.nan))
        for rows, place in places:
            found[-1][rows] = q[place]
    return found


def _places(
    part: pd.DataFrame, segment: np.ndarray, tests: dict[tuple[str, str], int]
) -> Iterator[tuple[np.ndarray, Place]]:
    """Yield the rows of each metric, and their window, segment and test; number new tests."""
    window = part["window"].to_numpy()
    found: Any = part.groupby(["output", "metric"], sort=False).indices
    for (output, metric), rows in found.items():
        number = tests.setdefault((output, tested_by(metric)), len(tests))
        yield rows, (window[rows], segment[rows], number)


def _within_windows(p: np.ndarray, settings: Drift, n_windows: int) -> np.ndarray:
    """Return q-values of p-values, (windows, segments, tests) both."""
    share = spending(n_windows, np.arange(1, len(p) + 1), settings.spending)
    q = np.empty_like(p)
    for own, spent, into in zip(p, share, q, strict=True):
        into[:] = np.minimum(hierarchical_q_values(own, settings.alpha * spent) / spent, 1.0)
    return q
