"""A run of three segments and four windows by hand: s1 drifts, s2 does not, s3 is tiny.

`segmented` lays any number of segments over it: a refit that split s4, and one unusual flow.
"""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rehearsal.report.data import COLUMNS, ReportData, empty

START = datetime(2024, 3, 4)
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
TYPES = ["Sci-Fi", "Drama", "Horror", "Comedy", "Romance", "Thriller", "Western", "Musical"]


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
                    "ci_low": value * 0.7 if known else None,
                    "ci_high": value * 1.4 if known else None,
                    "q_value": 0.001 if judged == "red" else 0.4, "threshold": threshold,
                    "n_requests": 4000 if known else 7, "n_users": 600 if known else 3,
                    "status": judged, "reason": f"made {judged}",
                }
            )  # fmt: skip
    return rows


@pytest.fixture
def data() -> ReportData:
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
            "segment_id": "s1", "output": "class", "request_type": kind, "n_requests": 900,
            "request_share": 0.25, "share": share, "rank": rank,
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
        synthesizers=frame("synthesizers", [
            {"segment_id": "s1", "status": "fitted", "reason": None, "n_rows": 2000,
             "n_epochs": 12, "validation_nats": 7.25, "kl_nats": 1.5, "device": "cpu"},
            {"segment_id": "s3", "status": "insufficient_data", "reason": "9 rows", "n_rows": 9},
        ]),
        curves=frame("curves", [
            {"segment_id": "s1", "epoch": e, "train_nats": 9 - e / 6, "validation_nats": 9 - e / 7}
            for e in range(1, 13)
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

    def make(k: int) -> ReportData:
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

    return make


def segmentation_row(k: int, n_users: int) -> dict[str, Any]:
    return {
        "run_id": "r0", "method": "kmeans", "decision": "cold_refit",
        "reason": "cost per user 1.08 times that at the fit, above 1.03; a fit from scratch is "
        "4.1% cheaper, above 3%", "as_of": START, "valid_from": START, "k": k,
        "n_users": n_users, "n_fit_users": 5000, "n_moved": 600, "n_new": 300, "n_gone": 41,
        "psi": 0.13, "cost_ratio": 1.08, "far_share": 0.021, "silhouette": 0.31, "cost": 2.71,
    }  # fmt: skip


def profile_rows(ids: list[str], users: np.ndarray, random: Any) -> list[dict[str, Any]]:
    total = int(users.sum()) + 400
    features = [
        *[f"share of {name}" for name in TYPES], *[f"requests of {name}" for name in TYPES],
        "requests", "days since last request", "weekday night share", "weekend evening share",
        "age", "country = PL", "slope of log counts", "mean hours between sessions",
    ]  # fmt: skip
    rows = []
    for place, (segment, count) in enumerate([*zip(ids, users, strict=True), ("cold", 400)]):
        effects = random.normal(0, np.linspace(0.8, 0.05, len(features)))
        effects[place % 8] += 2.4
        ranks = np.argsort(np.argsort(-np.abs(effects))) + 1
        cold = segment == "cold"
        rows += [
            {
                "segment_id": segment, "feature": name, "rank": int(rank), "n_users": int(count),
                "segment_name": "cold: no history before the replay" if cold
                else f"{TYPES[place % 8]} ×{2 + place % 3}.3, weekday night ×1.{place % 9}",
                "user_share": count / total, "effect_size": float(effect), "overall_mean": 0.2,
                "is_small": False, "segment_mean": 0.2 + effect / 10,
                "stability": None if cold else [0.91, 0.83, 0.66, 0.52][place % 4],
            }
            for name, effect, rank in zip(features, effects, ranks, strict=True)
        ]  # fmt: skip
    return rows


def k_curve_rows(k: int) -> list[dict[str, Any]]:
    return [
        {
            "k": one, "silhouette": 0.33 - 0.02 * abs(one - k), "davies_bouldin": 1.1 + 0.05 * one,
            "calinski_harabasz": 2400 - 90.0 * one, "cost": 9 / one**0.6,
            "smallest_share": 0.4 / one,
        }
        for one in range(max(2, k - 5), k + 4)
    ]  # fmt: skip


def sample_rows(ids: list[str], users: np.ndarray, random: Any) -> list[dict[str, Any]]:
    rows = []
    for place, (segment, count) in enumerate(zip(ids, users, strict=True)):
        angle = 2 * np.pi * place / len(ids)
        n = max(4, int(2000 * count / users.sum()))
        x, y = random.normal(0, 0.9, (2, n)) + 3 * np.array([[np.cos(angle)], [np.sin(angle)]])
        away = np.hypot(x - x.mean(), y - y.mean())
        nearest = np.argsort(away)[:3].tolist()
        rows += [
            {
                "segment_id": segment, "user_id": f"{segment}-u{i}", "x": x[i], "y": y[i],
                "distance": away[i],
                "prototype_rank": nearest.index(i) + 1 if i in nearest else None,
            }
            for i in range(n)
        ]  # fmt: skip
    return rows


def migration_rows(ids: list[str], users: np.ndarray, random: Any) -> list[dict[str, Any]]:
    """Most stay, a few move to the next segments, s4 splits, s2 -> s1 is unusual."""
    flows = {(one, one): int(count * 0.94) for one, count in zip(ids, users, strict=True)}
    for place, one in enumerate(ids):
        for step in (1, 2):
            flows[(one, ids[(place + step) % len(ids)])] = int(random.integers(2, 30))
    flows |= {("s4", ids[-1]): 480, ("s2", "s1"): 190, ("cold", "s1"): 60, ("cold", "cold"): 300,
              (None, "cold"): 100, (None, "s1"): 200, ("s3", None): 41}  # fmt: skip
    before = pd.Series(flows).groupby(level=0, dropna=False).transform("sum")
    return [
        {
            "previous_run_id": "r-1", "from_segment_id": source, "to_segment_id": target,
            "n_users": count, "from_share": count / total if source else None,
            "expected_share": 0.012 if source else None,
            "requests_before": 12.5 if source else None,
            "requests_after": 14.25 if target else None,
            "value_before": 31.0 if source else None, "value_after": 52.5 if target else None,
            "direction": "up" if target == "s1" else "level",
            "q_value": 0.0004 if (source, target) == ("s2", "s1") else 0.6,
            "status": "unusual" if (source, target) == ("s2", "s1") else "usual",
            "reason": f"{count} users, {count / total / 0.012:.1f} times the usual 1.2%",
        }
        for ((source, target), count), total in zip(flows.items(), before, strict=True)
    ]  # fmt: skip
