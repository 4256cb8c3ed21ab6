"""Counts to measures: every metric of every cell, its interval, test, and what it could have seen.

Works on stacks of counts of a block of segments, on the driver.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from rehearsal.drift.alpha import enough
from rehearsal.drift.cells import Cells, Grid, Stack
from rehearsal.drift.measure_bins import histogram_measures
from rehearsal.drift.measure_sums import change_measures, size_measures
from rehearsal.drift.measured import Measured, mean_of, renamed
from rehearsal.settings import Drift, metrics_of

_COLUMNS = {
    "raw": "score", "corrected": "score_bias_corrected", "low": "ci_low", "high": "ci_high",
    "production": "production_level", "experimental": "experimental_level",
    "error": "error", "detectable": "detectable", "noise": "noise",
    "statistic": "test_statistic", "df": "df", "p_value": "p_value",
}  # fmt: skip


def measure(
    cells: Cells, edges: tuple[float, ...], settings: Drift, levels: np.ndarray
) -> pd.DataFrame:
    """Return one row per cell, output and metric, in order of segments and of windows in them.

    Columns: segment_id, window (its number from 0), window_start, window_end, output, metric,
    test, score, score_bias_corrected, ci_low, ci_high, production_level and experimental_level (of
    changes of means), error, test_statistic, df, p_value, detectable, noise, level (of its test),
    n_requests, n_users, reason. Cells with fewer than min_requests or min_users have NaN scores and
    say so.

    Args:
        cells: the counts.
        edges: inner bin edges of the value.
        settings: minima, thresholds.
        levels: of each window, from `window_levels`.
    """
    grid, level = cells.grid, levels[cells.grid.window]
    frames: list[pd.DataFrame] = []
    for stack in cells.stacks.values():
        sizes = stack.sizes
        chosen = np.flatnonzero(enough(sizes["n_paired"], sizes["n_users"], settings))
        own = _own_columns(grid, stack, chosen, settings) | {"level": level}
        measures = _measures(stack.at(chosen), edges, settings, level[chosen])
        frames += [_frame(own, one, chosen) for one in measures]
    by_metric = np.arange(len(frames) * grid.size)
    by_segment = by_metric.reshape(len(frames), -1, len(grid.windows)).swapaxes(0, 1).ravel()
    return pd.concat(frames, ignore_index=True).iloc[by_segment].reset_index(drop=True)


def _measures(
    stack: Stack, edges: tuple[float, ...], settings: Drift, level: np.ndarray
) -> Iterator[Measured]:
    if stack.n_bins:
        yield from histogram_measures(stack, edges, settings.thresholds_of(stack.output), level)
    yield from size_measures(stack)
    told = mean_of(stack.output)
    thresholds, relative = settings.thresholds_of(told), "kpi_relative_change" in metrics_of(told)
    for one in change_measures(stack, thresholds, level, relative=relative):
        yield renamed(one, told)


def _own_columns(
    grid: Grid, stack: Stack, chosen: np.ndarray, settings: Drift
) -> dict[str, np.ndarray]:
    """Return what all metrics of an output have alike."""
    n, users = (stack.sizes[name].astype(int) for name in ("n_paired", "n_users"))
    reason = np.full(grid.size, "", dtype=object)
    told = np.zeros(grid.size, bool)
    told[chosen] = True
    for cell in np.flatnonzero(~told):
        reason[cell] = (
            f"{n[cell]} requests of {users[cell]} users; "
            f"needs {settings.min_requests} of {settings.min_users}"
        )
    return {
        "segment_id": grid.segment,
        "window": grid.window,
        "window_start": grid.windows["window_start"].to_numpy()[grid.window],
        "window_end": grid.windows["window_end"].to_numpy()[grid.window],
        "n_requests": n,
        "n_users": users,
        "reason": reason,
    }


def _frame(own: dict[str, np.ndarray], found: Measured, chosen: np.ndarray) -> pd.DataFrame:
    """Return the rows of one metric over the whole grid."""
    size = len(own["window"])
    columns = own | {
        name: np.full(size, getattr(found, name), dtype=object)
        for name in ("output", "metric", "test")
    }
    for field, name in _COLUMNS.items():
        values = np.full(size, np.nan)
        values[chosen] = getattr(found, field)
        columns[name] = values
    columns["reason"] = own["reason"].copy()
    columns["reason"][chosen] = found.reason
    return pd.DataFrame(columns)
