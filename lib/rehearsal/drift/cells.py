"""Stored counts as stacks of arrays: one cell per segment and window."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import pandas as pd

from rehearsal.drift.bins import Bins
from rehearsal.drift.layout import DENOMINATORS, N_SUMS, PLAIN, SUMS, Output, triangle, unpack
from rehearsal.settings import Window
from rehearsal.span import after, floor, window_starts

_BELOW = tuple(f"sum_{name}" for name in DENOMINATORS)
_SIZES = ("n_requests", "n_users", "n_paired", "n_null", "n_nan", "n_moved", "n_shifted")
_PLACES = {name: place for place, name in enumerate((*SUMS, *DENOMINATORS))}
READ = (
    "segment_id", "window_start", "granularity", "output",
    *dict.fromkeys((*_SIZES, *PLAIN, *_BELOW)), "user_sums", "joint_bins", "user_bins",
    "fourth_bins",
)  # fmt: skip
"""The columns of `drift_counts` that cells are built from."""
_STACKED = ("sums", "products", "joint", "user_bins", "fourth_bins")


@dataclass(frozen=True)
class Grid:
    """Which cell is where: every segment (None = all users) in every window, in order."""

    segments: tuple[str | None, ...]
    windows: pd.DataFrame
    """window_start, window_end; rising."""

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.segments) * len(self.windows)

    @cached_property
    def segment(self) -> np.ndarray:
        """Segment of each cell."""
        return np.repeat(np.array(self.segments, dtype=object), len(self.windows))

    @cached_property
    def window(self) -> np.ndarray:
        """Number of the window of each cell, from 0."""
        return np.tile(np.arange(len(self.windows)), len(self.segments))

    def places(self, segment_id: str | None, starts: Sequence[pd.Timestamp]) -> np.ndarray:
        """Return the cells of a segment's windows, by when they start."""
        held = list(self.windows["window_start"])
        first = self.segments.index(segment_id) * len(held)
        return np.array([first + held.index(start) for start in starts], int)


@dataclass(frozen=True)
class Stack:
    """One output's counts over a grid; axis 0 is the cell. See `layout` for the m sums."""

    output: str
    sizes: dict[str, np.ndarray]
    sums: np.ndarray  # (C, m)
    products: np.ndarray  # (C, m, m), over users
    joint: np.ndarray  # (C, K, K); K = 0 without bins
    user_bins: np.ndarray  # (C, 2K, 2K), over users
    fourth_bins: np.ndarray  # (C, K)

    @property
    def n_bins(self) -> int:
        """K."""
        return self.joint.shape[1]

    @property
    def is_ratio(self) -> bool:
        """Whether it has denominators."""
        return self.sums.shape[1] > N_SUMS

    def sum(self, name: str) -> np.ndarray:
        """Return one of the sums, (C,)."""
        return np.asarray(self.sums[:, _PLACES[name]])

    def unit(self, name: str) -> np.ndarray:
        """Return the weights that pick one of the sums, (m,)."""
        return np.asarray(np.eye(self.sums.shape[1])[_PLACES[name]])

    def at(self, cells: np.ndarray) -> "Stack":
        """Return some of the cells."""
        sizes = {name: values[cells] for name, values in self.sizes.items()}
        return replace(self, sizes=sizes, **{name: getattr(self, name)[cells] for name in _STACKED})

    def plus(self, other: "Stack") -> "Stack":
        """Return the sums of both, cell by cell."""
        sizes = {name: values + other.sizes[name] for name, values in self.sizes.items()}
        sums = {name: getattr(self, name) + getattr(other, name) for name in _STACKED}
        return replace(self, sizes=sizes, **sums)


@dataclass(frozen=True)
class Cells:
    """Every output's counts over the same grid."""

    grid: Grid
    stacks: dict[str, Stack]


def build_cells(
    counts: pd.DataFrame,
    bins: Bins,
    segments: Sequence[str],
    windows: pd.DataFrame | None = None,
    outputs: Sequence[Output] | None = None,
) -> Cells:
    """Return the cells of every segment in every window.

    A segment without requests in a window still has a cell, with zero counts, so that silence
    is seen as missing data and not as no drift.

    Args:
        counts: rows of `drift_counts` of all request types together (request_type NULL).
        bins: the bins they were made with.
        segments: segments that must have cells, also without counts.
        windows: of the grid, from `calendar`; default: from the first to the last of the counts.
        outputs: that must have a stack; default: those of the counts, ratios told by their rows.
    """
    windows = calendar(counts) if windows is None else windows
    known = sorted({*segments, *counts["segment_id"]})
    grid = Grid(tuple(known), windows)
    place = {name: i for i, name in enumerate(grid.segments)}
    nth = {start: i for i, start in enumerate(windows["window_start"])}
    at = counts["segment_id"].map(place) * len(windows) + counts["window_start"].map(nth)
    counts = counts.assign(cell=at.astype(int))
    outputs = outputs_in(counts, bins) if outputs is None else outputs
    stacks = {one.name: _stack(one, counts[counts["output"] == one.name], grid) for one in outputs}
    return Cells(grid, stacks)


def outputs_in(counts: pd.DataFrame, bins: Bins) -> list[Output]:
    """Return what was counted, by rows with `output` and `sum_denominator`."""
    known = counts["sum_denominator"].notna().groupby(counts["output"], sort=False).any()
    return [Output(str(name), bins.size(str(name)), bool(ratio)) for name, ratio in known.items()]


def calendar(counts: pd.DataFrame, since: datetime | None = None) -> pd.DataFrame:
    """Return every window from the first to the last, so that one without requests has its place.

    Columns: window_start, window_end; rising.

    Args:
        counts: rows with window_start and granularity; at least one.
        since: an instant in the first window; default: the first with requests.
    """
    window: Window = counts["granularity"].iloc[0]
    first, last = counts["window_start"].min(), counts["window_start"].max()
    if since is not None:
        first = min(first, pd.Timestamp(floor(since, window)).tz_localize(None))
    starts = window_starts(first.to_pydatetime(), last.to_pydatetime(), window)
    ends = [after(start, window) for start in starts]
    return pd.DataFrame({"window_start": starts, "window_end": ends})


def _stack(output: Output, rows: pd.DataFrame, grid: Grid) -> Stack:
    k = output.n_bins
    at = rows["cell"].to_numpy()

    def placed(values: np.ndarray) -> np.ndarray:
        full = np.zeros((grid.size, *values.shape[1:]))
        full[at] = values
        return full

    def stacked(name: str, width: int) -> np.ndarray:
        if not width or rows.empty:
            return placed(np.zeros((len(rows), width)))
        return placed(np.array(rows[name].tolist(), dtype=float))

    plain = rows[[*PLAIN, *(_BELOW if output.is_ratio else ())]].to_numpy(float)
    m = plain.shape[1]
    return Stack(
        output.name,
        {name: placed(rows[name].to_numpy(float)) for name in _SIZES},
        placed(plain),
        unpack(stacked("user_sums", triangle(m)), m),
        stacked("joint_bins", k * k).reshape(grid.size, k, k),
        unpack(stacked("user_bins", triangle(2 * k)), 2 * k),
        stacked("fourth_bins", k),
    )
