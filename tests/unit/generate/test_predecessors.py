"""Whether what an earlier run left is as private as is asked now."""

import pytest

from rehearsal.errors import ModelError
from rehearsal.generate.predecessors import check_private
from rehearsal.settings import Private

ASKED = Private(epsilon=8.0, delta=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "delta", "told"),
    [
        (None, None, "without privacy, which generator.private asks for now"),
        (8.1, 1e-6, "with epsilon 8.1, delta 1e-06; generator.private allows 8, 1e-06 now"),
        (1.0, 1e-5, "with epsilon 1, delta 1e-05; generator.private allows 8, 1e-06 now"),
    ],
)
def test_a_generator_less_private_than_is_asked_now_may_not_serve(
    epsilon: float | None, delta: float | None, told: str
) -> None:
    with pytest.raises(ModelError) as refused:
        check_private("r1", {"epsilon": epsilon, "delta": delta}, ASKED)
    assert str(refused.value) == f"the generator of all segments of run r1 was fitted {told}"


def test_one_as_private_may_and_where_none_is_asked_for_anyone_may() -> None:
    check_private("r1", {"epsilon": 8.0, "delta": 1e-6}, ASKED)
    check_private("r1", {"epsilon": None, "delta": None}, None)
