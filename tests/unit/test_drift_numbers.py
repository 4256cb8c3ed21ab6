"""From counts to scores, verdicts, onsets and shares, on requests small enough to follow."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from counted import blocks, counted, typed, whole
from scipy.stats import t

from rehearsal.drift.alerts import alerts
from rehearsal.drift.all_users import AllUsers
from rehearsal.drift.attribute import contributions, kl_weights
from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import build_cells, calendar
from rehearsal.drift.score import Scored, score_counts
from rehearsal.drift.significance import q_values
from rehearsal.drift.threshold import with_thresholds
from rehearsal.drift.verdict import with_verdicts
from rehearsal.errors import ContractError
from rehearsal.settings import METRICS, Drift, Replay, Thresholds
from rehearsal.span import windows_between
from rehearsal.stats.divergence import divergence, shares

BINS = Bins((0.25, 0.5, 0.75), ("no", "yes"))
SEGMENTS = ["s1", "s2", "s3", "s4"]
N_DAYS, STARTS = 6, 2


def drift(**changes: Any) -> Drift:
    given = {"window": "day", "min_requests": 50, "min_users": 10} | changes
    return Drift.model_validate(given)


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    """Six days; s1 says yes more often to searches from the third day on; s3 is tiny."""
    rng = np.random.default_rng(11)
    sizes = {"s1": 300, "s2": 300, "s3": 20}
    cells = [
        (segment, day) for segment in sizes for day in range(N_DAYS) for _ in range(sizes[segment])
    ]
    requests = pd.DataFrame(cells, columns=["segment_id", "window"])
    least = requests["segment_id"].map({"s1": 0, "s2": 1000, "s3": 2000})
    requests["user"] = least + rng.integers(0, requests["segment_id"].map(sizes) // 2)
    n = len(requests)
    requests["request_type"] = rng.choice(["search", "browse", "pay"], n, p=[0.4, 0.4, 0.2])
    production, experimental = rng.random(n), rng.random(n)
    hit = (
        (requests["segment_id"] == "s1")
        & (requests["window"] >= STARTS)
        & (requests["request_type"] == "search")
    ).to_numpy()
    experimental = np.where(hit, experimental**0.25, experimental)
    vectors = [np.stack([1 - v, v], axis=1) for v in (production, experimental)]
    answers = {
        "production value": production, "experimental value": experimental,
        "production class": vectors[0], "experimental class": vectors[1],
        "production rate": (production > 0.5) * 1.0,
        "experimental rate": (experimental > 0.5) * 1.0,
    }  # fmt: skip
    return counted(requests, BINS, answers, ["rate"])


@pytest.fixture(scope="module")
def scored(counts: pd.DataFrame) -> Scored:
    return score_counts(whole(counts), BINS, drift(), SEGMENTS)


def rows_of(scores: pd.DataFrame, segment: str | None, metric: str, output: str) -> pd.DataFrame:
    ids = scores["segment_id"]
    here = ids.isna() if segment is None else ids == segment
    return scores[here & (scores["metric"] == metric) & (scores["output"] == output)]


def test_every_metric_of_every_output_has_a_row_per_segment_and_window(scored: Scored) -> None:
    scores = scored.scores
    assert set(scores["metric"]) == set(METRICS)
    sizes = scores.groupby(["output", "metric"]).size()
    assert (sizes == (len(SEGMENTS) + 1) * N_DAYS).all()
    assert set(scores["output"]) == {"value", "class", "missing", "expected_accuracy", "rate"}


def test_a_segments_score_comes_from_its_counts(counts: pd.DataFrame, scored: Scored) -> None:
    cells = build_cells(whole(counts), BINS, SEGMENTS)
    stack = cells.stacks["class"]
    found = divergence("kl_nats", shares(stack.joint, stack.user_bins, stack.sizes["n_users"]))
    at = cells.grid.segments.index("s1") * N_DAYS + 3
    row = rows_of(scored.scores, "s1", "kl_nats", "class").iloc[3]
    assert row["score"] == found.raw[at]
    assert (row["ci_low"], row["ci_high"]) == (found.low[at], found.high[at])
    assert row["n_requests"] == 300


def test_all_users_are_the_sum_of_the_segments(counts: pd.DataFrame) -> None:
    cells = build_cells(whole(counts), BINS, SEGMENTS)
    every = AllUsers(cells.grid.windows)
    every.added(cells)
    stack, own = every.cells.stacks["value"], cells.stacks["value"]
    assert (stack.joint == own.joint.reshape(len(SEGMENTS), N_DAYS, 4, 4).sum(axis=0)).all()
    assert stack.sizes["n_users"][0] == own.sizes["n_users"][::N_DAYS].sum()


def test_only_the_drifting_segment_breaches_and_only_since_it_drifts(scored: Scored) -> None:
    red = scored.scores[scored.scores["status"] == "red"]
    assert set(red["segment_id"].dropna()) == {"s1"}
    assert red.loc[red["segment_id"] == "s1", "window"].min() == STARTS


def test_the_onset_is_the_window_in_which_the_drift_began(scored: Scored) -> None:
    found = scored.onsets[scored.onsets["segment_id"] == "s1"]
    assert set(found["output"]) >= {"value", "class"}
    assert set(found["window_start"]) == {pd.Timestamp("2026-03-04")}
    assert (found["earliest_window_start"] <= found["window_start"]).all()
    assert (found["window_start"] <= found["latest_window_start"]).all()
    assert set(found["last_window_start"]) == {pd.Timestamp("2026-03-07")}


@pytest.mark.parametrize("segment", ["s3", "s4"])
def test_too_little_data_is_unknown_and_never_zero(scored: Scored, segment: str) -> None:
    found = rows_of(scored.scores, segment, "kl_nats", "class")
    assert (found["status"] == "insufficient_data").all()
    assert found[["score", "p_value", "q_value", "detectable"]].isna().all(axis=None)
    assert found["reason"].str.contains("needs 50 of 10").all()


def test_beside_every_green_stands_what_would_have_shown(scored: Scored) -> None:
    found = rows_of(scored.scores, "s2", "kl_nats", "class")
    assert (found["status"] == "green").all()
    assert found["reason"].str.contains("or more would have shown").all()


def test_metrics_of_one_test_share_its_p_and_q_value(scored: Scored) -> None:
    own = scored.scores[(scored.scores["output"] == "value") & (scored.scores["window"] == 3)
                        & (scored.scores["test"] == "distribution")]  # fmt: skip
    shared = own[["segment_id", "p_value", "q_value"]].drop_duplicates()
    assert len(own) > len(shared) == len(SEGMENTS) + 1


def test_q_values_hold_the_share_of_alpha_of_their_window(counts: pd.DataFrame) -> None:
    few = score_counts(whole(counts), BINS, drift(), SEGMENTS).scores
    many = score_counts(whole(counts), BINS, drift(), SEGMENTS, n_windows=60).scores
    below = many["q_value"] < 1
    assert below.sum() > 10
    ratio = many.loc[below, "q_value"] / few.loc[below, "q_value"]
    # Exactly so for segments; within one, tests also pay for fewer segments being selected.
    assert ratio.min() == pytest.approx(60 / N_DAYS)


@pytest.mark.parametrize(("spending", "same"), [("endless", True), ("even", False)])
def test_only_endless_spending_leaves_told_windows_as_they_were_when_a_replay_grows(
    counts: pd.DataFrame, spending: str, same: bool
) -> None:
    rows, settings = whole(counts), drift(spending=spending)
    early = rows[rows["window_start"] < pd.Timestamp("2026-03-06")]
    told, grown = (
        score_counts(held, BINS, settings, SEGMENTS, n_windows=n).scores
        for held, n in ((early, 4), (rows, N_DAYS))
    )
    again = grown[grown["window"] < 4].reset_index(drop=True)
    keys = ["segment_id", "window", "output", "metric"]
    told, again = (one.sort_values(keys, ignore_index=True) for one in (told, again))
    if same:
        pd.testing.assert_frame_equal(again, told)
    else:
        assert (again["q_value"] > told["q_value"]).any()


def test_a_kpi_change_is_relative_to_production(counts: pd.DataFrame, scored: Scored) -> None:
    found = rows_of(scored.scores, "s1", "kpi_relative_change", "rate").iloc[4]
    cell = whole(counts)
    cell = cell[(cell["segment_id"] == "s1") & (cell["output"] == "rate")
                & (cell["window_start"] == found["window_start"])].iloc[0]  # fmt: skip
    assert found["score"] == pytest.approx(cell["sum_difference"] / cell["sum_production"])
    assert found["ci_low"] < found["score"] < found["ci_high"]


def test_a_change_of_means_stands_beside_both_models_means(
    counts: pd.DataFrame, scored: Scored
) -> None:
    scores = scored.scores
    told = scores["score"].notna() & scores["metric"].isin(("mean_change", "kpi_relative_change"))
    levels = scores[["production_level", "experimental_level"]]
    assert (levels.notna().all(axis=1) == told).all()
    assert set(scores.loc[told, "output"]) == {"value", "missing", "expected_accuracy", "rate"}
    low, high = levels["production_level"], levels["experimental_level"]
    plain, relative = (told & (scores["metric"] == one) for one in
                       ("mean_change", "kpi_relative_change"))  # fmt: skip
    assert (high - low)[plain].to_numpy() == pytest.approx(scores.loc[plain, "score"])
    assert (high / low - 1)[relative].to_numpy() == pytest.approx(scores.loc[relative, "score"])
    cell = whole(counts)
    cell = cell[(cell["segment_id"] == "s1") & (cell["output"] == "rate")].iloc[4]
    found = rows_of(scores, "s1", "kpi_relative_change", "rate").iloc[4]
    assert found["production_level"] == cell["sum_production"] / cell["n_paired"]


def test_sizes_are_tested_against_their_threshold(counts: pd.DataFrame) -> None:
    settings = drift(thresholds={"flip_rate": 0.2, "mse": 0.9})
    found = score_counts(whole(counts), BINS, settings, SEGMENTS).scores
    flips, errors = (rows_of(found, "s2", metric, "value") for metric in ("flip_rate", "mse"))
    assert (flips["score"] > 0.6).all()
    assert (flips["status"] == "red").all()
    assert (errors["status"] == "green").all()
    assert (errors["p_value"] > 0.99).all()


def test_over_the_threshold_without_significance_is_yellow(counts: pd.DataFrame) -> None:
    settings = drift(thresholds={"kl_nats": 1e-9, "kpi_relative_change": 1e-9})
    found = score_counts(whole(counts), BINS, settings, ["s2"]).scores
    own = rows_of(found, "s2", "kpi_relative_change", "rate")
    assert (own["status"] == "yellow").any()
    assert own.loc[own["status"] == "yellow", "reason"].str.contains("not significant").all()


def test_a_breach_that_must_persist_waits_for_the_next_window(counts: pd.DataFrame) -> None:
    settings = drift(persistence={"breaching": 2, "of": 3})
    found = score_counts(whole(counts), BINS, settings, SEGMENTS).scores
    own = rows_of(found, "s1", "kl_nats", "class").reset_index(drop=True)
    assert own["status"].tolist() == ["green", "green", "yellow", "red", "red", "red"]
    assert "in 1 of the last 3 windows; a breach needs 2" in own["reason"][STARTS]


def test_thresholds_from_the_past_need_three_windows(counts: pd.DataFrame) -> None:
    settings = drift(thresholds={"tv_distance": {"sigmas": 3, "windows": 4}})
    found = score_counts(whole(counts), BINS, settings, SEGMENTS).scores
    own = rows_of(found, "s2", "tv_distance", "class").reset_index(drop=True)
    scores = own["score_bias_corrected"]
    assert own["threshold"][:3].isna().all()
    assert own["reason"][0] == "no noise, or too few windows before, to have a threshold from"
    assert own["threshold"][3] == pytest.approx(scores[:3].mean() + 3 * scores[:3].std())
    assert set(own["threshold_origin"]) == {"mean + 3 sd of the last 4 calm windows"}


def test_thresholds_from_swapped_outputs_are_each_segments_own_noise(counts: pd.DataFrame) -> None:
    settings = drift(thresholds={"kl_nats": {"noise": 0.99}, "tv_distance": {"noise": 0.99}})
    found = score_counts(whole(counts), BINS, settings, SEGMENTS).scores
    for metric in ("kl_nats", "tv_distance"):
        calm, every = (rows_of(found, name, metric, "class") for name in ("s2", None))
        assert (calm["threshold"] > 0).all()
        assert (every["threshold"] < calm["threshold"].to_numpy()).all()  # more data, less noise
        over = calm["score_bias_corrected"] >= calm["threshold"]
        assert over.sum() <= 1


def test_thresholds_from_a_run_of_production_against_itself(
    counts: pd.DataFrame, scored: Scored
) -> None:
    settings = drift(thresholds={"kl_nats": {"noise": 0.75, "run": "aa"}})
    noise = {"aa": scored.scores.assign(score_bias_corrected=np.arange(len(scored.scores)))}
    found = score_counts(whole(counts), BINS, settings, SEGMENTS, noise_runs=noise).scores
    own = rows_of(found, "s2", "kl_nats", "class")
    of_run = rows_of(noise["aa"], "s2", "kl_nats", "class")["score_bias_corrected"]
    assert set(own["threshold"]) == {of_run.quantile(0.75)}
    assert set(own["threshold_origin"]) == {"0.75 quantile of run aa"}


def test_swapping_says_nothing_of_sizes() -> None:
    with pytest.raises(ValueError, match="mse is not 0 without drift"):
        Thresholds.model_validate({"mse": {"noise": 0.99}})


def test_contributions_sum_to_the_statistic_and_to_the_size(
    counts: pd.DataFrame, scored: Scored
) -> None:
    parts = contributions(scored.scores, blocks(counts, BINS, SEGMENTS))
    # One in three of all users' requests is its: they drift too.
    assert set(parts["segment_id"]) == {"s1", None}
    for _, own in parts.groupby(["segment_id", "output", "test"], dropna=False):
        assert own["contribution"].sum() == pytest.approx(own["statistic"].iloc[0])
        assert own["share"].sum() == pytest.approx(1)
        assert own["size_share"].sum() == pytest.approx(1)
        assert own.loc[own["rank"] == 1, "request_type"].tolist() == ["search"]
    top = parts[(parts["output"] == "class") & (parts["rank"] == 1)].iloc[0]
    assert top["share"] > 0.8


def test_parts_of_kl_sum_to_kl() -> None:
    joint = np.array([[30.0, 5, 1], [12, 40, 3], [2, 9, 20]])
    n, k = joint.sum(), 3
    p, q = ((joint.sum(axis=a) + 0.5) / (n + k / 2) for a in (1, 0))
    moved = joint.sum(axis=0) - joint.sum(axis=1)
    assert moved @ kl_weights(joint) == pytest.approx((p * np.log(p / q)).sum())


def test_no_breach_leaves_nothing_to_attribute(counts: pd.DataFrame, scored: Scored) -> None:
    calm = scored.scores.assign(status="green")
    parts = contributions(calm, [(typed(counts), build_cells(whole(counts), BINS, SEGMENTS))])
    assert parts.empty
    assert "share" in parts.columns
    assert alerts(calm, {}).empty


def test_an_alert_says_who_what_and_how_sure(scored: Scored) -> None:
    found = alerts(scored.scores, {"s1": "night owls"})
    own = found[(found["segment_id"] == "s1") & (found["metric"] == "kl_nats")]
    message = own[own["output"] == "class"]["message"].iloc[0]
    assert message.startswith("segment s1 (night owls): kl_nats of class is 0.")
    assert "in the day from 2026-03-04, over 0.05 (q " in message


def test_one_request_and_models_that_agree_are_no_drift() -> None:
    one = pd.DataFrame(
        {"segment_id": ["s1"], "window": [0], "user": [1], "request_type": ["search"]}
    )
    vector = np.array([[0.3, 0.7]])
    answers = {f"{side} {name}": values for side in ("production", "experimental")
               for name, values in (("value", np.array([0.5])), ("class", vector))}  # fmt: skip
    lone = score_counts(whole(counted(one, BINS, answers)), BINS, drift(), ["s1"])
    assert set(lone.scores["status"]) == {"insufficient_data"}
    many = pd.concat([one.assign(user=i) for i in range(80)], ignore_index=True)
    answers = {name: np.repeat(values, 80, axis=0) for name, values in answers.items()}
    same = score_counts(whole(counted(many, BINS, answers)), BINS, drift(), ["s1"]).scores
    assert set(same["status"]) <= {"green", "insufficient_data"}
    kl = rows_of(same, "s1", "kl_nats", "class").iloc[0]
    assert (kl["score"], kl["status"]) == (pytest.approx(0, abs=1e-12), "green")
    relative = rows_of(same, "s1", "relative_mse", "value").iloc[0]
    assert (relative["status"], relative["reason"]) == ("insufficient_data", "not defined here")


def test_verdicts_do_not_depend_on_the_order_of_metrics(
    counts: pd.DataFrame, scored: Scored
) -> None:
    shuffled = scored.scores.sample(frac=1, random_state=1).sort_values("window", kind="stable")
    (q,) = q_values([shuffled], drift(), N_DAYS)
    again = with_verdicts(shuffled, q, drift()).sort_index()
    assert again["status"].tolist() == scored.scores["status"].tolist()
    assert len(counts) > 0


@pytest.mark.parametrize(
    ("window", "start", "end", "n"),
    [
        ("day", "2026-03-02", "2026-03-09", 7),
        ("week", "2026-03-02", "2026-03-30", 4),
        ("week", "2026-03-01", "2026-03-03", 2),
        ("month", "2025-12-31T23:00:00", "2026-02-01", 2),
        ("day", "2026-03-02T12:00:00", "2026-03-02T12:00:01", 1),
    ],
)
def test_alpha_is_spent_over_the_windows_the_replay_touches(
    window: Any, start: str, end: str, n: int
) -> None:
    span = Replay(start=datetime.fromisoformat(start), end=datetime.fromisoformat(end))
    assert windows_between(span, window) == n


def test_sums_are_the_same_to_the_last_bit_whatever_the_order_of_requests() -> None:
    rng = np.random.default_rng(12)
    n = 4000
    requests = pd.DataFrame(
        {
            "segment_id": rng.choice(["s1", "s2"], n), "window": rng.integers(0, 2, n),
            "user": rng.integers(0, 200, n), "request_type": rng.choice(["a", "b", "c"], n),
        }
    )  # fmt: skip
    p, e = rng.random(n), rng.random(n)
    answers = {
        "production value": p, "experimental value": e,
        "production class": np.stack([p, 1 - p], axis=1),
        "experimental class": np.stack([e, 1 - e], axis=1),
    }  # fmt: skip
    keys = ["segment_id", "window_start", "request_type", "output"]
    found = []
    for order in (np.arange(n), rng.permutation(n)):
        shuffled = {name: values[order] for name, values in answers.items()}
        rows = counted(requests.iloc[order].reset_index(drop=True), BINS, shuffled)
        found.append(rows.sort_values(keys, ignore_index=True))
    pd.testing.assert_frame_equal(*found, check_exact=True)


def series(scores: list[float], **held: float) -> pd.DataFrame:
    """Rows of one series with these scores, and a threshold from the past."""
    rows = pd.DataFrame(
        {"segment_id": "s1", "output": "class", "metric": "kl_nats",
         "score_bias_corrected": scores, "noise": np.nan}
    )  # fmt: skip
    return with_thresholds(rows, drift(thresholds={"kl_nats": held}), {})


def test_a_drift_that_lasts_does_not_become_its_own_past() -> None:
    rows = series([0.01, 0.02, 0.01, 0.02, *[0.2] * 5], sigmas=3, windows=8)
    assert (rows["score_bias_corrected"] > rows["threshold"]).tolist() == [False] * 4 + [True] * 5


def test_where_models_always_agreed_there_is_no_threshold_to_have(counts: pd.DataFrame) -> None:
    assert series([0.0] * 6, sigmas=3, windows=8)["threshold"].isna().all()
    same = agreeing_counts()
    settings = drift(thresholds={"kl_nats": {"noise": 0.99}, "tv_distance": {"noise": 0.6}})
    scores = score_counts(same, BINS, settings, ["s1"]).scores
    own = rows_of(scores, "s1", "kl_nats", "class").iloc[0]
    assert own["status"] == "green"
    assert own["reason"] == "no noise, or too few windows before, to have a threshold from"
    found = score_counts(whole(counts), BINS, settings, SEGMENTS).scores
    assert not (found["threshold"] <= 0).any()


def agreeing_counts() -> pd.DataFrame:
    """80 users of one request, answered alike: production's value is a constant."""
    requests = pd.DataFrame({"segment_id": "s1", "window": 0, "user": range(80),
                             "request_type": "search"})  # fmt: skip
    value, vector = np.full(80, 0.1), np.tile([0.3, 0.7], (80, 1))
    answers = {"production value": value, "experimental value": value,
               "production class": vector, "experimental class": vector}  # fmt: skip
    return whole(counted(requests, BINS, answers))


def one_cell(production: np.ndarray, experimental: np.ndarray, per_user: int = 1) -> pd.DataFrame:
    """The scores of one segment in one window from values alone, all thresholds tiny."""
    n = len(production)
    requests = pd.DataFrame({"segment_id": "s1", "window": 0, "user": np.arange(n) // per_user,
                             "request_type": "search"})  # fmt: skip
    edges = tuple(np.quantile(production, [0.25, 0.5, 0.75]) + np.array([0, 1e-9, 2e-9]))
    answers = {"production value": production, "experimental value": experimental}
    bins = Bins(edges, ())
    held = dict.fromkeys(("kl_nats", "relative_mse", "mean_change", "flip_rate"), 1e-9)
    settings = drift(thresholds=held | {"kpi_relative_change": None})
    counts = whole(counted(requests, bins, answers))
    scores = score_counts(counts, bins, settings, ["s1"]).scores
    return scores[scores["output"] == "value"].set_index(["segment_id", "metric"])


@pytest.mark.parametrize("constant", [0.1, 0.3, 123.456])
def test_differences_are_not_held_against_a_variance_that_is_rounding(constant: float) -> None:
    rng = np.random.default_rng(14)
    production = np.full(400, constant)
    scores = one_cell(production, production * (1 + 0.001 * rng.standard_normal(400)))
    assert np.isnan(scores.loc[("s1", "relative_mse"), "score"])
    assert scores.loc[("s1", "relative_mse"), "status"] == "insufficient_data"


def test_small_differences_of_large_values_keep_their_error() -> None:
    """Seconds since 1970, 5 s apart: squares of the values hold 3e18, the differences' 25."""
    rng = np.random.default_rng(15)
    production = 1.77e9 + rng.uniform(0, 1e6, 1000)
    apart = rng.normal(0, 5, 1000)
    found = one_cell(production, production + apart, per_user=20).loc[("s1", "mean_change")]
    by_user = (production + apart - production).reshape(50, 20).sum(axis=1)
    expected = by_user.sum() ** 2 / (by_user**2).sum()
    assert found["test_statistic"] == pytest.approx(expected)
    assert found["ci_high"] - found["ci_low"] == pytest.approx(
        2 * t.ppf(0.975, 49) * by_user.std(ddof=1) / np.sqrt(50) / 20, rel=0.02
    )


def test_a_number_beyond_all_measure_proves_nothing() -> None:
    rng = np.random.default_rng(16)
    production = rng.random(400)
    production[0] = 1e200
    scores = one_cell(production, production.copy())
    assert not (scores["status"] == "red").any()


def test_windows_that_drift_opposite_ways_are_not_added_up() -> None:
    rng = np.random.default_rng(17)
    n = 2000
    requests = pd.DataFrame({"segment_id": "s1", "window": np.repeat([0, 1], n // 2),
                             "user": np.arange(n), "request_type": "calm"})  # fmt: skip
    production = rng.random(n)
    experimental = production.copy()
    for window, kind, power, m in ((0, "up", 0.2, 300), (1, "down", 5.0, 295)):
        at = np.flatnonzero(requests["window"] == window)[:m]
        requests.loc[at, "request_type"] = kind
        experimental[at] = production[at] ** power
    answers = {"production value": production, "experimental value": experimental}
    bins = Bins((0.25, 0.5, 0.75), ())
    rows = counted(requests, bins, answers)
    found = score_counts(whole(rows), bins, drift(thresholds={"kl_nats": 0.001}), ["s1"])
    assert (found.scores.loc[found.scores["metric"] == "kl_nats", "status"] == "red").sum() >= 2
    parts = contributions(found.scores, [(typed(rows), build_cells(whole(rows), bins, ["s1"]))])
    top = parts[parts["rank"] == 1].iloc[0]
    assert top["request_type"] in ("up", "down")
    assert 0.9 <= top["share"] <= 1.1
    assert (found.onsets["window_start"] <= found.onsets["last_window_start"]).all()


def test_a_day_without_requests_has_its_place(counts: pd.DataFrame) -> None:
    rows = whole(counts)
    gone = rows[rows["window_start"] != pd.Timestamp("2026-03-04")]
    windows = calendar(gone, datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert list(windows["window_start"]) == list(pd.date_range("2026-03-01", "2026-03-07"))
    n = build_cells(gone, BINS, SEGMENTS, windows).stacks["class"].sizes["n_requests"]
    assert n[:2].tolist() == [0, 300]
    assert n[3] == 0


def test_nothing_to_score_and_a_run_not_given_are_told(counts: pd.DataFrame) -> None:
    with pytest.raises(ContractError, match="there is no request with an output of both models"):
        score_counts(counts.iloc[:0], BINS, drift(), [])
    with pytest.raises(ContractError, match="thresholds name run aa: give its rows"):
        score_counts(whole(counts), BINS, drift(thresholds={"psi": {"noise": 0.9, "run": "aa"}}),
                     [])  # fmt: skip


def test_a_model_that_does_not_answer_everyone_is_told_by_segment() -> None:
    rng = np.random.default_rng(18)
    n = 2000
    requests = pd.DataFrame({"segment_id": np.repeat(["s1", "s2"], n), "window": 0,
                             "user": np.arange(2 * n), "request_type": "search"})  # fmt: skip
    production = rng.random(2 * n)
    experimental = production.copy()
    experimental[:60], experimental[60:100], production[100:110] = -np.inf, np.nan, np.nan
    counts = counted(requests, Bins((0.5,), ()), {
        "production value": production, "experimental value": experimental,
    })  # fmt: skip
    held = {"kl_nats": None, "kpi_relative_change": None, "mean_change": 0.01}
    found = score_counts(whole(counts), Bins((0.5,), ()), drift(thresholds=held), []).scores
    silent = rows_of(found, "s1", "mean_change", "missing").iloc[0]
    # 100 requests that experimental alone leaves open, 10 that production alone does.
    assert silent["score"] == pytest.approx((100 - 10) / n)
    assert silent["test_statistic"] == pytest.approx((100 - 10) ** 2 / (100 + 10))
    assert silent["status"] == "red"
    calm = rows_of(found, "s2", "mean_change", "missing").iloc[0]
    assert (calm["score"], calm["status"]) == (0, "green")
