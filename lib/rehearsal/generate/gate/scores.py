"""All scores of one set of synthetic rows, and what real rows of the same number vary by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rehearsal.generate.gate.c2st import c2st
from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.membership import Attack, membership_advantage
from rehearsal.generate.gate.privacy import (
    dcr_share,
    exact_matches,
    measure_distances,
    nndr_gap,
)
from rehearsal.generate.gate.shapes import column_shapes, pair_trends
from rehearsal.generate.gate.table import Table, sample_rows
from rehearsal.generate.gate.utility import Utility, tstr
from rehearsal.seeds import derive_seed

SPLITS = 20
_SPLIT_ROWS = 500
_FIDELITY_ROWS = 20_000
Scores = Mapping[str, Measured | None]


@dataclass(frozen=True)
class Comparison:
    """What is the same for all sets of synthetic rows that are compared.

    Args:
        n: rows of either kind in the scores of fidelity, which depend on it.
        target: column to predict; None: no utility.
        seed: of everything drawn.
    """

    n: int
    target: str | None
    seed: int


def score_all(
    training: Table,
    test: Table,
    synthetic: Table,
    comparison: Comparison,
    attacks: Sequence[Attack] = (),
) -> tuple[Scores, Utility | None]:
    """Return score name -> value, None where it is undefined; and the parts of the utility.

    Args:
        training: what the generator has seen.
        test: real rows that it has not seen.
        synthetic: its rows.
        comparison: shared by what is compared.
        attacks: on membership, beside the one by the distances.
    """
    seed = comparison.seed
    rng = np.random.default_rng(derive_seed(seed, "fidelity"))
    real, made = (sample_rows(table, comparison.n, rng) for table in (test, synthetic))
    utility = (
        tstr(training, test, synthetic, comparison.target, seed) if comparison.target else None
    )
    distances = measure_distances(training, test, synthetic, seed)
    nearness = [distances.attack] if distances else []
    shapes, pairs = column_shapes(real, made), pair_trends(real, made)
    scores = {
        "c2st": c2st(real, made, seed),
        "shapes": None if shapes is None else Measured(shapes, 0.0),
        "pairs": None if pairs is None else Measured(pairs, 0.0),
        "utility": utility.ratio if utility else None,
        "dcr_share": dcr_share(distances) if distances else None,
        "nndr_gap": nndr_gap(distances) if distances else None,
        "exact": exact_matches(training, test, synthetic),
        "membership": membership_advantage([*attacks, *nearness], seed),
    }
    return scores, utility


def compared_rows(n_training: int, n_test: int, n_synthetic: int) -> int:
    """Return how many rows of either kind the scores of fidelity can be of, halves included."""
    return min(n_training // 2, n_test, n_synthetic, _FIDELITY_ROWS)


def likeness_of_halves(real: Table, n: int, seed: int) -> dict[str, Measured]:
    """Return mean and standard deviation of shapes and pairs between random sets of n real rows.

    Of SPLITS pairs of sets of at most 500 rows; what two sets lack in likeness falls with the
    square root of their size.
    """
    size = min(n, len(real) // 2, _SPLIT_ROWS)
    if size < 1:
        return {}
    rng = np.random.default_rng(derive_seed(seed, "halves"))
    drawn: dict[str, list[float]] = {"shapes": [], "pairs": []}
    for _ in range(SPLITS):
        order = rng.permutation(len(real))
        halves = real.take(order[:size]), real.take(order[size : 2 * size])
        for name, score in (("shapes", column_shapes), ("pairs", pair_trends)):
            value = score(*halves)
            if value is not None:
                drawn[name].append(value)
    shrink = np.sqrt(size / n)
    return {
        name: Measured(
            float(1 - (1 - np.mean(values)) * shrink), float(np.std(values, ddof=1) * shrink)
        )
        for name, values in drawn.items()
        if len(values) > 1
    }
