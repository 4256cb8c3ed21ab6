"""A codec with differential privacy: noisy counts over grids that the data have no say in.

Values and categories are not known beforehand, so a count is published only above a cut that one
user alone does not reach but with probability `cut_delta` (stability-based histogram: Bun, Nissim,
Stemmer 2016, "Simultaneous private learning of multiple concepts", section 3.2; with Gaussian
noise). Bins end where cells of the grid end, never at a value somebody had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd

from rehearsal.generate.codec.columns import Continuous, TokenSource, texts
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import categories
from rehearsal.generate.codec.instants import DAY, Datetime, epoch_seconds
from rehearsal.generate.codec.numeric import Floats, Numeric
from rehearsal.generate.codec.rules import Field, make_rules
from rehearsal.generate.models.privacy import Spend, cut_above, noisy, secret_noise
from rehearsal.settings import Generator

CELLS_PER_OCTAVE = 16
CELLS_OF_RANGE = 256
# Of a number: its values, its cells, and whether it is whole.
_HISTOGRAMS = {"categorical": 1, "boolean": 1, "continuous": 3, "datetime": 6}


@dataclass(frozen=True)
class Cells:
    """Intervals [start, end) that cover the numbers, whatever the data are.

    Args:
        low: lowest valid value; None where no range is declared. Then every power of two is cut
            into CELLS_PER_OCTAVE cells, of either sign, and 0 is a cell of its own.
        high: highest valid value.
    """

    low: float | None = None
    high: float | None = None

    def at(self, values: Floats) -> Floats:
        """Return the cell number of each value; numbers rise with the values."""
        if self.low is not None and self.high is not None:
            share = (np.clip(values, self.low, self.high) - self.low) / (self.high - self.low)
            number: Floats = np.minimum(np.floor(share * CELLS_OF_RANGE), CELLS_OF_RANGE - 1)
            return number
        mantissa, exponent = np.frexp(np.abs(values))
        within = np.floor((2 * mantissa - 1) * CELLS_PER_OCTAVE)
        # 1100 more than the lowest exponent of a double, so that all numbers but 0 are above 0.
        place = (exponent + 1100.0) * CELLS_PER_OCTAVE + within
        return np.where(values == 0, 0.0, np.sign(values) * place)

    def ends(self, cell: float) -> tuple[float, float]:
        """Return where a cell starts and ends; the same twice for 0 alone."""
        if self.low is not None and self.high is not None:
            width = (self.high - self.low) / CELLS_OF_RANGE
            return self.low + cell * width, self.low + (cell + 1) * width
        if cell == 0:
            return 0.0, 0.0
        octave, within = divmod(abs(cell), CELLS_PER_OCTAVE)
        unit = 2.0 ** (octave - 1100.0 - 1) / CELLS_PER_OCTAVE
        near = unit * (CELLS_PER_OCTAVE + within)
        return (near, near + unit) if cell > 0 else (-near - unit, -near)


@dataclass(frozen=True)
class Release:
    """Publishes counts: the noise of each, and the cut for those nobody declared."""

    deviation: float
    cut: float
    noise: np.random.Generator

    def counts(self, values: Sequence[float] | Sequence[str]) -> dict[float | str, float]:
        """Return value -> noisy count of those above the cut."""
        # Without the cut an empty cell could show; with it only values that occur can pass.
        found, counts = np.unique(np.asarray(values), return_counts=True)
        published = noisy(counts.astype(np.float64), self.deviation, self.noise)
        kept = published >= self.cut
        return dict(zip(found[kept].tolist(), published[kept].tolist(), strict=True))

    def any_more(self, count: int) -> bool:
        """Return whether a noisy count reaches the cut."""
        return float(noisy(np.array([float(count)]), self.deviation, self.noise)[0]) >= self.cut


def release_of(
    budget: Spend, fields: Sequence[Field], min_count: int, noise: np.random.Generator | None = None
) -> Release:
    """Return how the counts of all fields are published within the codec's share of a budget.

    A user's rows, at most `max_user_rows`, add that many to each histogram, so all histograms
    together have L2 sensitivity `max_user_rows` x the square root of their number.
    """
    user_rows = budget.private.max_user_rows
    histograms = sum(_HISTOGRAMS[field.kind] for field in fields)
    deviation = budget.codec_noise * user_rows * sqrt(max(histograms, 1))
    places = max(1, user_rows * histograms)
    cut = cut_above(deviation, user_rows, places, budget.cut_delta)
    return Release(deviation, max(cut, float(min_count)), noise or secret_noise())


def fit_private_codec(
    frame: pd.DataFrame,
    fields: Sequence[Field],
    settings: Generator,
    budget: Spend,
    keep: Mapping[str, Sequence[str]],
    noise: np.random.Generator | None = None,
) -> Codec:
    """Return the codec of training rows, at most `max_user_rows` of each user.

    Args:
        frame: the rows, every field by name; chosen one by one, not as a total filled up.
        fields: the columns to cover, conditions first.
        settings: number of bins and categories; declared ranges.
        budget: its codec's share is used up.
        keep: column -> categories with a code of their own, not learnt from these rows.
        noise: only to test: of a seed, nothing is private.
    """
    release = release_of(budget, fields, settings.min_count, noise)
    rules = make_rules(fields, settings)
    made: dict[bool, list[TokenSource]] = {True: [], False: []}
    for field in fields:
        values = frame[field.name]
        if field.kind in ("categorical", "boolean"):
            column: TokenSource = categories(
                field, _counts(values, release), rules, settings, keep.get(field.name, ())
            )
        elif field.kind == "continuous":
            cells = Cells(*settings.ranges.get(field.name, (None, None)))
            numbers = values.to_numpy(dtype=np.float64)
            forced_numbers = rules.forced_numbers(field.name)
            numeric = private_numeric(numbers, cells, settings.bins, release, forced_numbers)
            column = Continuous(field.name, numeric)
        else:
            column = _datetime(field.name, epoch_seconds(values), settings.bins, release)
        made[field.condition].append(column)
    return Codec(tuple(made[True]), tuple(made[False]), rules)


def _counts(values: pd.Series, release: Release) -> dict[str, int]:
    """Return category -> noisy count of those above the cut, the most frequent first."""
    published = release.counts(texts(values).dropna().tolist())
    ranked = sorted(published.items(), key=lambda pair: (-pair[1], pair[0]))
    return {str(category): round(count) for category, count in ranked}


def _datetime(name: str, seconds: Floats, bins: int, release: Release) -> Datetime:
    day = np.floor(seconds / DAY)
    days = private_numeric(day, Cells(), bins, release)
    times = private_numeric(seconds - day * DAY, Cells(0.0, float(DAY)), bins, release)
    shown = (*days.atoms, *days.lows, *days.highs)
    low, high = (int(min(shown)), int(max(shown))) if shown else (0, 0)
    return Datetime(name, (days,), times, low * DAY, high * DAY + DAY - 1)


def private_numeric(
    values: Floats, cells: Cells, bins: int, release: Release, forced: Sequence[float] = ()
) -> Numeric:
    """Return the codes of numbers, shape (n,); NaN and infinities are left out.

    A value is an atom when its noisy count is above the cut, a cell when that of its other values
    is. Rows in no cell that is kept join the bin below. A range that is declared has bins at
    least, whatever the rows are.
    """
    seen = values[np.isfinite(values)]
    if cells.low is not None and cells.high is not None:
        seen = np.clip(seen, cells.low, cells.high)
    whole = not release.any_more(int((seen != np.floor(seen)).sum()))
    atoms = sorted({*map(float, release.counts(seen.tolist())), *forced})
    atoms = [value for value in atoms if not whole or value == np.floor(value)]
    rest = seen[~np.isin(seen, np.asarray(atoms))]
    counts = release.counts(cells.at(rest).tolist())
    spans = [
        (span, counts[cell])
        for cell in sorted(counts, key=float)
        if (span := _span(cells.ends(float(cell)), atoms, whole)) is not None
    ]
    if not spans and not atoms and cells.low is not None and cells.high is not None:
        spans = [((cells.low, cells.high), 1.0)]
    lows, highs = _bins(spans, bins)
    return Numeric(tuple(atoms), tuple(lows), tuple(highs), 0 if whole else None)


def _span(
    ends: tuple[float, float], atoms: Sequence[float], whole: bool
) -> tuple[float, float] | None:
    """Return the lowest and highest value a cell decodes to; None if all of them are atoms."""
    low, high = ends
    if not whole:
        return low, float(np.nextafter(high, low)) if high > low else high
    low = float(np.ceil(low))
    high = float(np.ceil(high) - 1) if high > ends[0] else high
    within = sum(low <= atom <= high for atom in atoms)
    return (low, high) if high - low + 1 - within >= 1 else None


def _bins(
    spans: Sequence[tuple[tuple[float, float], float]], bins: int
) -> tuple[list[float], list[float]]:
    """Return where at most `bins` runs of cells side by side, of equal rows, start and end."""
    lows: list[float] = []
    highs: list[float] = []
    total, seen, closed = sum(count for _, count in spans), 0.0, True
    for (low, high), count in spans:
        if closed:
            lows.append(low)
            highs.append(high)
        highs[-1], seen = high, seen + count
        closed = seen * bins >= len(lows) * total
    return lows, highs
