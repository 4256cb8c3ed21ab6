"""Which rows a private generator learns from, and what its card says of that."""

import pandas as pd
import pytest

from rehearsal.errors import SettingsError
from rehearsal.generate.card import model_card
from rehearsal.generate.training.plan import CONTEXT
from rehearsal.generate.training.private_rows import plan_private
from rehearsal.settings import Generator, Private, Settings

COUNTS = {("b", "test"): 20, ("b", "training"): 100, ("a", "training"): 7, ("gone", "training"): 5}


def test_every_known_segment_has_a_place_whether_or_not_it_has_rows() -> None:
    shares = plan_private(COUNTS, ["b"], ["a", "b", "empty"], Generator())
    assert [share.segment_id for share in shares] == ["b", "a", "cold", "empty", "noise"]
    assert [share.position for share in shares] == [0, 1, 2, 3, 4]
    drifting, other, *nobody = shares
    assert (drifting.bin, drifting.n_test, drifting.n_validation, drifting.n_training) == (
        1, 20, 0, 100,
    )  # fmt: skip
    assert (other.bin, other.n_kept) == (CONTEXT, 7)
    assert {share.n_kept for share in nobody} == {0}


def test_places_do_not_depend_on_any_row() -> None:
    def places(counts: dict[tuple[str, str], int]) -> list[tuple[str, int]]:
        shares = plan_private(counts, ["b"], ["a", "b"], Generator())
        return [(share.segment_id, share.position) for share in shares]

    assert places(COUNTS) == places({}) == places({("cold", "training"): 1})


def test_too_many_rows_are_refused_not_cut() -> None:
    settings = Generator(max_total_rows=1_000, private=Private(epsilon=1))
    assert plan_private({("b", "training"): 1_000}, ["b"], [], settings)
    with pytest.raises(SettingsError, match=r"1,001 requests, generator.max_total_rows is 1,000"):
        plan_private({("b", "training"): 1_001}, ["b"], [], settings)


def test_without_a_drifting_segment_nothing_is_refused() -> None:
    settings = Generator(max_total_rows=1_000, private=Private(epsilon=1))
    assert plan_private({("b", "training"): 9_999}, [], ["b"], settings)


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
