"""A synthesizer's card says of what it is made, and nothing of what it is not."""

from typing import Any

import pandas as pd
import pytest
from shared import plain_settings

from rehearsal.generate.card import model_card

SETTINGS = plain_settings("2026-11-02")
BASE: dict[str, Any] = {
    "source_version": "7", "n_rows": 41_210, "n_left_out": 12, "fingerprint": "f00",
    "epsilon": None, "delta": None,
}  # fmt: skip
ROW: dict[str, Any] = {
    "segment_id": "s1", "synthesizer_version": "v1", "kind": "vae", "n_rows": 2_000,
    "status": "fitted", "served_by": "segment", "why": "the first that passed its gate",
    "validation_nats": 7.25, "base_nats": 7.412, "base_run_id": None,
}  # fmt: skip
SCORES = pd.DataFrame(
    [
        {"candidate": "segment", "score": "c2st", "value": 0.604, "half_vs_half": 0.512,
         "independent": 0.958, "limit": 0.75, "passed": True},
        {"candidate": "segment", "score": "utility", "value": float("nan"),
         "half_vs_half": None, "independent": None, "limit": 0.85, "passed": False},
    ]
)  # fmt: skip


def card(
    base: dict[str, Any] | None = None, scores: pd.DataFrame | None = None, **changed: Any
) -> str:
    shown = SCORES if scores is None else scores
    return model_card(SETTINGS, "run-9", BASE | (base or {}), ROW | changed, shown)


def test_a_segments_own_generator_tells_its_data_its_loss_and_its_scores() -> None:
    lines = card().splitlines()
    assert lines[0] == "# Synthesizer v1 of segment s1"
    for line in (
        "Served by: **segment**, the first that passed its gate.",
        "- logs.calls, version 7",
        "- requests from 2026-11-02 to 2027-01-01",
        "- 2,000 rows of this segment, 41,210 of all segments",
        "- rehearsal run-9, rows f00",
        "- vae: the generator of all segments and an adapter of this segment's own",
        "- held-out loss 7.250 nats per row",
        "- not differentially private; see the privacy scores below",
        "| segment | c2st | 0.604 | 0.512 | 0.958 | 0.750 | yes |",
        "| segment | utility | – | – | – | 0.850 | **no** |",
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("fitted", "with this segment's adapter it did not pass its gate"),
        ("no_gain", "an adapter did not improve held-out loss"),
        ("insufficient_data", "too few rows for an adapter"),
        ("failed", "the training of an adapter failed"),
    ],
)
def test_one_served_without_its_adapter_tells_why_and_the_loss_without_it(
    status: str, why: str
) -> None:
    told = card(served_by="all", status=status)
    assert f"- vae: the generator of all segments alone: {why}\n" in told
    assert "held-out loss 7.412 nats" in told


def test_what_an_earlier_run_trained_is_not_said_to_be_of_this_runs_rows() -> None:
    told = card(served_by="serving", base_run_id="run-4", why="the fresh one failed: C2ST.")
    assert "Served by: **serving**, the fresh one failed: C2ST.\n" in told
    assert "trained in rehearsal run-4, whose card says on what" in told
    for other in ("run-9", "41,210", "nats", "differentially"):
        assert other not in told


def test_logged_requests_again_are_no_model() -> None:
    told = card(served_by="resampled", why="no generator was fitted", scores=pd.DataFrame())
    assert "- none: logged requests of the segment are drawn again" in told
    assert "Nobody was judged" in told
    assert "Trained on" not in told


def test_the_budget_of_privacy_is_told() -> None:
    told = card({"epsilon": 2.5, "delta": 1e-6})
    assert "differentially private for one user's requests" in told
    assert "epsilon 2.5, delta 1e-06 for one user's requests cover" in told
