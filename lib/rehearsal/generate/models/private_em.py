"""EM whose every sum over the rows carries Gaussian noise: a mixture with differential privacy.

One row adds responsibilities r, which sum to 1, at one code of each of J columns: a vector of
length sqrt(J) x |r| <= sqrt(J), one more column if the segments' profiles are fitted too. One user
has at most `max_user_rows` rows, so adding or removing a user moves the sums by at most that many
times as much: the L2 sensitivity. Rounding responsibilities adds at most half a QUANTUM to each.

The number of passes is fixed and nothing is decided by held-out rows: both would tell of them.
For the same reason no loss is reported. Segments and their profiles count as public.

The rows must be chosen one by one, say by a hash, and at most `max_user_rows` of each user: were
there a total that is filled up, a user who leaves would let others in.
"""

from math import nan, sqrt

import numpy as np

from rehearsal.generate.models.em import (
    QUANTUM,
    Parameters,
    Source,
    Sums,
    column_totals,
    describe,
    described,
    maximise,
)
from rehearsal.generate.models.em_start import start_at
from rehearsal.generate.models.generator import Fitted, Point, Report
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.generate.models.privacy import Spend, noisy, secret_noise
from rehearsal.generate.models.product_mixture import Mixture

PASSES = 8
# A component is worth its noise if its rows outnumber the noise of a count this many times.
NOISES_PER_COMPONENT = 20.0
NOISES_OF_PRIOR = 2.0


def sensitivity(layout: Layout, user_rows: int, n_components: int) -> float:
    """Return how far one user can move the sums, as L2 distance."""
    columns = len(layout.sizes) + (layout.n_profile > 0)
    return user_rows * sqrt(columns) * (1 + sqrt(n_components) * QUANTUM / 2)


def fit_private(
    source: Source,
    layout: Layout,
    components: int,
    budget: Spend,
    report: Report,
    noise: np.random.Generator | None = None,
) -> Fitted:
    """Return a mixture that any one user's rows changed little.

    Args:
        source: the training rows.
        layout: of the columns.
        components: at most; fewer where the noise would drown them.
        budget: its noise; its number of passes is used up.
        report: told of every pass; the losses are NaN.
        noise: only to test: of a seed, nothing is private.
    """
    noise = noise or secret_noise()
    centre, spread = describe(source.profiles)
    segments = described(source.profiles, centre, spread)
    user_rows = budget.private.max_user_rows

    def sums_of(parameters: Parameters) -> tuple[Sums, float]:
        reach = sensitivity(layout, user_rows, parameters.n_components)
        deviation = budget.pass_noise * reach
        sums = source.sums_of(parameters, segments)
        tables = noisy(sums.tables, deviation, noise)
        weights = noisy(sums.weights, deviation, noise) if layout.n_profile else None
        return _consistent(tables, weights, layout), deviation

    counts, deviation = sums_of(Parameters.even(layout))
    marginal = counts.tables / column_totals(counts.tables, layout)
    n_rows = float(counts.tables[: layout.sizes[0]].sum())
    n = int(np.clip(n_rows / (NOISES_PER_COMPONENT * deviation), 1, components))
    parameters = start_at(_centres(marginal[:, 0], n, layout, noise), marginal, segments.shape[1])
    point = Point(1, nan, nan, 0.0)
    for number in range(1, budget.passes):
        sums, deviation = sums_of(parameters)
        smoothing = NOISES_OF_PRIOR * deviation
        parameters = maximise(sums, parameters, marginal, smoothing, segments, layout)
        point = Point(number, nan, nan, 0.0)
        report(point)
    return Fitted(Mixture(layout, parameters, centre, spread), (point,), point, "cpu")


def _centres(marginal: Floats, n: int, layout: Layout, noise: np.random.Generator) -> Codes:
    """Return rows whose columns are drawn independently, shape (n, columns): no row of anybody."""
    made = [
        start + noise.choice(size, n, p=marginal[start : start + size])
        for start, size in zip(layout.starts, layout.sizes, strict=True)
    ]
    return np.column_stack(made)


def _consistent(tables: Floats, weights: Floats | None, layout: Layout) -> Sums:
    """Return the nearest sums that some rows could have: none below 0, columns of one total."""
    inverse = 1 / np.asarray(layout.sizes, dtype=np.float64)
    totals = np.add.reduceat(tables, np.asarray(layout.starts), axis=0)
    # A column of few codes has the less noise in its total.
    rows = np.maximum(inverse @ totals / inverse.sum(), 1.0)
    parts = [
        _project(tables[start : start + size], rows)
        for start, size in zip(layout.starts, layout.sizes, strict=True)
    ]
    held = rows[None] if weights is None else np.maximum(weights, 0.0)
    return Sums(held, np.concatenate(parts), nan)


def _project(values: Floats, totals: Floats) -> Floats:
    """Return the nearest columns of numbers >= 0 that sum to `totals`, shape like `values`.

    Held, Wolfe, Crowder 1974, "Validation of subgradient optimization": all are lowered alike.
    """
    falling = -np.sort(-values, axis=0)
    rank = np.arange(1, len(values) + 1)[:, None]
    lowered = (np.cumsum(falling, axis=0) - totals) / rank
    last = (falling > lowered).sum(axis=0) - 1
    return np.maximum(values - lowered[last, np.arange(values.shape[1])], 0.0)
