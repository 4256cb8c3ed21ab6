"""Stored counts to cells: one per segment and window, and one per window for all users."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from rehearsal.drift.bins import Bins
from rehearsal.drift.score import Cell, Moments

_MOMENTS = (
    "n_requests", "sum_production", "sum_experimental", "sum_production_sq", "sum_difference_sq",
    "sum_difference_4",
)  # fmt: skip


def build_cells(counts: pd.DataFrame, bins: Bins, segments: Sequence[str]) -> list[Cell]:
    """Return the cell of every segment in every window, and of all users (segment None).

    A segment without requests in a window still has a cell, with zero counts, so that silence
    is seen as missing data and not as no drift. Counts add, so all users are the sum.
    """
    windows = counts[["window_start", "window_end"]].drop_duplicates().sort_values("window_start")
    known = sorted({*segments, *counts["segment_id"].dropna()})
    outputs = [*dict.fromkeys(counts.loc[counts["kind"] == "moments", "output"])]
    cells = []
    for start, end in windows.itertuples(index=False):
        here = counts[counts["window_start"] == start]
        by_segment = dict(iter(here.groupby("segment_id")))
        cells.append(_cell(None, start, end, here, bins, outputs))
        empty = here.iloc[:0]
        cells += [
            _cell(name, start, end, by_segment.get(name, empty), bins, outputs) for name in known
        ]
    return cells


def _cell(
    segment_id: str | None,
    start: datetime,
    end: datetime,
    counts: pd.DataFrame,
    bins: Bins,
    outputs: list[str],
) -> Cell:
    size = counts[counts["kind"] == "size"]
    return Cell(
        segment_id,
        start,
        end,
        int(size["n_requests"].sum()),
        int(size["n_users"].sum()),
        {output: joint_counts(counts, output, bins.size(output)) for output in bins.outputs},
        {output: _moments(counts, output) for output in outputs},
    )


def joint_counts(counts: pd.DataFrame, output: str, size: int) -> np.ndarray:
    """Return the joint histogram of `output`, shape (size, size), production by experimental.

    Requests that lack the output under either model are left out.
    """
    joint = np.zeros((size, size))
    held = counts[(counts["kind"] == "joint") & (counts["output"] == output)]
    held = held[(held["bin_production"] >= 0) & (held["bin_experimental"] >= 0)]
    where = (held["bin_production"].to_numpy(int), held["bin_experimental"].to_numpy(int))
    np.add.at(joint, where, held["n_requests"].to_numpy(float))
    return joint


def _moments(counts: pd.DataFrame, output: str) -> Moments:
    held = counts[(counts["kind"] == "moments") & (counts["output"] == output)]
    n, *sums = (float(held[name].sum()) for name in _MOMENTS)
    return Moments(int(n), *sums)
