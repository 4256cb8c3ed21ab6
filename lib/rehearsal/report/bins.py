"""How a binned output is shown: what each bin is called, and which are summed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from rehearsal.report.frames import ReportData

MAX_CLASSES = 20
"""Classes shown apart; the others are summed."""

_FEWEST_DIGITS, _MOST_DIGITS = 3, 12


@dataclass(frozen=True)
class Bins:
    """How one output is cut on the page: where each stored bin goes, and what it is called.

    `place` has the shown bin of each stored one.
    """

    output: str
    place: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of bins shown."""
        return len(self.labels)

    @cached_property
    def _mapping(self) -> np.ndarray:
        return np.eye(self.size, dtype=np.int64)[list(self.place)]

    def shown(self, joint: np.ndarray) -> np.ndarray:
        """Return the joint counts of the shown bins, production by experimental."""
        stored = np.asarray(joint, dtype=np.int64).reshape(len(self.place), len(self.place))
        return np.asarray(self._mapping.T @ stored @ self._mapping)

    @property
    def labels_literal(self) -> str:
        """Return the labels as a list in the language of chart expressions."""
        return json.dumps(list(self.labels))


def shown_bins(data: ReportData) -> dict[str, Bins]:
    """Return how each binned output with counts is shown; the most frequent classes apart."""
    found = {}
    rows: Iterator[Any] = data.bins.itertuples()
    for row in rows:
        output = str(row.output)
        if not (data.joints["output"] == output).any():
            continue
        if len(row.classes):
            found[output] = _class_bins(data, output, [str(name) for name in row.classes])
        elif len(row.edges):
            labels = range_labels([float(edge) for edge in row.edges])
            found[output] = Bins(output, tuple(range(len(labels))), labels)
    return dict(sorted(found.items(), reverse=True))


def range_labels(edges: Sequence[float]) -> tuple[str, ...]:
    """Return what each bin between inner edges holds, with as many digits as tell edges apart."""
    texts: list[str] = []
    for digits in range(_FEWEST_DIGITS, _MOST_DIGITS):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(edges):
            break
    inner = [f"[{low}, {high})" for low, high in pairwise(texts)]
    return (f"< {texts[0]}", *inner, f"≥ {texts[-1]}")


def _class_bins(data: ReportData, output: str, classes: Sequence[str]) -> Bins:
    k = len(classes)
    if k <= MAX_CLASSES:
        return Bins(output, tuple(range(k)), tuple(classes))
    rows = data.joints[(data.joints["output"] == output) & data.joints["segment_id"].isna()]
    joint = np.sum([np.asarray(one, float).reshape(k, k) for one in rows["joint_bins"]], axis=0)
    often = np.argsort(-(joint.sum(axis=0) + joint.sum(axis=1)), kind="stable")[: MAX_CLASSES - 1]
    kept = sorted(int(place) for place in often)
    place = [kept.index(i) if i in kept else len(kept) for i in range(k)]
    rest = f"{k - len(kept)} other classes"
    return Bins(output, tuple(place), (*(classes[i] for i in kept), rest))
