"""What request types bring adds up to what breaches: each metric, each segment, and all users."""

from fractions import Fraction
from math import fsum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from counted import blocks, counted, whole
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.drift.attribute import KEYS, contributions
from rehearsal.drift.bins import Bins
from rehearsal.drift.breach import breaches_of
from rehearsal.drift.cells import build_cells
from rehearsal.drift.score import score_counts
from rehearsal.drift.summed import add_rows
from rehearsal.settings import Drift

BINS = Bins((0.25, 0.5, 0.75), ("no", "yes"))
SETTINGS = Drift.model_validate({"window": "day", "min_requests": 2, "min_users": 2})
SUMMED = {
    "flip_rate": "flips", "mse": "distance", "relative_mse": "distance", "mae": "absolute",
    "mean_kl_nats": "distance", "mean_change": "difference", "kpi_relative_change": "difference",
}  # fmt: skip
ROUNDED = ("relative_mse", "mean_kl_nats", "kpi_relative_change")
N = 64  # a power of two, and eighths: sums and their means are exact in binary


@st.composite
def logs(draw: st.DrawFn) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Requests of two segments on one day, and both models' answers in whole eighths."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.integers(1, 5))
    requests = pd.DataFrame(
        {"segment_id": np.repeat(["s1", "s2"], N), "window": 0, "user": np.arange(2 * N) // 2,
         "request_type": rng.choice(list("abcde")[:kinds], 2 * N)}
    )  # fmt: skip
    production, experimental = rng.integers(0, 9, (2, 2 * N)) / 8
    hit = rng.random(2 * N) < draw(st.sampled_from([0.05, 0.5, 1.0]))
    experimental = np.where(hit, experimental, production)
    answers = {f"{side} {name}": values for side, values in
               (("production", production), ("experimental", experimental))
               for name, values in (("value", values), ("rate", values),
                                    ("class", np.stack([1 - values, values], axis=1)))}  # fmt: skip
    return requests, answers


def judged(
    requests: pd.DataFrame, answers: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and counts, with everything in breach that is known and not 0."""
    counts = counted(requests, BINS, answers, ["rate"])
    found = score_counts(whole(counts), BINS, SETTINGS, [])
    known = found.scores["score"].notna() & (found.scores["score"] != 0)
    scores = found.scores.assign(status=np.where(known, "red", "green"))
    return scores, counts


@given(logs())
def test_parts_of_each_breaching_metric_add_up_to_the_cells_value_exactly(log: Any) -> None:
    scores, counts = judged(*log)
    held = blocks(counts, BINS)
    parts = contributions(scores, held)
    red = scores[(scores["status"] == "red") & (scores["test"] != "distribution")]
    told = {tuple(None if pd.isna(v) else v for v in key): own
            for key, own in parts.groupby(KEYS, dropna=False)}  # fmt: skip
    for row in red.to_dict("records"):
        segment = None if pd.isna(row["segment_id"]) else row["segment_id"]
        own = told[segment, row["output"], row["test"], row["metric"]]
        cells = held[segment is None][1]
        (at,) = cells.grid.places(segment, [row["window_start"]])
        source = "class" if row["output"] == "expected_accuracy" else row["output"]
        total = cells.stacks[source].sum(SUMMED[row["metric"]])[at]
        if row["test"] == "size" and row["metric"] != "mean_kl_nats":
            assert sum(map(Fraction, own["contribution"])) == Fraction(total)
        value = fsum(own["size_contribution"])
        if row["metric"] in ROUNDED or row["output"] == "expected_accuracy":
            assert value == pytest.approx(row["score"], rel=1e-9)
        else:
            assert value == row["score"]
        assert own["n_requests"].sum() == row["n_requests"]
        assert own["request_share"].sum() == pytest.approx(1)
        assert own["share"].sum() == pytest.approx(1)
    assert len(parts[parts["test"] != "distribution"][KEYS].drop_duplicates()) == len(red)


@given(logs())
def test_all_users_are_the_sum_over_segments_summed_beforehand_or_not(log: Any) -> None:
    scores, counts = judged(*log)
    everyone = scores[scores["segment_id"].isna()]
    parts = contributions(everyone, blocks(counts, BINS))
    assert parts["segment_id"].isna().all()
    keys = ["window_start", "request_type", "output"]
    added = pd.concat([add_rows(own) for _, own in counts.groupby(keys, dropna=False)])
    again = contributions(everyone, blocks(added, BINS))
    pd.testing.assert_frame_equal(again, parts, rtol=1e-12)


def test_size_metrics_breach_in_windows_of_their_own() -> None:
    rng = np.random.default_rng(3)
    requests = pd.DataFrame({"segment_id": "s1", "window": np.repeat([0, 1], 200),
                             "user": np.arange(400), "request_type": "a"})  # fmt: skip
    answers = {f"{side} value": rng.random(400) for side in ("production", "experimental")}
    counts = counted(requests, Bins((0.5,), ()), answers)
    found = score_counts(whole(counts), Bins((0.5,), ()), SETTINGS, [])
    scores = found.scores[found.scores["segment_id"].notna()]
    held = {"mse": [0], "flip_rate": [0, 1]}
    red = [row.window in held.get(row.metric, []) for row in scores.itertuples()]
    scores = scores.assign(status=np.where(red, "red", "green"))
    parts = contributions(scores, blocks(counts, Bins((0.5,), ()))).set_index("size_metric")
    assert parts["n_requests"].to_dict() == {"mse": 200, "flip_rate": 400}
    flips = scores.loc[scores["metric"] == "flip_rate", "score"]
    assert parts.loc["flip_rate", "size_contribution"] == pytest.approx(flips.mean())
    assert parts["statistic"].isna().all()


def test_what_only_all_users_do_has_no_requests_to_explain() -> None:
    log = pd.DataFrame({"segment_id": "s1", "window": 0, "user": range(N), "request_type": "a"})
    values = np.arange(N) / N
    answers = {"production value": values, "experimental value": values[::-1] / 2,
               "production rate": values, "experimental rate": values,
               "production class": np.stack([values, 1 - values], axis=1),
               "experimental class": np.stack([values, 1 - values], axis=1)}  # fmt: skip
    scores, counts = judged(log, answers)
    onsets = pd.DataFrame(columns=["segment_id", "output", "test", "window_start",
                                   "latest_window_start"])  # fmt: skip
    everyone = scores[scores["segment_id"].isna()]
    names = ["value", "class", "rate"]
    assert breaches_of(everyone, onsets, blocks(counts, BINS)[0][1], BINS, names, "day") == ()


def test_without_a_breach_there_is_nothing_to_read_and_nothing_to_attribute() -> None:
    none = counted(
        pd.DataFrame({"segment_id": ["s1"], "window": [0], "user": [1], "request_type": ["a"]}),
        Bins((0.5,), ()),
        {"production value": np.array([0.1]), "experimental value": np.array([0.1])},
    ).iloc[:0]
    windows = pd.DataFrame({"window_start": [], "window_end": []})
    scores = pd.DataFrame(columns=["segment_id", "output", "test", "metric", "status",
                                   "window_start"])  # fmt: skip
    assert contributions(scores, [(none, build_cells(none, Bins((0.5,), ()), [], windows))]).empty
