"""The number with the fewest digits in an interval."""

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.generate.codec.rounded import roundest

finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("least", "most", "found"),
    [
        (71_915.25, 72_100.1, 72_000.0),
        (0.123, 0.129, 0.126),
        # Of 3, 4, ..., 7 the one in the middle.
        (2.5, 7.5, 5.0),
        (-0.2, 7.0, 0.0),
        (-1399.5, -1201.0, -1300.0),
        (7.25, 7.25, 7.25),
        (5e-324, 1e-323, 5e-324),
    ],
)
def test_the_roundest_number_of_an_interval(least: float, most: float, found: float) -> None:
    assert roundest(least, most) == found


@given(finite, finite)
def test_it_lies_inside(one: float, other: float) -> None:
    least, most = sorted((one, other))
    assert least <= roundest(least, most) <= most


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1.0))
def test_no_number_of_fewer_digits_lies_inside(least: float, share: float) -> None:
    most = least * (1 + share)
    *_, exponent = Decimal(repr(roundest(least, most))).normalize().as_tuple()
    coarser = Fraction(10) ** (int(exponent) + 1)
    assert floor(Fraction(most) / coarser) < ceil(Fraction(least) / coarser)
