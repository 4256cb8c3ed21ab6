"""Stored counts as stacks of arrays: one cell per segment and window, and per window for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import pandas as pd

from rehearsal.drift.bins import Bins
from rehearsal.drift.layout import N_SUMS, SUMS, unpack
from rehearsal.settings import Window
from rehearsal.span import after, floor, window_starts

_PLAIN = (
    "n_paired", *(f"sum_{name}" for name in SUMS[1:-1]), "n_flips",
)  # fmt: skip
_SIZES = ("n_requests", "n_users", "n_paired", "n_null", "n_nan", "n_moved", "n_shifted")


@dataclass(frozen=True)
class Grid:
    """Which cell is where: every segment (None = all users, first) in every window, in order."""

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
    """One output's counts over a grid; axis 0 is the cell. See `layout.SUMS` for the sums."""

    output: str
    sizes: dict[str, np.ndarray]
    sums: np.ndarray  # (C, 8)
    products: np.ndarray  # (C, 8, 8), over users
    joint: np.ndarray  # (C, K, K); K = 0 without bins
    user_bins: np.ndarray  # (C, 2K, 2K), over users
    fourth_bins: np.ndarray  # (C, K)

    @property
    def n_bins(self) -> int:
        """K."""
        return self.joint.shape[1]

    def sum(self, name: str) -> np.ndarray:
        """Return one of the sums, (C,)."""
        return np.asarray(self.sums[:, SUMS.index(name)])


@dataclass(frozen=True)
class Cells:
    """Every output's counts over the same grid."""

    grid: Grid
    stacks: dict[str, Stack]


def build_cells(
    counts: pd.DataFrame, bins: Bins, segments: Sequence[str], since: datetime | None = None
) -> Cells:
    """Return the cells of every segment in every window, and of all users.

    Windows are those of the calendar, so that one without requests has its place.

    A segment without requests in a window still has a cell, with zero counts, so that silence
    is seen as missing data and not as no drift. A user is in one segment, so that counts over
    users add too, and all users are the sum.

    Args:
        counts: rows of `drift_counts` of all request types together (request_type NULL).
        bins: the bins they were made with.
        segments: segments that must have cells.
        since: an instant in the first window; default: the first with requests.
    """
    if counts.empty:
        nothing = pd.DataFrame({"window_start": [], "window_end": []})
        return Cells(Grid((None, *sorted(segments)), nothing), {})
    windows = _calendar(counts, since)
    known = sorted({*segments, *counts["segment_id"]})
    grid = Grid((None, *known), windows)
    place = {name: i for i, name in enumerate(grid.segments)}
    nth = {start: i for i, start in enumerate(windows["window_start"])}
    at = counts["segment_id"].map(place) * len(windows) + counts["window_start"].map(nth)
    counts = counts.assign(cell=at.astype(int))
    outputs = list(dict.fromkeys(counts["output"]))
    stacks = {name: _stack(name, counts[counts["output"] == name], grid, bins.size(name))
              for name in outputs}  # fmt: skip
    return Cells(grid, stacks)


def _calendar(counts: pd.DataFrame, since: datetime | None) -> pd.DataFrame:
    """Return every window from the first to the last, without gaps."""
    window: Window = counts["granularity"].iloc[0]
    first, last = counts["window_start"].min(), counts["window_start"].max()
    if since is not None:
        first = min(first, pd.Timestamp(floor(since, window)).tz_localize(None))
    starts = window_starts(first.to_pydatetime(), last.to_pydatetime(), window)
    ends = [after(start, window) for start in starts]
    return pd.DataFrame({"window_start": starts, "window_end": ends})


def _stack(output: str, rows: pd.DataFrame, grid: Grid, k: int) -> Stack:
    at = rows["cell"].to_numpy()

    def placed(values: np.ndarray) -> np.ndarray:
        full = np.zeros((grid.size, *values.shape[1:]))
        full[at] = values
        w = len(grid.windows)
        full[:w] = full.reshape(len(grid.segments), w, *values.shape[1:])[1:].sum(axis=0)
        return full

    def stacked(name: str, width: int) -> np.ndarray:
        if not width or rows.empty:
            return placed(np.zeros((len(rows), width)))
        return placed(np.array(rows[name].tolist(), dtype=float))

    plain = rows[list(_PLAIN)].to_numpy(float)
    pairs = 2 * k * (2 * k + 1) // 2
    return Stack(
        output,
        {name: placed(rows[name].to_numpy(float)) for name in _SIZES},
        placed(plain),
        unpack(stacked("user_sums", N_SUMS * (N_SUMS + 1) // 2), N_SUMS),
        stacked("joint_bins", k * k).reshape(grid.size, k, k),
        unpack(stacked("user_bins", pairs), 2 * k),
        stacked("fourth_bins", k),
    )
