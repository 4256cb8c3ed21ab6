"""From counts to scores and shares, on counts small enough to check by hand."""

from datetime import datetime
from itertools import product

import numpy as np
import pandas as pd
import pytest

from rehearsal.drift.alerts import alerts
from rehearsal.drift.attribute import contributions
from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import build_cells
from rehearsal.drift.score import score_cells
from rehearsal.settings import Drift
from rehearsal.stats.divergence import divergence
from rehearsal.stats.paired import stuart_maxwell

BINS = Bins((), ("no", "yes"))
START, END = datetime(2026, 3, 2), datetime(2026, 3, 9)
SETTINGS = Drift.model_validate({"min_requests": 10, "min_users": 2, "thresholds": {"psi": 0.05}})
# Per segment and request type: the joint counts of production by experimental.
TABLES = {
    ("s1", "search"): np.array([[40, 30], [0, 30]]),
    ("s1", "browse"): np.array([[50, 2], [3, 45]]),
    ("s2", "search"): np.array([[50, 3], [4, 43]]),
    ("s3", "search"): np.array([[1, 1], [0, 1]]),
}


def count_rows() -> pd.DataFrame:
    """The rows of `drift_counts` that TABLES amount to."""
    rows: list[dict[str, object]] = []
    for (segment, kind), table in TABLES.items():
        base = {"segment_id": segment, "window_start": START, "window_end": END}
        rows.append(base | {"kind": "size", "output": "all", "n_requests": table.sum(),
                            "n_users": table.sum() // 3})  # fmt: skip
        typed = base | {"output": "class", "request_type": kind}
        for p, e in product(range(2), repeat=2):
            joint = {"kind": "joint", "bin_production": p, "bin_experimental": e}
            rows.append(base | {"output": "class", "n_requests": table[p, e]} | joint)
        for b in range(2):
            production, experimental = table[b].sum(), table[:, b].sum()
            marginal = typed | {"kind": "marginal"}
            rows.append(marginal | {"bin_production": b, "n_requests": production})
            rows.append(marginal | {"bin_experimental": b, "n_requests": experimental})
        moved, agreed = table[0, 1] + table[1, 0], table[1, 1]
        rows.append(
            typed | {
                "kind": "moments", "output": "rate", "n_requests": table.sum(),
                "sum_production": table[1].sum(), "sum_experimental": agreed + table[0, 1],
                "sum_production_sq": table[1].sum(), "sum_difference_sq": moved,
                "sum_difference_4": moved,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    cells = build_cells(count_rows(), BINS, ["s1", "s2", "s3", "s4"])
    return score_cells(cells, SETTINGS, BINS)


def one(scores: pd.DataFrame, segment: str | None, metric: str) -> pd.Series:
    ids = scores["segment_id"]
    found = scores[
        (ids.isna() if segment is None else ids == segment) & (scores["metric"] == metric)
    ]
    assert len(found) == 1
    return found.iloc[0]


def test_a_segments_score_and_test_come_from_its_joint_counts(scores: pd.DataFrame) -> None:
    joint = (TABLES["s1", "search"] + TABLES["s1", "browse"]).astype(float)
    found = one(scores, "s1", "kl_nats")
    assert found["score"] == pytest.approx(divergence("kl_nats", joint).raw)
    assert found["test_statistic"] == pytest.approx(stuart_maxwell(joint).statistic)
    assert found["n_requests"] == 200


def test_all_users_are_the_sum_of_the_segments(scores: pd.DataFrame) -> None:
    joint = sum(table.astype(float) for table in TABLES.values())
    found = one(scores, None, "kl_nats")
    assert found["score"] == pytest.approx(divergence("kl_nats", np.asarray(joint)).raw)
    assert found["n_requests"] == 303


def test_only_the_drifting_segment_breaches(scores: pd.DataFrame) -> None:
    assert one(scores, "s1", "psi")["status"] == "red"
    assert one(scores, "s2", "psi")["status"] == "green"


@pytest.mark.parametrize("segment", ["s3", "s4"])
def test_too_little_data_is_null_and_never_zero(scores: pd.DataFrame, segment: str) -> None:
    found = one(scores, segment, "kl_nats")
    assert found["status"] == "insufficient_data"
    assert np.isnan(found["score"])
    assert np.isnan(found["p_value"])
    assert "needs 10 of 2" in found["reason"]


def test_a_kpi_change_is_relative_to_production_with_a_paired_test(scores: pd.DataFrame) -> None:
    found = one(scores, "s1", "kpi_relative_change")
    before, after = 30 + 48, 60 + 47
    assert found["score"] == pytest.approx((after - before) / before)
    assert found["ci_low"] < found["score"] < found["ci_high"]
    assert found["p_value"] < 1e-4


def test_over_the_threshold_without_significance_is_yellow() -> None:
    few = count_rows()
    few = few[few["segment_id"] == "s3"]
    settings = SETTINGS.model_copy(update={"min_requests": 2, "min_users": 1})
    scored = score_cells(build_cells(few, BINS, ["s3"]), settings, BINS)
    found = one(scored, "s3", "kpi_relative_change")
    assert (found["status"], found["score"]) == ("yellow", 1.0)


def test_contributions_sum_to_the_statistic_and_shares_to_one(scores: pd.DataFrame) -> None:
    parts = contributions(scores, count_rows(), BINS)
    of_class = parts[parts["output"] == "class"]
    assert of_class["segment_id"].unique().tolist() == ["s1"]
    joint = (TABLES["s1", "search"] + TABLES["s1", "browse"]).astype(float)
    assert of_class["contribution"].sum() == pytest.approx(stuart_maxwell(joint).statistic)
    assert of_class["share"].sum() == pytest.approx(1)
    top = of_class[of_class["rank"] == 1].iloc[0]
    assert (top["request_type"], top["n_requests"]) == ("search", 100)
    # browse moves the other way: 30 of 29 net movers come from search, by hand.
    assert top["share"] == pytest.approx(30 / 29)


def test_no_breach_leaves_nothing_to_attribute(scores: pd.DataFrame) -> None:
    calm = scores.assign(status="green")
    parts = contributions(calm, count_rows(), BINS)
    assert parts.empty
    assert "share" in parts.columns
    assert alerts(calm, {}).empty


def test_an_alert_says_who_what_and_how_sure(scores: pd.DataFrame) -> None:
    found = alerts(scores, {"s1": "night owls"})
    message = found[(found["segment_id"] == "s1") & (found["metric"] == "psi")]["message"].iloc[0]
    assert message.startswith("segment s1 (night owls): psi of class is 0.0")
    assert "in the week from 2026-03-02, over 0.05 (q " in message
    assert set(found["segment_name"]) <= {"night owls", "all users"}
