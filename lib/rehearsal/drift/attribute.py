"""Which request types bring a breaching segment's drift: signed parts that sum to the whole."""

import numpy as np
import pandas as pd

from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import joint_counts
from rehearsal.stats.paired import marginal_difference

_BINNED = ("kl_nats", "js_nats", "psi")


def contributions(scores: pd.DataFrame, counts: pd.DataFrame, bins: Bins) -> pd.DataFrame:
    """Return the rows of `drift_contributions`, less run and version.

    For each segment and output with a breach, over its breaching windows together:

    - binned outputs: c_t = d_t' V^-1 d with d_t the type's part of the difference of marginals;
      sums to the Stuart-Maxwell statistic d' V^-1 d;
    - a value whose squared error alone breaches: the type's sum of squared differences;
    - a KPI: the type's sum of differences, signed.

    Args:
        scores: rows of `drift_scores` of one run.
        counts: rows of `drift_counts` of the same run.
        bins: the bins both were made with.
    """
    breaching = scores[(scores["status"] == "red") & scores["segment_id"].notna()]
    rows: list[dict[str, object]] = []
    for (segment_id, output), found in breaching.groupby(["segment_id", "output"]):
        binned = found[found["metric"].isin(_BINNED)]
        windows = (binned if len(binned) else found)["window_start"]
        here = counts[
            (counts["segment_id"] == segment_id) & counts["window_start"].isin(set(windows))
        ]
        if len(binned):
            parts = _by_marginals(here, str(output), bins)
        else:
            parts = _by_moments(here, str(output))
        rows += _ranked(str(segment_id), str(output), parts, _type_sizes(here, str(output), bins))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


_COLUMNS = (
    "segment_id", "output", "request_type", "n_requests", "request_share", "contribution",
    "share", "statistic", "rank",
)  # fmt: skip


def _by_marginals(counts: pd.DataFrame, output: str, bins: Bins) -> dict[str, float]:
    size = bins.size(output)
    difference, inverse, _ = marginal_difference(joint_counts(counts, output, size))
    weight = inverse @ difference
    held = counts[(counts["kind"] == "marginal") & (counts["output"] == output)]
    parts: dict[str, float] = {}
    for request_type, found in held.groupby("request_type"):
        shift = _tally(found, "bin_experimental", size) - _tally(found, "bin_production", size)
        parts[str(request_type)] = float(shift @ weight)
    return parts


def _tally(counts: pd.DataFrame, side: str, size: int) -> np.ndarray:
    tally = np.zeros(size)
    held = counts[counts[side] >= 0]
    np.add.at(tally, held[side].to_numpy(int), held["n_requests"].to_numpy(float))
    return tally


def _by_moments(counts: pd.DataFrame, output: str) -> dict[str, float]:
    held = counts[(counts["kind"] == "moments") & (counts["output"] == output)]
    sums = held.groupby("request_type")[
        ["sum_difference_sq", "sum_experimental", "sum_production"]
    ].sum()
    parts = (
        sums["sum_difference_sq"]
        if output == "value"
        else sums["sum_experimental"] - sums["sum_production"]
    )
    return {str(name): float(part) for name, part in parts.items()}


def _type_sizes(counts: pd.DataFrame, output: str, bins: Bins) -> dict[str, int]:
    if output in bins.outputs:
        held = counts[(counts["kind"] == "marginal") & counts["bin_production"].notna()]
    else:
        held = counts[counts["kind"] == "moments"]
    held = held[held["output"] == output]
    sizes = held.groupby("request_type")["n_requests"].sum()
    return {str(name): int(size) for name, size in sizes.items()}


def _ranked(
    segment_id: str, output: str, parts: dict[str, float], sizes: dict[str, int]
) -> list[dict[str, object]]:
    total, n = sum(parts.values()), sum(sizes.values())
    if total == 0:  # types cancel exactly: there is a breach but no share to give
        return []
    order = sorted(parts, key=lambda name: (-parts[name] / total, name))
    return [
        {
            "segment_id": segment_id,
            "output": output,
            "request_type": name,
            "n_requests": sizes.get(name, 0),
            "request_share": sizes.get(name, 0) / n,
            "contribution": parts[name],
            "share": parts[name] / total,
            "statistic": total,
            "rank": rank,
        }
        for rank, name in enumerate(order, start=1)
    ]
