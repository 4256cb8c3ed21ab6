"""How often the two models disagree on the logged stream and on the augmented one."""

from collections.abc import Hashable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy.stats import norm

from rehearsal.sums import stable_sum
from rehearsal.tables.schemas import COLD

_PER = 1000.0
_KEYS = ("segment_id", "request_type")
# How many of the keys each scope tells apart.
_SCOPES = {"all": 0, "segment": 1, "cell": 2}


def disagreement(edges: Sequence[float], tolerance: float | None) -> Column:
    """Return whether the models disagree on a request: another class, or another value.

    Without a class, the value differs when it is further than `tolerance` away, or, without a
    tolerance, in another bin of `edges`.
    """
    sides = [F.col(f"{side}.probabilities") for side in ("production", "experimental")]
    first, second = (F.array_position(p, F.array_max(p)) for p in sides)
    values = [F.col(f"{side}.value") for side in ("production", "experimental")]
    if tolerance is not None:
        apart = F.abs(values[1] - values[0]) > F.lit(tolerance)
    else:
        apart = _n_below(edges, values[0]) != _n_below(edges, values[1])
    return F.when(sides[0].isNotNull(), first != second).otherwise(apart)


def _n_below(edges: Sequence[float], value: Column) -> Column:
    below = [(value >= F.lit(edge)).cast("int") for edge in edges]
    return reduce(Column.__add__, below, F.lit(0))


def effect_sums(
    replays: DataFrame, segments: DataFrame, targets: DataFrame, differs: Column
) -> DataFrame:
    """Return per scope the sums that the rates and their user-clustered intervals are made of.

    One shuffle by user: b requests and x disagreements of the logged stream, a and y of the
    augmented one, then sums of their squares and products over users.

    Args:
        replays: rows of one run, both origins.
        segments: (user_id, segment_id).
        targets: (segment_id, request_type), the cells synthetic requests were made for.
        differs: the disagreement of a row.
    """
    placed = replays.join(segments.select("user_id", "segment_id"), "user_id", "left")
    placed = placed.withColumn("segment_id", F.coalesce("segment_id", F.lit(COLD)))
    logged, apart = (F.col("origin") == "logged").cast("int"), differs.cast("int")
    per_user = placed.groupBy("user_id", "segment_id", "request_type").agg(
        F.sum(logged).alias("b"),
        F.sum(logged * apart).alias("x"),
        F.count("*").alias("a"),
        F.sum(apart).alias("y"),
    )
    cells = F.broadcast(targets.withColumn("targeted", F.lit(True)))
    marked = per_user.join(cells, ["segment_id", "request_type"], "left")
    aimed = F.broadcast(targets.select("segment_id").distinct().withColumn("aimed", F.lit(True)))
    marked = marked.join(aimed, "segment_id", "left").persist()
    scopes = {
        "all": marked,
        "segment": marked.where("aimed"),
        "cell": marked.where("targeted"),
    }
    sums = [_scope_sums(rows, name) for name, rows in scopes.items()]
    return sums[0].unionByName(sums[1]).unionByName(sums[2])


def _scope_sums(rows: DataFrame, scope: str) -> DataFrame:
    told = _SCOPES[scope]
    keys = [
        (F.col(name) if i < told else F.lit(None)).cast("string").alias(name)
        for i, name in enumerate(_KEYS)
    ]
    by_user = rows.groupBy("user_id", F.lit(scope).alias("scope"), *keys).agg(
        *(F.sum(c).alias(c) for c in "bxay")
    )
    names = "bxay"
    products = [
        stable_sum(F.col(u).cast("double") * F.col(v)).alias(f"{u}{v}")
        for i, u in enumerate(names)
        for v in names[i:]
    ]
    return by_user.groupBy("scope", *_KEYS).agg(
        F.count("*").alias("n_users"), *(F.sum(c).alias(c) for c in names), *products
    )


def effects(sums: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the rows of `effects`, less the run.

    Rates are ratios of sums over users; their variances are linearised and clustered by user
    (Cochran 1977, ch. 6), the difference with both streams' residuals of the same user, since
    the augmented stream holds the logged one.
    """
    z = float(norm.ppf((1 + confidence) / 2))
    rows = [_effect(row, z) for row in sums.to_dict("records")]
    return pd.DataFrame(rows)


def _effect(row: Mapping[Hashable, Any], z: float) -> dict[str, object]:
    baseline, augmented = _rate(row["x"], row["b"]), _rate(row["y"], row["a"])
    # Residuals (x - r b) / B and (y - s a) / A as weights on (b, x, a, y).
    first = np.array([-baseline, 1, 0, 0]) / row["b"] if row["b"] else np.full(4, np.nan)
    second = np.array([0, 0, -augmented, 1]) / row["a"]
    reach = [z * _spread(row, weights) for weights in (first, second, second - first)]
    found: dict[str, object] = {
        "scope": row["scope"],
        "segment_id": row["segment_id"],
        "request_type": row["request_type"],
        "n_baseline": row["b"],
        "n_augmented": row["a"],
        "n_users": row["n_users"],
        "disagreements_baseline": row["x"],
        "disagreements_augmented": row["y"],
    }
    rates = {"baseline": baseline, "augmented": augmented, "effect": augmented - baseline}
    for (name, rate), half in zip(rates.items(), reach, strict=True):
        low = rate - half
        found[f"{name}_per_1000"] = _PER * rate
        found[f"{name}_ci_low"] = _PER * (low if name == "effect" else max(low, 0.0))
        found[f"{name}_ci_high"] = _PER * (rate + half)
    return found


def _rate(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _spread(row: Mapping[Hashable, Any], weights: np.ndarray) -> float:
    """Standard error of sum over users of weights . (b, x, a, y), G/(G-1) corrected."""
    names, users = "bxay", row["n_users"]
    if users < 2:  # noqa: PLR2004 - one user shows no spread between users
        return float("nan")
    pairs = [[names[min(i, j)] + names[max(i, j)] for j in range(4)] for i in range(4)]
    products = np.array([[row[pair] for pair in line] for line in pairs])
    variance = float(weights @ products @ weights) * users / (users - 1)
    return float(np.sqrt(max(variance, 0.0)))
