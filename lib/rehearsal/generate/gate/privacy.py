"""What synthetic rows give away of the training rows, against rows held out.

Synthetic rows are asked for by the conditions of real rows, and lie near to those: the attributes
of a user are theirs too. So training and held-out rows must be asked for at the same rate. To a
generator that has learnt none of them by heart they are then alike, whichever are sampled, and each
score here is 0, or the share .5, on average.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rehearsal.generate.gate.distance import Nearest, nearest, scale
from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.table import Floats, Table, sample_rows
from rehearsal.seeds import derive_seed

MAX_TRAINING, MAX_TEST, MAX_SYNTHETIC = 5_000, 2_500, 5_000
MIN_ROWS = 5


@dataclass(frozen=True, eq=False)
class Distances:
    """How near the synthetic rows are to the real ones.

    Args:
        found: of the synthetic rows to the training rows, followed by the held-out ones.
        n_training: how many training rows.
    """

    found: Nearest
    n_training: int

    @property
    def attack(self) -> tuple[Floats, Floats]:
        """Nearness of members (training rows) and others to the synthetic rows."""
        near = -self.found.to_reference
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
    real, queries = scale(training, members.append(others), made)
    return Distances(nearest(queries, real), len(members))


def dcr_share(distances: Distances) -> Measured:
    """Return the share of synthetic rows nearer to a training row than to a held-out one.

    .5 = no memory, 1 = always. Ties are split. Where there are more training rows than held-out
    ones, the share's odds are divided by the ratio of their numbers: the share for sets of equal
    size, with no row thrown away, among which the copied ones may be. The error is exact to first
    order of the odds (see `_error_of_sum`).
    """
    weights, n_training = distances.found.weights, distances.n_training
    expected = n_training / len(weights)
    share = float(np.clip(weights[:n_training].sum(), 0, 1))
    slope = 0.25 / (expected * (1 - expected))
    near, far = share * (1 - expected), (1 - share) * expected
    return Measured(near / (near + far), slope * _error_of_sum(weights, n_training))


def nndr_gap(distances: Distances) -> Measured:
    """Return by how much NNDR is lower beside training rows than beside held-out ones.

    NNDR: a synthetic row's distance to the nearest over that to the second-nearest real row, 1
    where both are 0; small for a row that sits on one real row. What it lacks to 1 counts for
    training rows and, as if there were as many of them, against held-out ones. 0 = no memory, 1 =
    every synthetic row sits on a training row.
    """
    return _beyond_held_out(distances.found.lacking, distances.n_training)


def exact_matches(training: Table, test: Table, synthetic: Table) -> Measured | None:
    """Return the share of synthetic rows that equal a training row, less that by chance.

    Equal in all columns, a missing value to a missing one; ties are split. All rows are looked at.
    By chance: the share that equals a held-out row, as if there were as many of them. None: one of
    the tables is empty. A share of 0 has the error of a single row that is equal.
    """
    if not min(map(len, (training, test, synthetic))):
        return None
    real, made = _hashes(training.append(test)), _hashes(synthetic)
    _, group, size = np.unique(real, return_inverse=True, return_counts=True)
    drawn = pd.Series(made).value_counts().reindex(real, fill_value=0).to_numpy()
    weights = drawn / size[group] / len(made)
    found = _beyond_held_out(weights, len(training))
    one = np.eye(1, len(real))[0] / len(made)
    least = _beyond_held_out(one, len(training)).error
    return Measured(found.value, float(np.hypot(found.error, least)))


def _beyond_held_out(weights: Floats, n_training: int) -> Measured:
    """Return the weight of training rows less that of as many held-out ones."""
    ratio = n_training / (len(weights) - n_training)
    value = weights[:n_training].sum() - ratio * weights[n_training:].sum()
    return Measured(float(value), (1 + ratio) * _error_of_sum(weights, n_training))


def _error_of_sum(weights: Floats, n_training: int) -> float:
    """Return the standard deviation of the training rows' weight, where there is no memory.

    Then which real rows are training rows is a random draw, and the sum one of weights drawn
    without replacement. Unlike the binomial error, it knows that one row can be near to many.
    """
    n = len(weights)
    spread = float(weights @ weights - weights.sum() ** 2 / n)
    return float(np.sqrt(max(spread, 0.0) * n_training * (n - n_training) / n / (n - 1)))


def _hashes(table: Table) -> np.ndarray:
    # 0.0 + turns -0.0 into 0.0, which is equal to it but has another hash.
    columns = [*(0.0 + table.numbers.T), *table.codes.T]
    hashed: np.ndarray = pd.util.hash_pandas_object(
        pd.DataFrame(dict(enumerate(columns)), index=range(len(table))), index=False
    ).to_numpy()
    return hashed
