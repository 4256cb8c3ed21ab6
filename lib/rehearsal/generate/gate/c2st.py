"""Classifier two-sample test: how well real and synthetic rows are told apart."""

import numpy as np

from rehearsal.generate.gate.measured import Measured, auc
from rehearsal.generate.gate.table import Table, sample_rows
from rehearsal.generate.gate.trees import Classifier
from rehearsal.seeds import derive_seed

FOLDS = 3
MIN_ROWS = 10
MAX_ROWS = 10_000


def c2st(real: Table, synthetic: Table, seed: int) -> Measured | None:
    """Return the AUC of gradient boosting over folds left out: .5 = not told apart, 1 = always.

    As many rows of either, at most MAX_ROWS; a larger n tells smaller differences. The mean of the
    folds' own AUCs, so that a fold's shift of all probabilities plays no part; below .5 counts
    as .5. None: fewer than MIN_ROWS of either, or no column. The error is that of rows that cannot
    be told apart. Source: Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests".
    """
    n = min(len(real), len(synthetic), MAX_ROWS)
    if n < MIN_ROWS or not real.numbers.shape[1] + real.codes.shape[1]:
        return None
    rng = np.random.default_rng(derive_seed(seed, "c2st"))
    both = sample_rows(real, n, rng).append(sample_rows(synthetic, n, rng))
    labels = np.repeat([0, 1], n)
    fold = np.concatenate([rng.permutation(n) % FOLDS for _ in range(2)])
    areas = []
    for left_out in range(FOLDS):
        train, test = np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)
        model = Classifier(both.take(train), labels[train], derive_seed(seed, "fold", left_out))
        synthetic_p = model.probabilities(both.take(test), [1])[:, 0]
        areas.append(auc(synthetic_p, labels[test] == 1).value)
    # The Mann-Whitney statistic's variance where both samples are of one distribution.
    return Measured(max(0.5, float(np.mean(areas))), float(np.sqrt((2 * n + 1) / (12 * n * n))))
