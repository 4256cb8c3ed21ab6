"""Thresholds of one output take the place of those of all, wherever thresholds matter."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from counted import counted, whole

from rehearsal.drift.bins import Bins
from rehearsal.drift.score import score_counts
from rehearsal.errors import ContractError
from rehearsal.settings import Drift, metrics_of

BINS = Bins((0.25, 0.5, 0.75), ("no", "yes"))
NONE = {"kl_nats": None, "kpi_relative_change": None}


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    """Two days of 600 requests by 200 users; experimental is a little higher throughout."""
    rng = np.random.default_rng(5)
    n = 1200
    requests = pd.DataFrame({"segment_id": "s", "window": np.repeat([0, 1], n // 2),
                             "user": rng.integers(0, 200, n), "request_type": "call"})  # fmt: skip
    production = rng.random(n)
    experimental = np.clip(production + rng.normal(0.05, 0.1, n), 0, 1)
    answers: dict[str, np.ndarray] = {}
    for side, values in (("production", production), ("experimental", experimental)):
        answers |= {
            f"{side} value": values, f"{side} class": np.stack([1 - values, values], axis=1),
            f"{side} revenue": 10 + values, f"{side} rate": (values > 0.5) * 1.0,
        }  # fmt: skip
    return whole(counted(requests, BINS, answers, ["revenue", "rate"]))


def scores_of(counts: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    given = {"window": "day", "min_requests": 50, "min_users": 10} | settings
    found = score_counts(counts, BINS, Drift.model_validate(given), ["s"]).scores
    return found[found["segment_id"] == "s"].set_index(["output", "metric"]).sort_index()


def test_an_output_is_measured_by_the_metrics_it_may_have_thresholds_for(
    counts: pd.DataFrame,
) -> None:
    by_output = pd.DataFrame(list(scores_of(counts).index), columns=["output", "metric"])
    for output, own in by_output.groupby("output"):
        assert set(own["metric"]) == set(metrics_of(str(output)))


def test_its_own_threshold_is_held_against_and_the_others_keep_theirs(counts: pd.DataFrame) -> None:
    """Revenue changes by 0.5%: nothing beside 10%, a breach beside 0.2%."""
    alike = scores_of(counts)
    own = scores_of(counts, output_thresholds={"revenue": {"kpi_relative_change": 0.002}})
    metric = "kpi_relative_change"
    assert set(alike.loc[("revenue", metric), "status"]) == {"green"}
    found = own.loc[("revenue", metric)]
    assert set(found["status"]) == {"red"}
    assert set(found["threshold"]) == {0.002}
    assert set(found["threshold_origin"]) == {"set"}
    others = own.index.get_level_values("output") != "revenue"
    pd.testing.assert_frame_equal(own[others].drop(columns="q_value"),
                                  alike[others].drop(columns="q_value"))  # fmt: skip


def test_null_frees_one_output_of_the_threshold_of_all(counts: pd.DataFrame) -> None:
    found = scores_of(counts, output_thresholds={"class": {"kl_nats": None}})
    assert found.loc[("class", "kl_nats"), "threshold"].isna().all()
    assert set(found.loc[("class", "kl_nats"), "threshold_origin"]) == {"none"}
    assert found.loc[("class", "kl_nats"), "q_value"].isna().all()
    assert set(found.loc[("value", "kl_nats"), "threshold"]) == {0.05}


@pytest.mark.parametrize(
    ("output", "metric"),
    [("class", "kl_nats"), ("value", "ks_distance"), ("expected_accuracy", "mean_change"),
     ("rate", "kpi_relative_change")],
)  # fmt: skip
def test_noise_is_worked_out_for_the_output_that_asks_for_it(
    counts: pd.DataFrame, output: str, metric: str
) -> None:
    found = scores_of(counts, output_thresholds={output: {metric: {"noise": 0.99}}})
    for (name, one), rows in found.groupby(["output", "metric"]):
        asked = (name, one) == (output, metric)
        assert rows["noise"].notna().all() == asked
        origin = "0.99 quantile under random swaps of outputs"
        assert (set(rows["threshold_origin"]) == {origin}) == asked
        assert not asked or (rows["threshold"] == rows["noise"]).all()


def test_past_windows_and_sizes_are_an_outputs_own_too(counts: pd.DataFrame) -> None:
    own = {"value": {"flip_rate": 0.01, "mean_change": {"sigmas": 3}}}
    found = scores_of(counts, output_thresholds=own)
    assert set(found.loc[("value", "flip_rate"), "status"]) == {"red"}
    assert found.loc[("class", "flip_rate"), "threshold"].isna().all()
    origin = "mean + 3 sd of the last 8 calm windows"
    assert set(found.loc[("value", "mean_change"), "threshold_origin"]) == {origin}
    assert set(found.loc[("rate", "mean_change"), "threshold_origin"]) == {"none"}


def test_what_would_have_shown_is_by_the_tests_that_are_judged(counts: pd.DataFrame) -> None:
    """One test alone is held to alpha; beside four others, each to a fifth of it."""
    levels = {}
    for name, more in {"one": {}, "five": {"class": {"kl_nats": 0.1, "psi": 0.1, "flip_rate": 0.1},
                                           "expected_accuracy": {"mean_change": 0.1},
                                           "rate": {"mean_change": 0.1}}}.items():  # fmt: skip
        own = {"revenue": {"kpi_relative_change": 0.1, "mean_change": 1.0}} | more
        found = scores_of(counts, thresholds=NONE, output_thresholds=own)
        levels[name] = found.loc[("revenue", "kpi_relative_change")]
    assert (levels["one"]["level"] / levels["five"]["level"]).to_numpy() == pytest.approx(5)
    assert (levels["one"]["detectable"] < levels["five"]["detectable"]).all()


def test_outputs_that_are_not_counted_and_runs_not_given_are_told(counts: pd.DataFrame) -> None:
    told = "output_thresholds names clicks, but counted are value, class, .*revenue, rate"
    with pytest.raises(ContractError, match=told):
        scores_of(counts, output_thresholds={"clicks": {"mean_change": 0.1}})
    run = {"noise": 0.99, "run": "aa"}
    with pytest.raises(ContractError, match="thresholds name run aa: give its rows"):
        scores_of(counts, output_thresholds={"rate": {"mean_change": run}})


def test_written_down_and_read_again_they_are_the_same() -> None:
    own = {"rate": {"kpi_relative_change": None}, "value": {"mean_change": {"noise": 0.99}}}
    settings = Drift.model_validate({"output_thresholds": own})
    for text in (settings.model_dump(), settings.model_dump(mode="json")):
        assert Drift.model_validate(text) == settings
    assert settings.thresholds_of("rate").kpi_relative_change is None
