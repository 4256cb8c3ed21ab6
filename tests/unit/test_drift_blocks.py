"""Counts scored a block of segments at a time: the same tables, and never more at once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from counted import counted, whole

from rehearsal.drift.bins import Bins
from rehearsal.drift.blocks import held, starts_of
from rehearsal.drift.cells import calendar, outputs_in
from rehearsal.drift.kpis import Ratio
from rehearsal.drift.layout import Layout
from rehearsal.drift.score import Scored, score_counts
from rehearsal.settings import Drift

BINS = Bins((0.2, 0.4, 0.6, 0.8), ("a", "b", "c"))
N_SEGMENTS, N_DAYS, PER_CELL = 7, 8, 90
NAMES = [f"s{i}" for i in range(N_SEGMENTS)]


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    """Eight days of seven segments; s0, s3 and s6 drift from the fifth on; s5 is silent on one.

    One KPI is a ratio.
    """
    rng = np.random.default_rng(31)
    cells = [(name, day) for name in NAMES for day in range(N_DAYS) if (name, day) != ("s5", 3)]
    requests = pd.DataFrame(np.repeat(cells, PER_CELL, axis=0), columns=["segment_id", "window"])
    requests["window"] = requests["window"].astype(int)
    n = len(requests)
    requests["user"] = requests["segment_id"].str[1:].astype(int) * 1000 + rng.integers(0, 40, n)
    requests["request_type"] = rng.choice(["search", "pay"], n)
    production = rng.random(n)
    experimental = np.clip(production + rng.normal(0, 0.05, n), 0, 1)
    drifts = requests["segment_id"].isin(["s0", "s3", "s6"]) & (requests["window"] >= 4)
    experimental = np.where(drifts & (rng.random(n) < 0.7), experimental**3, experimental)
    answers = {"production value": production, "experimental value": experimental}
    for side in ("production", "experimental"):
        first = answers[f"{side} value"]
        second = (1 - first) * rng.random(n)
        answers[f"{side} class"] = np.stack([first, second, 1 - first - second], axis=1)
        answers[f"{side} revenue"] = first * 10
        answers[f"{side} clicks"] = 1.0 + (second > 0.3)
    per_click = Ratio("per_click", "revenue", "clicks")
    return whole(counted(requests, BINS, answers, ["revenue", per_click]))


SETTINGS: dict[str, dict[str, Any]] = {
    "set": {"thresholds": {"kl_nats": 0.02, "mean_change": 0.02, "flip_rate": 0.3}},
    "noise": {"thresholds": {"kl_nats": {"noise": 0.99}, "wasserstein_distance": {"noise": 0.99}}},
    "past": {"thresholds": {"js_nats": {"sigmas": 3, "windows": 4}},
             "persistence": {"breaching": 2, "of": 3}},
}  # fmt: skip


def settings(name: str) -> Drift:
    return Drift.model_validate(
        {"window": "day", "min_requests": 50, "min_users": 10} | SETTINGS[name]
    )


def scored(counts: pd.DataFrame, name: str, numbers: int) -> Scored:
    source = replace(held(counts), numbers=numbers)
    return score_counts(source, BINS, settings(name), [*NAMES, "silent"])


def numbers_of(counts: pd.DataFrame, segments: int) -> int:
    """What the cells of so many segments take."""
    return Layout(tuple(outputs_in(counts, BINS))).cell_width * N_DAYS * segments


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_tables_are_the_same_to_the_last_bit_whatever_the_blocks(
    counts: pd.DataFrame, name: str
) -> None:
    one, three, every = (scored(counts, name, numbers_of(counts, n)) for n in (1, 3, 100))
    assert (every.scores["status"] == "red").any()
    sizes = every.scores.groupby(["output", "metric"]).size()
    assert (sizes == (N_SEGMENTS + 2) * N_DAYS).all()
    for other in (one, three):
        pd.testing.assert_frame_equal(other.scores, every.scores, check_exact=True)
        pd.testing.assert_frame_equal(other.onsets, every.onsets, check_exact=True)


def test_a_block_is_as_many_segments_as_fit_and_one_at_least(counts: pd.DataFrame) -> None:
    asked: list[list[str]] = []

    def read(segments: Sequence[str]) -> pd.DataFrame:
        asked.append(list(segments))
        return held(counts).read(segments)

    source = replace(held(counts), read=read)
    windows = calendar(counts)
    for numbers, sizes in (
        (numbers_of(counts, 3), [3, 3, 1]),
        (numbers_of(counts, 3) - 1, [2, 2, 2, 1]),
        (1, [1] * 7),
    ):
        asked.clear()
        blocks = list(replace(source, numbers=numbers).cells(BINS, NAMES, windows))
        assert [len(names) for names in asked] == sizes
        assert [name for block in blocks for name in block.grid.segments] == NAMES


def test_only_segments_with_a_breach_are_read_again(counts: pd.DataFrame) -> None:
    asked: list[str] = []

    def read(segments: Sequence[str]) -> pd.DataFrame:
        asked.extend(segments)
        return held(counts).read(segments)

    found = score_counts(replace(held(counts), read=read), BINS, settings("set"), NAMES)
    assert asked[:N_SEGMENTS] == NAMES
    assert asked[N_SEGMENTS:] == ["s0", "s3", "s6"]
    assert set(found.onsets["segment_id"].dropna()) == {"s0", "s3", "s6"}
    planted = pd.Timestamp("2026-03-06")
    assert (found.onsets["earliest_window_start"] <= planted).all()
    assert (found.onsets["latest_window_start"] >= planted).all()


def test_windows_are_asked_for_in_utc_wherever_the_driver_is() -> None:
    """PySpark takes an instant without a zone for the driver's own."""
    rows = pd.DataFrame({"window_start": pd.to_datetime(["2026-03-02", "2026-03-03"] * 2)})
    assert starts_of(rows) == [datetime(2026, 3, day, tzinfo=UTC) for day in (2, 3)]
