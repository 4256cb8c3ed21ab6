"""Sums of doubles that do not depend on the order of the rows, so that reruns are identical."""

from pyspark.sql import Column
from pyspark.sql import functions as F

_STEPS = float(1 << 32)


def stable_sum(column: Column, unit: float = 1.0) -> Column:
    """Return the sum of a DOUBLE column rounded row by row to multiples of unit / 2**32.

    With `unit` a power of two nothing but that rounding is lost: whole numbers add exactly in a
    double up to 2**53, whatever their order. Beyond that (2**21 rows of size `unit`) the result
    is as right as a plain sum, and only its last bits depend on the order. Nulls are left out;
    all null gives null.
    """
    scale = _STEPS / unit
    return F.sum(F.rint(column * F.lit(scale))) / F.lit(scale)
