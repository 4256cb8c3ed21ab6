"""Which request types bring a drift: signed parts that sum to the whole, for each that breaches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.drift.cells import Cells, Stack
from rehearsal.drift.direction import agreeing, together, window_parts
from rehearsal.drift.levels import pooled_rate
from rehearsal.drift.measured import DISTRIBUTION, MEAN, SIZE, source_of

COLUMNS = (
    "segment_id", "output", "test", "size_metric", "request_type", "n_requests", "request_share",
    "contribution", "share", "statistic", "size_contribution", "size_share", "rank",
)  # fmt: skip
KEYS = ["segment_id", "output", "test", "size_metric"]
"""What is attributed on its own: a segment's distribution of an output, or one metric of it."""
KL = "kl_nats"
SIZE_SUMS = {
    ("value", "flip_rate"): "n_flips", ("value", "mse"): "sum_distance",
    ("value", "relative_mse"): "sum_distance", ("value", "mae"): "sum_absolute",
    ("class", "flip_rate"): "n_flips", ("class", "mean_kl_nats"): "sum_distance",
}  # fmt: skip


@dataclass(frozen=True)
class Direction:
    """Along what a segment drifts in one output, over its breaching windows together.

    Of windows that drift opposite ways, those that go with the clearest one.

    segment_id is None for all users. metric is what the parts of the size are parts of: the
    metric in breach, or KL for a distribution, whose metrics share their test and of which only KL
    splits by request. weights (distribution): w with statistic = d . w, so that a request that
    moves from bin i to bin j adds w[j] - w[i]; (mean): (1,), what a difference of 1 adds; (size):
    (1,), 1. size_weights give the part of KL(production || experimental) instead, likewise. A
    difference of a ratio is that of its numerators less its window's rate times that of its
    denominators, see `levels.pooled_rate`; a mean's rate is 0.
    """

    segment_id: str | None
    output: str
    test: str
    metric: str
    windows: tuple[pd.Timestamp, ...]
    weights: np.ndarray
    size_weights: np.ndarray
    rates: tuple[float, ...] = ()
    """Of each window, for means and ratios."""


def breaching_segments(scores: pd.DataFrame) -> list[str]:
    """Return the segments with a breach, in order."""
    return sorted(scores.loc[scores["status"] == "red", "segment_id"].dropna().unique())


def directions(scores: pd.DataFrame, cells: Cells) -> Iterator[Direction]:
    """Yield the direction of every breach: an output's distribution, and each mean and size.

    Args:
        scores: rows of `drift_scores` of one run.
        cells: every window of some segments; only theirs are returned.
    """
    red = scores[scores["status"] == "red"]
    named = red["segment_id"].isin([name for name in cells.grid.segments if name is not None])
    red = red[named | (red["segment_id"].isna() & (None in cells.grid.segments))]
    red = red.assign(size_metric=red["metric"].where(red["test"] != DISTRIBUTION, KL))
    for (segment, output, test, metric), own in red.groupby(KEYS, dropna=False):
        name = segment if isinstance(segment, str) else None
        starts = sorted(set(own["window_start"]))
        at = cells.grid.places(name, starts)
        stack = cells.stacks[source_of(str(output))]
        same, weights, size_weights = _along(stack, at, str(test))
        windows = tuple(starts[i] for i in np.flatnonzero(same))
        rates = tuple(pooled_rate(stack)[at[same]]) if test == MEAN else ()
        kind = (str(output), str(test), str(metric))
        yield Direction(name, *kind, windows, weights, size_weights, rates)


def _along(stack: Stack, at: np.ndarray, test: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which of the cells drift one way, (W,), the weights of the test, and of the size."""
    one = np.ones(1)
    if test == SIZE:
        return np.ones(len(at), bool), one, one
    differences, spreads = window_parts(stack, at, test)
    same = agreeing(differences, spreads)
    wald = together(stack, at[same], differences[same], spreads[same], test)
    if test == MEAN:
        return same, wald.weights, one
    return same, wald.weights, kl_weights(stack.joint[at[same]].sum(axis=0))


def kl_weights(joint: np.ndarray) -> np.ndarray:
    """Return g, (K,), with KL(p || q) = (q - p) . g, and so d_t . g the part of counts d_t.

    The integral of the gradient from p to q (integrated gradients, Aumann & Shapley 1974), in
    nats per request moved: -p ln(q / p) / (q - p) / n, with half a request added to every bin.
    """
    n, k = joint.sum(), len(joint)
    p, q = ((joint.sum(axis=axis) + 0.5) / (n + k / 2) for axis in (1, 0))
    apart = q - p
    with np.errstate(invalid="ignore", divide="ignore"):
        gradient = np.where(np.abs(apart) > 1e-12, -p * np.log(q / p) / apart, -1.0)  # noqa: PLR2004
    return np.asarray(gradient / (n + k / 2))


def contributions(
    scores: pd.DataFrame, blocks: Iterable[tuple[pd.DataFrame, Cells]]
) -> pd.DataFrame:
    """Return the rows of `drift_contributions`, less run and version.

    For each breach of `directions`, over its breaching windows together:

    - distribution: c_t = d_t . S^-1 d with d_t the type's part of the difference of marginals;
      sums to the statistic d' S^-1 d. size_contribution is its part of KL in nats.
    - mean: the same in one dimension; size_contribution is its part of the change of the mean, or
      of the ratio.
    - size: the type's part of the sum (of flips, KL, squared or absolute differences);
      size_contribution is its part of the metric.

    Args:
        scores: rows of `drift_scores` of one run.
        blocks: of some segments each, or of all users, the rows of `drift_counts` of the same run
            per request type (request_type not NULL), and those of all types together.
    """
    rows: list[dict[str, object]] = []
    for counts, cells in blocks:
        for one in directions(scores, cells):
            here = (counts["output"] == source_of(one.output)) & counts["window_start"].isin(
                one.windows
            )
            if one.segment_id is not None:
                here &= counts["segment_id"] == one.segment_id
            rows += _ranked(one, _parts(one, counts[here]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _parts(one: Direction, counts: pd.DataFrame) -> pd.DataFrame:
    """Return per request type n, its part of the statistic, and of the size."""
    by_type = counts.groupby("request_type", sort=True)
    n = by_type["n_paired"].sum().astype(float)
    if one.test == DISTRIBUTION:
        moved = {
            name: np.sum(np.stack(list(own["experimental_bins"])), axis=0)
            - np.sum(np.stack(list(own["production_bins"])), axis=0)
            for name, own in by_type
        }
        table = np.stack([moved[name] for name in n.index]).astype(float)
        parts, sizes = table @ one.weights, table @ one.size_weights
    elif one.test == MEAN:
        change = _paired_change(one, counts).groupby(counts["request_type"]).sum().to_numpy(float)
        parts, sizes = change * one.weights[0], change / _divisor(one.metric, counts)
    else:
        sums = by_type[SIZE_SUMS[one.output, one.metric]].sum().to_numpy(float)
        parts, sizes = sums * one.weights[0], sums / _divisor(one.metric, counts)
    return pd.DataFrame({"n": n.to_numpy(), "part": parts, "size": sizes}, n.index)


def _paired_change(one: Direction, counts: pd.DataFrame) -> pd.Series:
    """Return the difference that each row of counts adds to a mean or a ratio."""
    rates = counts["window_start"].map(dict(zip(one.windows, one.rates, strict=True)))
    below = counts["sum_denominator_difference"].astype(float).fillna(0.0)
    return counts["sum_difference"] - rates * below


def _divisor(metric: str, counts: pd.DataFrame) -> float:
    """Return what a summed difference is divided by to be this metric; NaN where that is 0."""
    n, total, squares = (
        float(counts[name].sum()) for name in ("n_paired", "sum_production", "sum_production_sq")
    )
    if metric == "relative_mse":
        return squares - total**2 / n or float("nan")
    per, below = n, n
    if counts["sum_denominator"].notna().any():
        per, below = _denominator(counts), float(counts["sum_denominator"].sum())
    level = abs(total) / below if below else 0.0
    return (per * level if metric == "kpi_relative_change" else per) or float("nan")


def _denominator(counts: pd.DataFrame) -> float:
    """Return the harmonic mean of both models' denominators, added up window by window."""
    names = ["sum_denominator", "sum_denominator_difference"]
    by_window = counts.groupby("window_start")[names].sum().to_numpy(float)
    own, theirs = by_window[:, 0], by_window.sum(axis=1)
    return float((2 * own * theirs / (own + theirs)).sum())


def _ranked(one: Direction, parts: pd.DataFrame) -> list[dict[str, object]]:
    total, n, size = parts["part"].sum(), parts["n"].sum(), parts["size"].sum()
    if total == 0:  # types cancel exactly: there is a breach but no share to give
        return []
    ordered = parts.assign(share=parts["part"] / total).reset_index()
    ordered = ordered.sort_values(["share", "request_type"], ascending=[False, True])
    rows: Iterator[Any] = ordered.itertuples()
    return [
        {
            "segment_id": one.segment_id,
            "output": one.output,
            "test": one.test,
            "size_metric": one.metric,
            "request_type": row.request_type,
            "n_requests": int(row.n),
            "request_share": row.n / n,
            "contribution": row.part,
            "share": row.share,
            "statistic": total if one.test != SIZE else float("nan"),
            "size_contribution": row.size,
            "size_share": row.size / size if size else float("nan"),
            "rank": rank,
        }
        for rank, row in enumerate(rows, start=1)
    ]
