"""What the card of a private generator says of the rows it learnt from."""

import pandas as pd
import pytest

from rehearsal.generate.card import model_card
from rehearsal.settings import Settings


def card(settings: Settings, **base: object) -> str:
    about = {"source_version": None, "n_rows": 9, "n_left_out": 0, "fingerprint": "f"}
    row = {
        "segment_id": "s", "synthesizer_version": "v", "served_by": "serving", "why": "better",
        "n_rows": 5, "kind": "mixture", "status": "no_gain", "base_run_id": "older",
    }  # fmt: skip
    return model_card(settings, "r", about | base, row, pd.DataFrame())


@pytest.fixture
def settings() -> Settings:
    from datetime import datetime

    from rehearsal.configure import parse_settings

    stored = {"stored": {"value": "v"}}
    names = ("request_id", "user_id", "request_type", "requested_at")
    columns = {name: name for name in names} | {"continuous": ["v"]}
    return parse_settings(
        {
            "seed": 1,
            "requests": {"path": "/requests", "format": "parquet", "columns": columns},
            "models": {"production": stored, "experimental": stored},
            "output": {"path": "/out"},
            "replay": {"start": datetime(2024, 1, 1), "end": datetime(2024, 1, 8)},
        }
    )


def test_a_private_card_says_what_epsilon_covers_and_what_it_does_not(settings: Settings) -> None:
    told = card(settings, epsilon=2.99999998, delta=1e-6)
    assert "epsilon 3, delta 1e-06 for one user's requests cover the codec" in told
    assert "not covered: the scores below" in told
    assert "what serves is of run older, which spent its own budget" in told
    assert "## Privacy" not in card(settings, epsilon=None, delta=None)
