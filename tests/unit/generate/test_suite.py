"""Every kind of generator passes the one suite."""

from collections.abc import Callable

import pytest
from generator_suite import CHECKS

from rehearsal.generate.models.generator import KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_every_kind_passes(check: Callable[[str], None], kind: str) -> None:
    check(kind)
