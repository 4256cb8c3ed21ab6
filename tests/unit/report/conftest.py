"""A run of three segments and four windows by hand: s1 drifts, s2 does not, s3 is tiny.

`segmented` lays any number of segments over it: a refit that split s4, and one unusual flow.
"""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from generators_report import curve_rows, gate_rows, round_rows, synthesizer_rows
from large_report import large_run
from segments_report import (
    START,
    k_curve_rows,
    migration_rows,
    profile_rows,
    sample_rows,
    segmentation_row,
)

from rehearsal.report.frames import COLUMNS, ReportData, empty
from rehearsal.report.page import render

WINDOWS = [START + timedelta(weeks=week) for week in range(4)]
HOSTILE = "<script>alert('type')</script>"
GENRES = {"Sci-Fi": (0.5, 0.45), HOSTILE: (0.3, 0.4), "Drama": (0.2, 0.15)}
SEGMENTS = {
    "s1": ("students, night ×1.8", 1200),
    "s2": ("like the average", 5400),
    "s3": ("Sci-Fi ×2.3", 9),
}
SCORES = {
    None: [0.004, 0.006, 0.03, 0.041],
    "s1": [0.01, 0.02, 0.11, 0.19],
    "s2": [0.001, 0.052, 0.0, 0.002],
    "s3": [None, None, None, None],
}  # fmt: skip
STATUS = {
    None: ["green"] * 4,
    "s1": ["green", "green", "red", "red"],
    "s2": ["green", "yellow", "green", "green"],
    "s3": ["insufficient_data"] * 4,
}

SEGMENT_FRAMES = ("segmentation", "k_curve", "k_distances", "events", "samples", "migrations")
CLASSES = ["buy", HOSTILE, "leave"]


def frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        [{**dict.fromkeys(COLUMNS[name]), **row} for row in rows], columns=list(COLUMNS[name])
    )


def score_rows(
    output: str, metric: str, factor: float, threshold: float | None
) -> list[dict[str, Any]]:
    rows = []
    for segment, scores in SCORES.items():
        for window, score, status in zip(WINDOWS, scores, STATUS[segment], strict=True):
            known = score is not None
            value = score * factor if known else None
            judged = status if threshold or not known else "green"
            rows.append(
                {
                    "segment_id": segment, "window_start": window,
                    "window_end": window + timedelta(weeks=1), "granularity": "week",
                    "output": output, "metric": metric, "score_bias_corrected": value,
                    "test": "size" if metric == "relative_mse" else "distribution",
                    "threshold_origin": "set" if threshold else "none",
                    "detectable": 0.012 * factor if known else None,
                    "ci_low": value * 0.7 if known else None,
                    "ci_high": value * 1.4 if known else None,
                    "q_value": 0.001 if judged == "red" else 0.4, "threshold": threshold,
                    "n_requests": 4000 if known else 7, "n_users": 600 if known else 3,
                    "status": judged, "reason": f"made {judged}",
                }
            )  # fmt: skip
    return rows


def joint_rows() -> list[dict[str, Any]]:
    """Of s1 more and more requests leave with every window; the others' answers stay."""
    rows = []
    for segment in (None, "s1", "s2"):
        for number, window in enumerate(WINDOWS):
            moved = 100 * number if segment == "s1" else 10
            counts = [1000 - moved, 0, moved, 5, 700, 5, 20, 0, 980]
            rows += [
                {"segment_id": segment, "output": output, "window_start": window,
                 "joint_bins": np.array(counts)}
                for output in ("class", "value")
            ]  # fmt: skip
    return rows


@pytest.fixture
def data() -> ReportData:
    return run_by_hand()


def run_by_hand() -> ReportData:
    profiles = [
        {
            "segment_id": segment, "segment_name": name, "n_users": users,
            "user_share": users / 6609, "feature": feature, "segment_mean": 0.5 * sign,
            "overall_mean": 0.2, "effect_size": sign * (2 - rank / 4), "rank": rank,
        }
        for segment, (name, users) in SEGMENTS.items()
        for rank, (feature, sign) in enumerate(
            [("share of Sci-Fi", 1), ("night share", 1), ("age", -1), ("requests", 1)], start=1
        )
    ]  # fmt: skip
    contributions = [
        {
            "segment_id": "s1", "output": "class", "test": "distribution", "request_type": kind,
            "n_requests": 900, "request_share": 0.25, "share": share, "rank": rank,
            "contribution": 150 * share, "statistic": 150.0, "size_metric": "kl_nats",
            "size_contribution": 0.15 * share, "size_share": share,
        }
        for rank, (kind, share) in enumerate(
            [("Sci-Fi", 0.7), (HOSTILE, 0.4), ("Drama", 0.05), ("Horror", -0.15)], start=1
        )
    ]  # fmt: skip
    fidelity = [
        {
            "segment_id": "s1", "column_name": column, "kind": kind, "bin": place,
            "label": label, "n_logged": 900, "n_synthetic": 500,
            "logged_share": logged, "synthetic_share": synthetic,
        }
        for column, kind, shares in (
            ("genre", "categorical", GENRES),
            ("price", "continuous", {f"[{i}, {i + 1})": (0.1, 0.08 + i / 250) for i in range(10)}),
            ("hour", "datetime", {f"{i:02d}:00": (1 / 24, 1 / 24) for i in range(24)}),
        )
        for place, (label, (logged, synthetic)) in enumerate(shares.items())
    ]  # fmt: skip
    effects = [
        {
            "scope": scope, "segment_id": segment, "request_type": kind, "n_baseline": 16000,
            "n_augmented": 16500, "n_users": 900, "baseline_per_1000": 40.0 + add,
            "baseline_ci_low": 36.0 + add, "baseline_ci_high": 44.0 + add,
            "augmented_per_1000": 61.0 + 2 * add, "augmented_ci_low": 55.0 + 2 * add,
            "augmented_ci_high": 66.0 + 2 * add, "effect_per_1000": 21.0 + add,
            "effect_ci_low": 15.0, "effect_ci_high": 27.0 + add,
        }
        for scope, segment, kind, add in (
            ("all", None, None, 0), ("segment", "s1", None, 30),
            ("cell", "s1", "Sci-Fi", 70), ("cell", "s1", HOSTILE, 50),
        )
    ]  # fmt: skip
    return ReportData(
        run_id="r1", production_model="models:/ranker/3", experimental_model="models:/ranker/4",
        start=START, end=START + timedelta(weeks=4), n_requests=48_007, stored_outputs=False,
        **{name: empty(name) for name in SEGMENT_FRAMES},
        profiles=frame("profiles", profiles),
        scores=frame("scores", [
            *score_rows("class", "psi", 2.1, None),
            *score_rows("class", "kl_nats", 1.0, 0.05),
            *score_rows("value", "relative_mse", 3.0, None),
        ]),
        onsets=frame("onsets", [
            {"segment_id": "s1", "output": "class", "test": "distribution",
             "window_start": WINDOWS[2], "earliest_window_start": WINDOWS[1],
             "latest_window_start": WINDOWS[2], "last_window_start": WINDOWS[3]},
        ]),
        bins=frame("bins", [
            {"output": "value", "edges": [0.5, 1.25], "classes": []},
            {"output": "class", "edges": [], "classes": CLASSES},
        ]),
        joints=frame("joints", joint_rows()),
        quarantine=frame("quarantine", [
            {"step": "replay", "source_table": "log", "reason": "user_id is null", "n_rows": 12},
            {"step": "segment", "source_table": "users", "reason": "age is not a number",
             "n_rows": 3},
        ]),
        alerts=frame("alerts", [
            {"segment_id": "s1", "window_start": window, "output": "class", "metric": "kl_nats",
             "message": f"s1 breaches in the week of {window:%Y-%m-%d}"}
            for window in WINDOWS[2:]
        ]),
        contributions=frame("contributions", contributions),
        reasons=frame("reasons", [
            {"segment_id": "s1", "output": "class", "test": "distribution",
             "size_metric": "kl_nats", "verdict": "inputs",
             "reason": "The mix of request_type brings 62% of the change."},
        ]),
        drivers=frame("drivers", [
            {"segment_id": "s1", "output": "class", "test": "distribution",
             "size_metric": "kl_nats", "rank": rank,
             "dimension_1": "country", "value_1": value, "dimension_2": second, "value_2": "night",
             "n_requests": 800, "request_share": 0.1, "share": 0.35, "lift": 3.5,
             "q_value": q_value, "status": status}
            for rank, value, second, q_value, status in (
                (1, HOSTILE, "hour of day", 0.0002, "confirmed"),
                (2, "(other)", None, None, "not confirmed"),
            )
        ]),
        synthesizers=frame("synthesizers", synthesizer_rows()),
        curves=frame("curves", [*curve_rows(None, 9.5, 24), *curve_rows("s1", 9.2, 12)]),
        gate=frame("gate", gate_rows()),
        rounds=frame("rounds", [
            *round_rows(["s1"], 7),
            *round_rows(["s2"], 2),
            *round_rows(["s3"], 1, ["resampled"]),
        ]),
        generated=frame("generated", [
            {"segment_id": "s1", "request_type": "Sci-Fi", "n_synthetic": 320},
            {"segment_id": "s1", "request_type": HOSTILE, "n_synthetic": 180},
        ]),
        fidelity=frame("fidelity", fidelity),
        effects=frame("effects", effects),
    )  # fmt: skip


@pytest.fixture
def segmented(data: ReportData) -> Callable[[int], ReportData]:
    """Return a run of s1 .. sk and 'cold', refitted after s4 split into s4 and the last segment."""
    return lambda k: with_segments(data, k)


@pytest.fixture(scope="session")
def large() -> tuple[ReportData, str]:
    """A run of 500 segments and 30 windows with all metrics, and its page."""
    run = large_run(with_segments(run_by_hand(), 500), 30)
    return run, render(run)


def with_segments(data: ReportData, k: int) -> ReportData:
    random = np.random.default_rng(k)
    ids = [f"s{number}" for number in range(1, k + 1)]
    users = np.maximum(9, (4000 / np.arange(1, k + 1) ** 0.8).astype(int))
    frames = {
        "profiles": profile_rows(ids, users, random),
        "segmentation": [segmentation_row(k, int(users.sum()) + 400)],
        "k_curve": k_curve_rows(k),
        "events": [
            {"event": "split", "segment_id": "s4", "other_ids": ["s4", ids[-1]], "share": 0.97,
             "n_users": 1280},
            {"event": "born", "segment_id": ids[-1], "other_ids": ["s4"], "share": 0.93,
             "n_users": 520},
            {"event": "survived", "segment_id": "s1", "other_ids": ["s1"], "share": 0.96,
             "n_users": 3840},
        ],
        "samples": sample_rows(ids, users, random),
        "migrations": migration_rows(ids, users, random),
    }  # fmt: skip
    made = {name: frame(name, rows) for name, rows in frames.items()}
    return dataclasses.replace(data, **made)
