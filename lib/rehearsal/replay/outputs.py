"""What a model returned, as class probabilities and a value per request, with what is wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Outputs:
    """One row per request: `probabilities` (n, classes) or None, `value` (n,) or None."""

    probabilities: np.ndarray | None
    value: np.ndarray | None
    classes: tuple[str, ...] = ()


def read_outputs(returned: Any, n: int, classes: tuple[str, ...] | None, name: str) -> Outputs:
    """Return a model's answer for `n` requests in one form.

    A 1-D answer is the value. A 2-D one holds class probabilities, named by `classes` or by
    position. Of a data frame, column `value` is the value and the other columns are class
    probabilities under their labels. With two classes and no value, the value is the
    probability of the second.

    Raises:
        ModelError: not one row per request, or not numbers.
    """
    labels, table = _as_table(returned, classes, name)
    if len(table) != n:
        raise ModelError(
            f"{name} returned {len(table)} rows for {n} requests; it must return one each"
        )
    value = table[:, labels.index("value")] if "value" in labels else None
    kept = [i for i, label in enumerate(labels) if label != "value"]
    if not kept:
        return Outputs(None, value)
    if len(kept) == 1:
        raise ModelError(
            f"{name} returned one probability column ({labels[kept[0]]}); return the probability "
            "of every class, or one column named 'value'"
        )
    probabilities = table[:, kept]
    if value is None and len(kept) == 2:  # noqa: PLR2004
        value = probabilities[:, 1]
    return Outputs(probabilities, value, tuple(labels[i] for i in kept))


def faults(outputs: Outputs, name: str) -> list[str | None]:
    """Return per request why its output is unusable, or None."""
    n = len(outputs.probabilities if outputs.probabilities is not None else outputs.value)  # type: ignore[arg-type]
    found: list[str | None] = [None] * n
    if outputs.value is not None:
        for i in np.flatnonzero(~np.isfinite(outputs.value)):
            found[i] = f"{name} returned a value that is not finite"
    if outputs.probabilities is not None:
        finite = np.isfinite(outputs.probabilities).all(axis=1)
        sums = np.abs(outputs.probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE
        proper = (outputs.probabilities >= 0).all(axis=1) & sums
        for i in np.flatnonzero(~finite):
            found[i] = f"{name} returned probabilities that are not finite"
        for i in np.flatnonzero(finite & ~proper):
            found[i] = f"{name} returned probabilities that are negative or do not sum to 1"
    return found


def align(outputs: Outputs, classes: tuple[str, ...]) -> np.ndarray | None:
    """Return the probabilities in the order of `classes`; a class the model lacks gets 0."""
    if outputs.probabilities is None:
        return None
    aligned = np.zeros((len(outputs.probabilities), len(classes)))
    for source, label in enumerate(outputs.classes):
        aligned[:, classes.index(label)] = outputs.probabilities[:, source]
    return aligned


def _as_table(
    returned: Any, classes: tuple[str, ...] | None, name: str
) -> tuple[list[str], np.ndarray]:
    if isinstance(returned, pd.Series):
        returned = returned.to_numpy()
    if isinstance(returned, pd.DataFrame):
        labels, raw = [str(label) for label in returned.columns], returned.to_numpy()
    else:
        raw = np.asarray(returned)
        if raw.ndim == 2 and raw.shape[1] == 1:  # noqa: PLR2004
            raw = raw[:, 0]
        labels = ["value"] if raw.ndim == 1 else _class_labels(raw, classes, name)
    try:
        table = raw.astype(float)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} returned {raw.dtype} where numbers are needed; log it so that predict gives "
            "class probabilities or a value"
        ) from error
    return labels, table.reshape(len(table), -1)


def _class_labels(raw: np.ndarray, classes: tuple[str, ...] | None, name: str) -> list[str]:
    if raw.ndim != 2:  # noqa: PLR2004
        raise ModelError(
            f"{name} returned an array of shape {raw.shape}; "
            "return (requests,) or (requests, classes)"
        )
    if classes is not None and len(classes) != raw.shape[1]:
        raise ModelError(
            f"{name} has {len(classes)} classes but returned {raw.shape[1]} probabilities a request"
        )
    return list(classes) if classes is not None else [str(i) for i in range(raw.shape[1])]
