"""What synthetic rows give away of the training rows, against rows held out."""

from dataclasses import dataclass

import numpy as np

from rehearsal.generate.gate.distance import Nearest, nearest, scale
from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.table import Floats, Table, sample_rows
from rehearsal.seeds import derive_seed

MAX_TRAINING, MAX_TEST, MAX_SYNTHETIC = 5_000, 2_500, 5_000
MIN_ROWS = 5


@dataclass(frozen=True, eq=False)
class Distances:
    """Who is near to whom.

    Args:
        synthetic: of the synthetic rows to the training rows, followed by the held-out ones.
        held_out: of the held-out rows to the training rows.
        n_training: how many training rows.
    """

    synthetic: Nearest
    held_out: Nearest
    n_training: int

    @property
    def attack(self) -> tuple[Floats, Floats]:
        """Nearness of members (training rows) and others to the synthetic rows."""
        near = -self.synthetic.to_reference
        return near[: self.n_training], near[self.n_training :]


def measure_distances(
    training: Table, test: Table, synthetic: Table, seed: int
) -> Distances | None:
    """Return the distances of samples of the rows; None: fewer than MIN_ROWS of one of them."""
    if min(map(len, (training, test, synthetic))) < MIN_ROWS:
        return None
    rng = np.random.default_rng(derive_seed(seed, "distances"))
    members, others = sample_rows(training, MAX_TRAINING, rng), sample_rows(test, MAX_TEST, rng)
    made = sample_rows(synthetic, MAX_SYNTHETIC, rng)
    real, held_out, queries = scale(training, members.append(others), others, made)
    return Distances(
        nearest(queries, real, len(members)),
        nearest(held_out, real.first(len(members)), len(members)),
        len(members),
    )


def dcr_share(distances: Distances) -> Measured:
    """Return the share of synthetic rows nearer to a training row than to a held-out one.

    .5 = no memory, 1 = always. Ties are split. Where there are more training rows than held-out
    ones, the share's odds are divided by the ratio of their numbers: the share for sets of equal
    size, with no row thrown away, among which the copied ones may be.

    The error is exact, to first order of the odds, where training and held-out rows are of one
    distribution: then which of them is which is a random draw, and the share a sum of weights drawn
    without replacement. Unlike the binomial error, it knows that one row can be the nearest of
    many.
    """
    weights, n = distances.synthetic.weights, len(distances.synthetic.weights)
    expected = distances.n_training / n
    share = float(np.clip(weights[: distances.n_training].sum(), 0, 1))
    variance = expected * (1 - expected) * n / (n - 1) * (float(weights @ weights) - 1 / n)
    slope = 0.25 / (expected * (1 - expected))
    near, far = share * (1 - expected), (1 - share) * expected
    return Measured(near / (near + far), slope * float(np.sqrt(max(variance, 0.0))))


def nndr_gap(distances: Distances) -> Measured:
    """Return by how much the mean NNDR of synthetic rows is below that of held-out rows.

    NNDR: distance to the nearest over the second-nearest training row, 1 where both are 0; small
    for a row that sits on one training row. 0 = no memory, negative = farther than real rows.
    """
    ratios = [_ratios(distances.held_out), _ratios(distances.synthetic)]
    error = np.sqrt(sum(float(ratio.var()) / len(ratio) for ratio in ratios))
    return Measured(float(ratios[0].mean() - ratios[1].mean()), float(error))


def _ratios(found: Nearest) -> Floats:
    return np.divide(
        found.first, found.second, out=np.ones(len(found.first)), where=found.second > 0
    )


def exact_matches(training: Table, test: Table, synthetic: Table) -> Measured | None:
    """Return the share of synthetic rows that equal a training row, less that of held-out rows.

    Equal in all columns, a missing value to a missing one. All rows are looked at. None: one of
    the tables is empty. The error is that of the difference of two equal shares, one row added
    so that a share of 0 has one too (Agresti and Caffo 2000).
    """
    if not min(map(len, (training, test, synthetic))):
        return None
    seen = _hashes(training)
    held_out, made = (np.isin(_hashes(table), seen) for table in (test, synthetic))
    n, m = len(held_out), len(made)
    share = (held_out.sum() + made.sum() + 1) / (n + m + 2)
    error = np.sqrt(share * (1 - share) * (1 / n + 1 / m))
    return Measured(float(made.mean() - held_out.mean()), float(error))


def _hashes(table: Table) -> np.ndarray:
    import pandas as pd

    # 0.0 + turns -0.0 into 0.0, which is equal to it but has another hash.
    columns = [*(0.0 + table.numbers.T), *table.codes.T]
    hashed: np.ndarray = pd.util.hash_pandas_object(
        pd.DataFrame(dict(enumerate(columns)), index=range(len(table))), index=False
    ).to_numpy()
    return hashed
