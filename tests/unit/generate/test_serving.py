"""What serves is loaded where it samples, or it is said what is missing."""

import pytest

from rehearsal.errors import ModelError
from rehearsal.generate.sampling.serving import Bases


def test_a_generator_whose_run_is_gone_is_told_with_the_way_out() -> None:
    row = {"segment_id": "s/1", "base_run_id": "r1", "profile": [], "weights": None}
    with pytest.raises(ModelError, match=r"s/1 is served by a generator of run r1, .* fit the"):
        Bases({}, "{}").load(row)
