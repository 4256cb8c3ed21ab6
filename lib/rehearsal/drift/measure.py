"""Counts to measures: every metric of every cell, its interval, test, and what it could have seen.

Works on stacks of counts, bounded by segments x windows x bins^2, on the driver.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from rehearsal.drift.cells import Cells, Grid, Stack
from rehearsal.drift.measure_bins import histogram_measures
from rehearsal.drift.measure_sums import change_measures, size_measures
from rehearsal.drift.measured import Measured, mean_of, renamed, tested_by
from rehearsal.settings import Drift, metrics_of
from rehearsal.stats.multiple import spending

_COLUMNS = {
    "raw": "score", "corrected": "score_bias_corrected", "low": "ci_low", "high": "ci_high",
    "production": "production_level", "experimental": "experimental_level",
    "error": "error", "detectable": "detectable", "noise": "noise",
    "statistic": "test_statistic", "df": "df", "p_value": "p_value",
}  # fmt: skip


def measure(
    cells: Cells, edges: tuple[float, ...], settings: Drift, n_windows: int
) -> pd.DataFrame:
    """Return one row per cell, output and metric.

    Columns: segment_id, window (its number from 0), window_start, window_end, output, metric,
    test, score, score_bias_corrected, ci_low, ci_high, production_level and experimental_level (of
    changes of means), error, test_statistic, df, p_value, detectable, noise, level (of its test),
    n_requests, n_users, reason. Cells with fewer than min_requests or min_users have NaN scores and
    say so.

    Args:
        cells: the counts.
        edges: inner bin edges of the value.
        settings: minima, thresholds, alpha.
        n_windows: windows there will be, over which alpha is spent.
    """
    share = spending(n_windows, cells.grid.window + 1, settings.spending)
    frames: list[pd.DataFrame] = []
    enough = {name: _enough(stack, settings) for name, stack in cells.stacks.items()}
    tested = _tested_cells(cells.grid, np.logical_or.reduce(list(enough.values())))
    level = settings.alpha * share / (tested * _tests(cells, settings))
    for stack in cells.stacks.values():
        chosen = np.flatnonzero(enough[stack.output])
        columns = _measures(stack.take(chosen), edges, settings, level[chosen])
        frames += [
            _frame(cells.grid, stack, one, chosen, settings).assign(level=level) for one in columns
        ]
    return pd.concat(frames, ignore_index=True)


def _enough(stack: Stack, settings: Drift) -> np.ndarray:
    n, users = stack.sizes["n_paired"], stack.sizes["n_users"]
    return np.asarray((n >= settings.min_requests) & (users >= settings.min_users))


def _tests(cells: Cells, settings: Drift) -> int:
    """Return how many tests a segment has, so that a lone signal must be as much surer."""
    outputs = {name for one in cells.stacks for name in (one, mean_of(one))}
    tests = {
        (output, tested_by(metric))
        for output in outputs
        for metric in metrics_of(output)
        if getattr(settings.thresholds_of(output), metric) is not None
    }
    return max(len(tests), 1)


def _tested_cells(grid: Grid, enough: np.ndarray) -> np.ndarray:
    """Return how many cells of each cell's window have enough data; at least 1."""
    in_window = np.bincount(grid.window, enough, len(grid.windows))
    return np.asarray(np.maximum(in_window, 1)[grid.window])


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


def _frame(
    grid: Grid, stack: Stack, found: Measured, chosen: np.ndarray, settings: Drift
) -> pd.DataFrame:
    """Return the rows of one metric over the whole grid."""
    n, users = (stack.sizes[name].astype(int) for name in ("n_paired", "n_users"))
    columns: dict[str, np.ndarray] = {
        "segment_id": grid.segment,
        "window": grid.window,
        "window_start": grid.windows["window_start"].to_numpy()[grid.window],
        "window_end": grid.windows["window_end"].to_numpy()[grid.window],
        "output": np.full(grid.size, found.output, dtype=object),
        "metric": np.full(grid.size, found.metric, dtype=object),
        "test": np.full(grid.size, found.test, dtype=object),
        "n_requests": n,
        "n_users": users,
    }
    for field, name in _COLUMNS.items():
        values = np.full(grid.size, np.nan)
        values[chosen] = getattr(found, field)
        columns[name] = values
    few = (
        f"{a} requests of {b} users; needs {settings.min_requests} of {settings.min_users}"
        for a, b in zip(n, users, strict=True)
    )
    reason = np.array(list(few), dtype=object)
    reason[chosen] = found.reason
    return pd.DataFrame(columns | {"reason": reason})
