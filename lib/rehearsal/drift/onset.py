"""Since when a segment drifts: the change point of each output's differences over windows."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import chi2

from rehearsal.drift.cells import Cells, Stack
from rehearsal.drift.measure_bins import distribution_parts
from rehearsal.drift.measure_sums import change_parts
from rehearsal.drift.measured import DISTRIBUTION, MEAN
from rehearsal.stats.paired import clustered_wald, pools_of

COLUMNS = (
    "segment_id", "output", "test", "window_start", "earliest_window_start",
    "latest_window_start", "last_window_start", "n_breaching_windows", "test_statistic", "df",
)  # fmt: skip
_CONFIDENCE = 0.95


def onsets(scores: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """Return where each breaching segment's drift begins, one row per output and test.

    The drift is taken to go on from its first window to the last one in breach, and to be absent
    before; the start is where the test of those windows together is strongest, which is the
    likelihood's maximum for a step. earliest and latest are the starts whose log-likelihood is
    less than chi-square(1)'s 95% point / 2 below it. Sizes (flips, errors) have no sign to add up:
    they follow the distribution's or the mean's row of the same output.

    Args:
        scores: rows of `with_verdicts`.
        cells: the counts they were made from.
    """
    red = scores[(scores["status"] == "red") & scores["test"].isin((DISTRIBUTION, MEAN))]
    sources = {one.output: one for one in cells.stacks.values()}
    place = {name: i for i, name in enumerate(cells.grid.segments)}
    rows = []
    for (segment, output, test), own in red.groupby(["segment_id", "output", "test"], dropna=False):
        stack = sources.get(str(output), sources.get("class"))
        name = segment if isinstance(segment, str) else None
        if stack is not None:
            found = _onset(stack, place[name], cells, str(test), sorted(set(own["window"])))
            rows.append({"segment_id": name, "output": output, "test": test} | found)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _onset(
    stack: Stack, segment: int, cells: Cells, test: str, breaching: list[int]
) -> dict[str, object]:
    starts = cells.grid.windows["window_start"]
    first, last = segment * len(starts), breaching[-1]
    walds = list(_from_each(stack, range(first, first + last + 1), test))
    statistics = np.array([wald[0] for wald in walds])
    best = int(statistics.argmax())
    near = np.flatnonzero(statistics >= statistics[best] - chi2.ppf(_CONFIDENCE, 1))
    return {
        "window_start": starts[best],
        "earliest_window_start": starts[near[0]],
        "latest_window_start": starts[near[-1]],
        "last_window_start": starts[last],
        "n_breaching_windows": len(breaching),
        "test_statistic": walds[best][0],
        "df": walds[best][1],
    }


def _from_each(stack: Stack, cells: range, test: str) -> Iterator[tuple[float, int]]:
    """Return (statistic, df) of the windows from each one to the last, in order of windows."""
    binned = test == DISTRIBUTION
    parts = [(distribution_parts if binned else change_parts)(stack, cell) for cell in cells]
    pools = None
    if binned:
        pools = pools_of(stack.moved_bins[cells.start : cells.stop].sum(axis=0), ordered=False)
    differences = np.array([d for d, _ in parts])[::-1].cumsum(axis=0)[::-1]
    spreads = np.array([s for _, s in parts])[::-1].cumsum(axis=0)[::-1]
    for difference, spread in zip(differences, spreads, strict=True):
        wald = clustered_wald(difference, spread, 2, 2, pools)
        yield wald.statistic, wald.df
