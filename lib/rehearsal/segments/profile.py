"""What is most unlike the average in each segment, and a short name made of it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.segments.feature import Feature
from rehearsal.sums import stable_sum
from rehearsal.tables.schemas import COLD, NOISE

_NAMED, _TELLING, _HARDLY, _ALIKE = 3, 0.3, 0.1, 1.15
NAMES = {
    COLD: "cold: no history before the replay",
    NOISE: "noise: in no dense place",
}


def segment_moments(rows: DataFrame, n_features: int) -> pd.DataFrame:
    """Return per segment the count, sums and sums of squares of every feature, on the driver.

    Args:
        rows: (segment_id, features ARRAY<DOUBLE>).
        n_features: length of `features`; the result is bounded by segments x features.
    """
    aggregates = [F.count("*").alias("n_users")]
    for i in range(n_features):
        value = F.col("features")[i]
        aggregates += [
            F.count(value).alias(f"n{i}"),
            stable_sum(value).alias(f"s{i}"),
            stable_sum(value * value).alias(f"q{i}"),
        ]
    return rows.groupBy("segment_id").agg(*aggregates).orderBy("segment_id").toPandas()


def describe_segments(moments: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Return the rows of `segment_profiles`: every feature of every segment, ranked.

    effect_size is (segment mean - overall mean) / overall standard deviation (Cohen's d with the
    whole population's spread); features no user of the segment has are left out.
    """
    numbers = range(len(features))
    n, s, q = (moments[[f"{kind}{i}" for i in numbers]].to_numpy(float) for kind in "nsq")
    n_all, s_all, q_all = n.sum(axis=0), np.nansum(s, axis=0), np.nansum(q, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        overall = s_all / n_all
        spread = np.sqrt(np.maximum(q_all / n_all - overall**2, 0))
        means = s / n
        effects = np.where(spread > 0, (means - overall) / spread, 0.0)
    total = int(moments["n_users"].sum())
    rows = []
    for position, (segment_id, n_users) in enumerate(
        zip(moments["segment_id"], moments["n_users"], strict=True)
    ):
        order = [i for i in np.argsort(-np.abs(effects[position]), kind="stable") if n[position, i]]
        name = segment_name(segment_id, features, means[position], overall, effects[position])
        rows += [
            {
                "segment_id": segment_id,
                "segment_name": name,
                "n_users": int(n_users),
                "user_share": int(n_users) / total,
                "feature": features[i].name,
                "segment_mean": means[position, i],
                "overall_mean": overall[i],
                "effect_size": effects[position, i],
                "rank": rank,
            }
            for rank, i in enumerate(order, start=1)
        ]
    return pd.DataFrame(rows)


def segment_name(
    segment_id: str,
    features: Sequence[Feature],
    means: np.ndarray,
    overall: np.ndarray,
    effects: np.ndarray,
) -> str:
    """Return a name such as "student ×2.3, Sci-Fi ×1.9, night ×1.6", strongest first.

    Shares tell a request type better than counts, which rise with activity; activity and trend
    speak once each.
    """
    if segment_id in NAMES:
        return NAMES[segment_id]
    told: list[str] = []
    spoken: set[str] = set()
    for i in np.argsort(-np.nan_to_num(np.abs(effects)), kind="stable"):
        feature = features[i]
        if abs(effects[i]) < _TELLING or len(told) == _NAMED:
            break
        if feature.group in {"type counts", *spoken}:
            continue
        words = _tell(feature, means[i], overall[i])
        told += [words] if words else []
        spoken |= {feature.group} & {"activity", "trend"} if words else set()
    return ", ".join(told) or "like the average"


def _tell(feature: Feature, mean: float, overall: float) -> str:
    """One feature in words; empty where the ratio says little beside the effect size."""
    if feature.group == "trend":
        return "more active lately" if mean > overall else "less active lately"
    subject = feature.name.split(" = ")[-1].removeprefix("share of ").removesuffix(" share")
    named = subject != feature.name or feature.group == "activity"
    if not named or overall <= 0:
        return f"{feature.name} {mean:.3g} (all: {overall:.3g})"
    ratio = mean / overall
    if ratio < _HARDLY:
        return f"hardly any {subject}" if ratio > 0 else f"no {subject}"
    return f"{subject} ×{ratio:.1f}" if ratio < 1 / _ALIKE or ratio > _ALIKE else ""
