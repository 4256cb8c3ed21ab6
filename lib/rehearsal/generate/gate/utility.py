"""Train on synthetic, test on real (TSTR), against train on real, test on real (TRTR)."""

from dataclasses import dataclass

import numpy as np

from rehearsal.generate.gate.measured import Measured, auc
from rehearsal.generate.gate.table import MISSING, Table, sample_rows
from rehearsal.generate.gate.trees import Classifier, predict_medians
from rehearsal.seeds import derive_seed

CHANCE = 0.5
# A ratio of two distances to chance says nothing where the lower one is noise.
_ABOVE_CHANCE = 0.05
MAX_CLASSES = 10
MIN_CLASS_ROWS = 5
MIN_ROWS = 20
MAX_ROWS = 20_000


@dataclass(frozen=True)
class Utility:
    """How well models predict real rows; both .5 at chance and 1 when perfect."""

    tstr: Measured
    trtr: Measured

    @property
    def ratio(self) -> Measured | None:
        """(TSTR - .5) / (TRTR - .5); None: real rows themselves predict no better than chance.

        The error takes the two as independent. They share the test rows, which makes it too large;
        it leaves out that other training rows give other models, which makes it too small.
        """
        gain, error = self.trtr.value - CHANCE, self.trtr.error
        if gain < max(_ABOVE_CHANCE, 2 * error):
            return None
        ratio = (self.tstr.value - CHANCE) / gain
        return Measured(ratio, float(np.hypot(self.tstr.error, error)) / gain)


def tstr(training: Table, test: Table, synthetic: Table, target: str, seed: int) -> Utility | None:
    """Return how well gradient boosting fitted on synthetic and on real rows predicts real ones.

    As many training rows of either kind. A category is scored by the ROC AUC, mean over the classes
    (one versus rest) that have MIN_CLASS_ROWS test rows; all beyond the MAX_CLASSES most frequent
    are one class. A number is scored by 1 - MAE / (2 MAE of the median), cut to [0, 1]: chance is
    .5 and perfect is 1 as for an AUC, and no outlier decides it, as it would decide R2. None: too
    few rows that have a target, or a target without two classes or values.
    """
    parts = [_with_target(table, target) for table in (training, test, synthetic)]
    n = min(len(parts[0]), len(parts[2]), MAX_ROWS)
    if min(n, len(parts[1])) < MIN_ROWS:
        return None
    rng = np.random.default_rng(derive_seed(seed, "tstr"))
    real, made = sample_rows(parts[0], n, rng), sample_rows(parts[2], n, rng)
    held_out = sample_rows(parts[1], MAX_ROWS, rng)
    score = _score_number if target in training.number_names else _score_classes
    scores = [score(part, held_out, target, derive_seed(seed, "trees")) for part in (made, real)]
    return Utility(scores[0], scores[1]) if scores[0] and scores[1] else None


def _with_target(table: Table, target: str) -> Table:
    if target in table.number_names:
        there = ~np.isnan(table.numbers[:, table.number_names.index(target)])
    else:
        there = table.codes[:, table.code_names.index(target)] != MISSING
    return table.take(np.flatnonzero(there))


def _score_classes(training: Table, test: Table, target: str, seed: int) -> Measured | None:
    at = training.code_names.index(target)
    known, asked = (np.minimum(table.codes[:, at], MAX_CLASSES - 1) for table in (training, test))
    classes, counts = np.unique(asked, return_counts=True)
    classes = classes[(counts >= MIN_CLASS_ROWS) & (counts <= len(asked) - MIN_CLASS_ROWS)]
    if not len(classes):
        return None
    model = Classifier(training.without(target), known, seed)
    found = model.probabilities(test.without(target), classes)
    areas = [auc(found[:, i], asked == label) for i, label in enumerate(classes)]
    # The classes' errors are dependent: their mean is that of a mean of equal ones.
    return Measured(
        float(np.mean([area.value for area in areas])),
        float(np.mean([area.error for area in areas])),
    )


def _score_number(training: Table, test: Table, target: str, seed: int) -> Measured | None:
    at = training.number_names.index(target)
    known, asked = training.numbers[:, at], test.numbers[:, at]
    chance = float(np.abs(asked - np.median(asked)).mean())
    if chance == 0:
        return None
    predicted = predict_medians(training.without(target), known, test.without(target), seed)
    missed = np.abs(asked - predicted) / (2 * chance)
    value = float(np.clip(1 - missed.mean(), 0, 1))
    return Measured(value, float(missed.std() / np.sqrt(len(missed))))
