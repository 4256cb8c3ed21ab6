"""What a training hands back comes out as it went in, and nothing else can go in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.generate.training.pack import pack, unpack

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary()
KEYS = st.sampled_from(["weights", "nats", ""])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=6,
)


@given(value=st.dictionaries(KEYS, VALUES))
def test_plain_values_come_back_numbers_that_are_none_too(value: dict[str, object]) -> None:
    # As text, where a NaN equals itself.
    assert repr(in_order(unpack(pack(value)))) == repr(in_order(value))


def in_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(one) for one in value] if isinstance(value, list) else value


def test_equal_values_are_equal_bytes() -> None:
    assert pack({"a": 1, "b": b"\x00"}) == pack({"b": b"\x00", "a": 1})


def test_the_bytes_are_json_and_run_nothing() -> None:
    assert json.loads(pack({"a": b"\x00\xff"})) == {"a": {"__bytes__": "AP8="}}


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j])
def test_what_is_not_plain_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=f"cannot pack a {type(value).__name__}"):
        pack({"value": value})
