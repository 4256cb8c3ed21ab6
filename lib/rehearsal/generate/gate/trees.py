"""Gradient boosted trees on tables with categories and missing values."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from rehearsal.generate.gate.table import MISSING, Codes, Floats, Table

# Rarer categories share the last code; the trees take 255 at most.
MAX_CATEGORIES = 200
_TREES = 100


class Classifier:
    """Gradient boosting that is defined for a single class too.

    Args:
        table: the rows, without what is to be predicted.
        labels: classes, shape (n,).
        seed: of the trees.
    """

    def __init__(self, table: Table, labels: Codes, seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        self._classes, counts = np.unique(labels, return_counts=True)
        self._model: Any = None
        if len(counts) > 1:
            # One tree per class and iteration: the cost must not grow with the classes.
            self._model = HistGradientBoostingClassifier(
                max_iter=_TREES * 2 // len(counts), **_arguments(table, seed)
            )
            with _one_thread():
                self._model.fit(_known(table), labels)

    def probabilities(self, table: Table, classes: Sequence[int]) -> Floats:
        """Return p of each class, shape (n, classes); 0 for a class that was never seen."""
        made = np.zeros((len(table), len(classes)))
        if self._model is None:
            return made
        with _one_thread():
            found = self._model.predict_proba(_features(table))
        for position, label in enumerate(classes):
            at = np.flatnonzero(self._classes == label)
            if len(at):
                made[:, position] = found[:, at[0]]
        return made


def predict_medians(table: Table, values: Floats, asked: Table, seed: int) -> Floats:
    """Return the median predicted for the rows asked, shape (n,), by trees fitted on `table`."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(loss="absolute_error", **_arguments(table, seed))
    with _one_thread():
        predicted: Floats = model.fit(_known(table), values).predict(_features(asked))
    return predicted


def _one_thread() -> AbstractContextManager[Any]:
    """Return the context in which a task keeps to its one core.

    Threads of several tasks on the same cores wait for one another by spinning: each takes many
    times as long.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits


def _features(table: Table) -> Floats:
    """Return numbers, then codes, shape (n, columns); NaN is missing."""
    codes = np.minimum(table.codes, MAX_CATEGORIES - 1).astype(np.float64)
    return np.concatenate([table.numbers, np.where(codes == MISSING, np.nan, codes)], axis=1)


def _known(table: Table) -> Floats:
    """Return the columns to fit on; without a single value one is 0, which sklearn can bin."""
    known = _features(table)
    known[:, np.isnan(known).all(axis=0)] = 0
    return known


def _arguments(table: Table, seed: int) -> dict[str, Any]:
    n_numbers = table.numbers.shape[1]
    is_category = np.arange(n_numbers + table.codes.shape[1]) >= n_numbers
    return {"categorical_features": is_category, "early_stopping": False, "random_state": seed}
