"""A breach as a score per request: what each request adds to the segment's drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from rehearsal.drift.attribute import SIZE_SUMS, Direction, breaching_segments, directions
from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import Cells, Stack
from rehearsal.drift.levels import pooled_rate
from rehearsal.drift.measured import DISTRIBUTION, MEAN, SIZE, source_of
from rehearsal.settings import Window

BASELINE, BREACHING = 0, 1
_STEPS = float(1 << 42)


@dataclass(frozen=True)
class Breach:
    """A breach of one segment, with how its requests are scored.

    Scores are whole multiples of `unit`, a 2^42nd of a bound of the root of their summed squares:
    then every sum is exact (|sum| <= sqrt(requests) * 2^42), whatever the order, and the parts of
    any partition of the requests add to the whole to the last bit.
    """

    direction: Direction
    segment: int
    """The segment's number among all that breach."""
    output: int
    """The output's number in the names of `Spread`'s columns."""
    edges: tuple[float, ...]
    n_bins: int
    window: Window
    before: tuple[pd.Timestamp, ...]
    """Starts of the windows before the drift began; empty: there are none."""
    unit: float
    rates: tuple[float, ...] = ()
    """Of a ratio, as in `Direction`: of the windows before, then of those in breach."""

    @property
    def segment_id(self) -> str:
        """The segment's name; what all users do together has no requests of its own to look at."""
        return str(self.direction.segment_id)

    @cached_property
    def breaching(self) -> tuple[int, ...]:
        """Numbers of the windows in breach."""
        return tuple(window_number(start, self.window) for start in self.direction.windows)

    @cached_property
    def baseline(self) -> tuple[int, ...]:
        """Numbers of the windows before the drift began."""
        return tuple(window_number(start, self.window) for start in self.before)

    def phases(self, window: np.ndarray) -> np.ndarray:
        """Return BREACHING, BASELINE, or -1 for windows in neither."""
        found = np.full(len(window), -1)
        found[np.isin(window, self.baseline)] = BASELINE
        found[np.isin(window, self.breaching)] = BREACHING
        return found

    def scores(
        self, numbers: Mapping[str, np.ndarray], window: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which requests have the output under both models, and scores in units, (n,) each.

        A distribution's score is w[bin of experimental] - w[bin of production], a mean's or a
        ratio's the difference times its weight, a size's the request's own distance or flip. 0
        without both.

        Args:
            numbers: of `Spread`, (n,) each.
            window: number of each request's window.
        """
        named = {key: numbers.get(f"{key}{self.output}") for key in "xyduv"}
        held = {key: values for key, values in named.items() if values is not None}
        usable = np.isfinite(list(held.values())).all(axis=0)
        own = {key: np.where(usable, values, 0.0) for key, values in held.items()}
        x, y = own["x"], own["y"]
        if self.direction.test == MEAN:
            below = self._rates(window) * (own["v"] - own["u"]) if "u" in own else 0.0
            plain = (y - x - below) * self.direction.weights[0]
        elif self.direction.test == DISTRIBUTION:
            p, e = self._bins(numbers, x, y)
            plain = self.direction.weights[e] - self.direction.weights[p]
        else:
            plain = self._size(numbers, x, y)
        return usable, np.rint(np.where(usable, plain, 0.0) / self.unit)

    def _rates(self, window: np.ndarray) -> np.ndarray:
        """Return the rate of each request's window."""
        rates = dict(zip((*self.baseline, *self.breaching), self.rates, strict=True))
        known, place = np.unique(window, return_inverse=True)
        return np.array([rates.get(int(one), 0.0) for one in known])[place]

    def _bins(
        self, numbers: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        joint = numbers.get(f"b{self.output}")
        if joint is not None:
            p, e = np.divmod(joint, self.n_bins)
            return p, e
        p, e = (np.searchsorted(self.edges, values, "right") for values in (x, y))
        return p, e

    def _size(self, numbers: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
        wanted = SIZE_SUMS[self.direction.output, self.direction.metric]
        if wanted == "n_flips":
            p, e = self._bins(numbers, x, y)
            return np.asarray(p != e, float)
        if wanted == "sum_absolute":
            return np.asarray(np.abs(y - x))
        apart = numbers.get(f"d{self.output}")
        distance = (y - x) ** 2 if apart is None else apart
        return np.nan_to_num(distance, posinf=0.0, neginf=0.0)


def breaches_of(
    scores: pd.DataFrame,
    onsets: pd.DataFrame,
    cells: Cells,
    bins: Bins,
    names: Sequence[str],
    window: Window,
) -> tuple[Breach, ...]:
    """Return every breach of some segments, in the order of segment, output, test and metric.

    Args:
        scores: rows of `drift_scores` of the run.
        onsets: rows of `drift_onsets`; a baseline is the windows before the drift began.
        cells: every window of these segments.
        bins: the bins they were made with.
        names: what was counted, in the order of `Spread`'s columns.
        window: the granularity.
    """
    found = list(directions(scores, cells))
    segments = breaching_segments(scores)
    first = cells.grid.windows["window_start"].min()
    begins = [began(one, onsets, first) for one in found]
    return tuple(
        _breach(one, segments.index(str(one.segment_id)), start, cells, bins, names, window)
        for one, start in zip(found, begins, strict=True)
    )


def _breach(
    one: Direction,
    segment: int,
    start: pd.Timestamp,
    cells: Cells,
    bins: Bins,
    names: Sequence[str],
    window: Window,
) -> Breach:
    source = source_of(one.output)
    starts = cells.grid.windows["window_start"]
    before = tuple(at for at in starts if at < start)
    at = cells.grid.places(one.segment_id, [*before, *one.windows])
    stack = cells.stacks[source]
    size = _root_sum_squares(one, stack, at)
    return Breach(
        one,
        segment,
        list(names).index(source),
        bins.edges if source == "value" else (),
        bins.size(source),
        window,
        before,
        size / _STEPS if size > 0 else 1.0,
        tuple(pooled_rate(stack)[at]) if stack.is_ratio else (),
    )


def began(one: Direction, onsets: pd.DataFrame, first: pd.Timestamp) -> pd.Timestamp:
    """Return since when it drifts: where its differences start, at the latest in its first breach.

    Where that is the run's first window, but a later start fits about as well, the later one: what
    lies before it can be told from the rest no better, and without it nothing is left to compare.
    Sizes have no sign to add up and no row of their own: they follow their output's.

    Args:
        one: what breaches.
        onsets: rows of `drift_onsets`.
        first: start of the run's first window.
    """
    own = onsets[(onsets["segment_id"] == one.segment_id) & (onsets["output"] == one.output)]
    own = own if one.test == SIZE else own[own["test"] == one.test]
    early = own["window_start"].le(first)
    starts = own["window_start"].where(~early, own["latest_window_start"])
    return min([*map(pd.Timestamp, starts), one.windows[0]])


def _root_sum_squares(one: Direction, stack: Stack, at: np.ndarray) -> float:
    """Return a bound of the root of the summed squares of the scores in these cells."""
    squares = float(stack.sum("difference_sq")[at].sum())
    if one.test == MEAN:
        below = np.abs(pooled_rate(stack)[at]).max() * np.sqrt(stack.sum("distance")[at].sum())
        return float(np.sqrt(squares) + below) * abs(float(one.weights[0]))
    if one.test == DISTRIBUTION:
        step = one.weights[None, :] - one.weights[:, None]
        return float(np.sqrt((stack.joint[at].sum(axis=0) * step**2).sum()))
    wanted = SIZE_SUMS[one.output, one.metric]
    if wanted == "sum_absolute":
        return float(np.sqrt(squares))
    # Of what is never negative the sum is a bound.
    return float(stack.sum("flips" if wanted == "n_flips" else "distance")[at].sum())


def window_number(start: pd.Timestamp, window: Window) -> int:
    """Return the number `narrow.window_index` gives the window that begins at `start`, UTC."""
    if window == "month":
        return start.year * 12 + start.month - 1
    day = (start - pd.Timestamp(0)).days
    return day if window == "day" else (day + 3) // 7
