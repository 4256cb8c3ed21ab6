"""Pinned bins: how many there may be."""

import numpy as np
import pytest

from rehearsal.drift.bins import MOST_BINS, Bins
from rehearsal.errors import ContractError


def labels(n: int) -> tuple[str, ...]:
    return tuple(f"item {i}" for i in range(n))


def edges(n: int) -> tuple[float, ...]:
    return tuple(np.linspace(0, 1, n))


def test_as_many_bins_as_can_be_counted_are_taken() -> None:
    bins = Bins(edges(MOST_BINS - 1), labels(MOST_BINS))
    assert (bins.size("value"), bins.size("class")) == (MOST_BINS, MOST_BINS)


def test_more_classes_are_refused_with_what_to_do() -> None:
    with pytest.raises(ContractError, match="have 1000 classes, .* over 100 at most; let both .*"
                                            "'other', or only a value"):  # fmt: skip
        Bins((), labels(1000))


def test_more_bins_of_the_value_are_refused_too() -> None:
    with pytest.raises(ContractError, match="the value has 101 bins.*drift.value_edges"):
        Bins(edges(MOST_BINS), ())
