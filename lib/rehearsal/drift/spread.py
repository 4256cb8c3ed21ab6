"""Batches of replays as numbers: what a worker computes of one request alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FLOOR = 1e-6
"""Added to every probability before logarithms: one 0 would make a mean infinite."""

MISSING = "missing"
"""1 for a request that a model did not answer: an output is missing or no number; else 0."""

CALIBRATION, LOG_LOSS = "calibration", "log_loss"
GRADED = (CALIBRATION, LOG_LOSS)
"""What outcomes tell of classes."""

BINNED = ("value", "class")
SIDES = ("production", "experimental")
_NONE = -np.inf
_LARGEST = 1e70


@dataclass(frozen=True)
class Spread:
    """Turns batches of what `narrow` reads into the numbers that are counted, row by row.

    They are, for each output i, x{i} and y{i} (what production and experimental say; -inf where
    it is missing) and, for classes, b{i} (position of the most probable class of production x
    number of classes + that of experimental) and d{i} (KL in nats between the request's two
    probability vectors). Of a ratio x{i} and y{i} are the numerators, u{i} and v{i} the
    denominators. Called by mapInArrow, or by what packs the rows.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    ratios: frozenset[str] = frozenset()
    """The names that are ratios."""
    kept: tuple[str, ...] = ("user", "request_type", "window")
    """Columns passed on as they are, before the numbers."""

    @property
    def fields(self) -> list[str]:
        """The numbers as fields of a schema."""
        found = []
        for i, name in enumerate(self.names):
            found += [f"x{i} double", f"y{i} double"]
            found += [f"b{i} int", f"d{i} double"] if name == "class" else []
            found += [f"u{i} double", f"v{i} double"] if name in self.ratios else []
        return found

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the kept columns and the numbers of each request."""
        for batch in batches:
            columns = {name: batch[name] for name in self.kept}
            answers = self._answers(batch)
            for i, name in enumerate(self.names):
                columns |= {f"{key}{i}": values for key, values in answers[name].items()}
            yield pa.RecordBatch.from_pydict(columns)

    def _pairs(self, batch: pa.RecordBatch, name: str) -> dict[str, pa.Array]:
        wanted = {"xy": name} | ({"uv": f"per {name}"} if name in self.ratios else {})
        return {
            key: _filled(batch[f"{side} {column}"])
            for keys, column in wanted.items()
            for key, side in zip(keys, SIDES, strict=True)
        }

    def _answers(self, batch: pa.RecordBatch) -> dict[str, dict[str, pa.Array]]:
        found = self._of_classes(batch) if self.classes else {}
        for name in self.names:
            if name not in found and name != MISSING:
                found[name] = self._pairs(batch, name)
        if MISSING in self.names:
            binned = [found[name] for name in self.names if name in BINNED]
            found[MISSING] = {key: _lacking([one[key] for one in binned]) for key in "xy"}
        return found

    def _of_classes(self, batch: pa.RecordBatch) -> dict[str, dict[str, pa.Array]]:
        size = len(self.classes)
        vectors = [_matrix(batch[f"{side} class"], size) for side in SIDES]
        found = {"class": _class_numbers(*vectors)}
        if CALIBRATION in self.names:
            labels = pa.array(self.classes, pa.string())
            truth = pc.index_in(batch["outcome"], labels).fill_null(-1).to_numpy()
            grades = [_grades(vector, truth) for vector in vectors]
            for place, name in enumerate(GRADED):
                found[name] = {"x": grades[0][place], "y": grades[1][place]}
        return found


def _filled(column: pa.Array) -> pa.Array:
    """Return the numbers with -inf for NULL, and NaN for what no sum of squares could hold."""
    beyond = pc.greater(pc.abs(column), _LARGEST)
    if pc.any(beyond).as_py():
        column = pc.if_else(beyond, np.nan, column)
    return column.fill_null(_NONE) if column.null_count else column


def _lacking(columns: list[pa.Array]) -> pa.Array:
    """Return 1 where any of the columns has no finite number, else 0."""
    finite = [np.isfinite(column.to_numpy(zero_copy_only=False)) for column in columns]
    return pa.array(1.0 - np.logical_and.reduce(finite))


def _matrix(column: pa.Array, size: int) -> np.ndarray:
    """Return the vectors as (n, size); -inf where there is none, or one of another length."""
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    fit = lengths == size
    if fit.all():
        values = column.flatten().fill_null(np.nan).to_numpy(zero_copy_only=False)
        return np.asarray(values, float).reshape(-1, size)
    matrix = np.full((len(column), size), _NONE)
    kept = column.filter(pa.array(fit))
    if len(kept):
        values = kept.flatten().fill_null(np.nan).to_numpy(zero_copy_only=False)
        matrix[fit] = values.reshape(-1, size)
    return matrix


def _class_numbers(first: np.ndarray, second: np.ndarray) -> dict[str, pa.Array]:
    """Most probable classes, their probabilities, and KL(first || second) of each request.

    NaN, infinity or a negative number anywhere in a vector makes its probability NaN.
    """
    size = first.shape[1]
    of_first, of_second = first.argmax(axis=1), second.argmax(axis=1)
    rows = np.arange(len(first))
    x, y = first[rows, of_first], second[rows, of_second]
    best = of_first * size + of_second
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = first + FLOOR, second + FLOOR
        # KL of p / P and q / Q, their sums: no division of every entry.
        whole, other = (np.einsum("ij->i", v) for v in (p, q))
        nats = np.einsum("ij,ij->i", p, np.log(p / q)) / whole - np.log(whole / other)
    if not np.isfinite(nats).all():
        x, y = _sound(first, x), _sound(second, y)
    return {
        "x": pa.array(x),
        "y": pa.array(y),
        "b": pa.array(best.astype(np.int32)),
        "d": pa.array(nats),
    }


def _sound(vectors: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return NaN where a vector has an entry that is no probability; -inf where there is none."""
    odd = ~(np.isfinite(vectors) & (vectors >= 0)).all(axis=1)
    return np.where(odd & (best != _NONE), np.nan, best)


def _grades(vectors: np.ndarray, truth: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """Return confidence - hit, and - ln of the probability of what happened, in nats.

    The mean of the first is 0 for a calibrated model, above 0 for an overconfident one. Without
    an outcome that is one of the classes both are missing.
    """
    known = truth >= 0
    at = np.where(known, truth, 0)
    rows = np.arange(len(at))
    hit = (vectors.argmax(axis=1) == at).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        given = (vectors[rows, at] + FLOOR) / (1 + vectors.shape[1] * FLOOR)
        loss = -np.log(given)
        gap = vectors.max(axis=1) - hit
    return tuple(pa.array(np.where(known, values, _NONE)) for values in (gap, loss))
