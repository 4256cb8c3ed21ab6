"""What step 5 tells: the epoch whose weights are kept, and who serves in one line."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from rehearsal.generate.fit import Outcome, _training_told
from rehearsal.settings import Generator

LOSSES = (9.3, 9.1, 9.2)


@pytest.mark.parametrize(("weights", "kept"), [(b"weights", 2), (None, None)])
def test_a_segments_best_epoch_is_the_one_its_weights_are_of_if_any_are_kept(
    weights: bytes | None, kept: int | None
) -> None:
    curve = [{"epoch": e, "validation_nats": nats} for e, nats in enumerate(LOSSES, start=1)]
    added: dict[str, Any] = {
        "status": "fitted", "weights": weights, "base_nats": 9.4, "adapted_nats": 9.1,
        "curve": curve,
    }  # fmt: skip
    prepared = SimpleNamespace(settings=SimpleNamespace(generator=Generator()), kind="vae")
    trained = SimpleNamespace(base={"status": "fitted", "device": "cpu"})
    share = SimpleNamespace(n_learnt=300)
    told = _training_told(prepared, trained, share, added)
    assert (told["best_epoch"], told["n_epochs"]) == (kept, 3)


def test_a_step_whose_training_failed_tells_who_serves_all_the_same() -> None:
    base = {"status": "failed", "reason": "killed by signal 9"}
    rows = [base, {"served_by": "serving"}, {"served_by": "resampled"}, {"served_by": "serving"}]
    assert Outcome(rows, pd.DataFrame(), []).summary == (
        "the generator of all segments failed: killed by signal 9; 3 drifting segments: 2 by the "
        "generator of an earlier run, 1 by logged requests again: no generator passed its gate"
    )
