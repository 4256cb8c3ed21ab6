"""The codes of a column of numbers alone."""

from collections.abc import Sequence

from rehearsal.generate.codec.numeric import Floats, Numeric
from rehearsal.generate.codec.tally import make_numeric, tally_numbers


def fit_numeric(values: Floats, bins: int, min_count: int, forced: Sequence[float] = ()) -> Numeric:
    """Return the codes of values, shape (n,)."""
    return make_numeric(tally_numbers(values, bins, min_count, forced), min_count, forced)
