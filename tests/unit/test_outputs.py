"""What models may return, and what is refused or set aside."""

import numpy as np
import pandas as pd
import pytest

from rehearsal.errors import ModelError
from rehearsal.replay.outputs import align, faults, read_outputs


def test_a_one_dimensional_answer_is_the_value() -> None:
    found = read_outputs(np.array([1.0, 2.0]), 2, None, "m")
    assert found.value is not None
    assert found.value.tolist() == [1, 2]
    assert found.probabilities is None


def test_two_classes_without_a_value_give_the_probability_of_the_second() -> None:
    found = read_outputs(np.array([[0.2, 0.8]]), 1, ("no", "yes"), "m")
    assert found.classes == ("no", "yes")
    assert found.value is not None
    assert found.value.tolist() == [0.8]


def test_a_frame_holds_a_value_beside_classes_under_their_labels() -> None:
    frame = pd.DataFrame({"a": [0.5], "value": [7.0], "b": [0.2], "c": [0.3]})
    found = read_outputs(frame, 1, None, "m")
    assert found.classes == ("a", "b", "c")
    assert found.value is not None
    assert found.value.tolist() == [7]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros(3), "returned 3 rows for 2 requests"),
        (np.zeros((2, 2, 2)), r"array of shape \(2, 2, 2\)"),
        (np.zeros((2, 4)), "has 3 classes but returned 4 probabilities"),
        (np.array(["yes", "no"]), "where numbers are needed"),
        (pd.DataFrame({"a": [1, 2], "value": [1, 2]}), r"one probability column \(a\)"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_model_named(returned: object, message: str) -> None:
    with pytest.raises(ModelError, match=f"^m .*{message}"):
        read_outputs(returned, 2, ("x", "y", "z"), "m")


def test_unusable_numbers_are_told_row_by_row() -> None:
    table = np.array([[0.5, 0.5], [np.nan, 1], [0.7, 0.7], [-0.5, 1.5], [0, 1]])
    found = faults(read_outputs(table, 5, None, "m"), "m")
    assert found[0] is None
    assert found[4] is None
    assert found[1] == "m returned probabilities that are not finite"
    assert found[2] == found[3] == "m returned probabilities that are negative or do not sum to 1"
    assert faults(read_outputs(np.array([np.inf]), 1, None, "m"), "m") == [
        "m returned a value that is not finite"
    ]


def test_probabilities_are_put_in_the_pinned_class_order() -> None:
    found = align(read_outputs(np.array([[0.2, 0.8]]), 1, ("b", "a"), "m"), ("a", "b", "c"))
    assert found is not None
    assert found.tolist() == [[0.8, 0.2, 0]]
