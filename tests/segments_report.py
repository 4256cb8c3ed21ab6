"""Rows of the tables on segments, for a run of any number of them."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

START = datetime(2024, 3, 4)
TYPES = ["Sci-Fi", "Drama", "Horror", "Comedy", "Romance", "Thriller", "Western", "Musical"]


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
