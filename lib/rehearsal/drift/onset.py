"""Since when a segment drifts: the change point of each output's differences over windows."""

import numpy as np
import pandas as pd
from scipy.stats import chi2

from rehearsal.drift.cells import Cells, Stack
from rehearsal.drift.direction import agreeing, together, window_parts
from rehearsal.drift.measured import DISTRIBUTION, MEAN, SIZE, source_of

COLUMNS = (
    "segment_id", "output", "test", "window_start", "earliest_window_start",
    "latest_window_start", "last_window_start", "n_breaching_windows", "test_statistic", "df",
)  # fmt: skip
_CONFIDENCE = 0.95


def onsets(red: pd.DataFrame, cells: Cells) -> list[dict[str, object]]:
    """Return where each breaching segment's drift begins, one row per output and test.

    The drift is taken to go on from its first window to the last one in breach, and to be absent
    before. Windows are compared along its direction, that of the windows in breach, in which the
    noise of a window has one dimension; the start is where the test of all windows from there on
    is strongest, the likelihood's maximum for a step. earliest and latest are the starts whose
    log-likelihood is less than chi-square(1)'s 95% point / 2 below it. Sizes (flips, errors) have
    no sign to add up: they follow the distribution's or the mean's row of the same output.

    Args:
        red: rows of `with_direction`.
        cells: every window of some segments, or of all users; only theirs are returned.
    """
    place = {name: i for i, name in enumerate(cells.grid.segments)}
    rows = []
    here = red[red["segment_id"].isin(place)]
    for (segment, output, test), own in here.groupby(
        ["segment_id", "output", "test"], dropna=False
    ):
        stack = cells.stacks[source_of(str(output))]
        name = segment if isinstance(segment, str) else None
        found = _onset(stack, place[name], cells, str(test), sorted(set(own["window"])))
        rows.append({"segment_id": name, "output": output, "test": test} | found)
    return rows


def with_direction(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `with_verdicts` in breach whose differences have a sign."""
    return scores[(scores["status"] == "red") & scores["test"].isin((DISTRIBUTION, MEAN))]


def onset_of(onsets: pd.DataFrame, output: str, test: str) -> pd.Series | None:
    """Return the row that tells since when a segment drifts in what is tested; None: there is none.

    Args:
        onsets: rows of `drift_onsets` of one segment.
        output: the output.
        test: of it; a size follows its output's distribution, or else its mean.
    """
    own = onsets[onsets["output"] == output]
    for name in (DISTRIBUTION, MEAN) if test == SIZE else (test,):
        found = own[own["test"] == name]
        if len(found):
            return found.iloc[0]
    return None


def _onset(
    stack: Stack, segment: int, cells: Cells, test: str, breaching: list[int]
) -> dict[str, object]:
    starts = cells.grid.windows["window_start"]
    first, last = segment * len(starts), breaching[-1]
    at = np.arange(first, first + last + 1)
    differences, spreads = window_parts(stack, at, test)
    same = agreeing(differences[breaching], spreads[breaching])
    breaching = [window for window, held in zip(breaching, same, strict=True) if held]
    last = breaching[-1]
    wald = together(stack, at[breaching], differences[breaching], spreads[breaching], test)
    along = differences @ wald.weights
    noise = np.einsum("i,wij,j->w", wald.weights, spreads, wald.weights)
    # From each window to the last one.
    totals, noises = (
        values[: last + 1][::-1].cumsum()[::-1][: breaching[0] + 1] for values in (along, noise)
    )
    # At the latest with the first breach; and only what goes the drift's way counts.
    upward = np.maximum(totals, 0.0) ** 2
    statistics = np.divide(upward, noises, out=np.zeros(len(totals)), where=noises > 0)
    best = int(statistics.argmax())
    near = np.flatnonzero(statistics >= statistics[best] - chi2.ppf(_CONFIDENCE, 1))
    return {
        "window_start": starts[best],
        "earliest_window_start": starts[near[0]],
        "latest_window_start": starts[near[-1]],
        "last_window_start": starts[last],
        "n_breaching_windows": len(breaching),
        "test_statistic": wald.statistic,
        "df": wald.df,
    }
