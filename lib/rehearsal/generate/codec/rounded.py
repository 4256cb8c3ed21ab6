"""Numbers with as few digits as an interval allows."""

from fractions import Fraction
from math import log10


def roundest(least: float, most: float) -> float:
    """Return the multiple of the highest power of ten in [least, most]; 0 is one of them all.

    Of several that nearest to the middle.

    Args:
        least: finite.
        most: finite, `least` or more.
    """
    if least == most or least <= 0 <= most:
        return most if least == most else 0.0
    low, high = Fraction(least), Fraction(most)
    # No power above the larger end has a multiple inside; a low enough one has.
    power = int(log10(max(abs(least), abs(most)))) + 1
    while True:
        step = Fraction(10) ** power
        first, last = -(-low // step), high // step
        if first <= last:
            return float(min(max(round((low + high) / 2 / step), first), last) * step)
        power -= 1
