"""How many synthetic requests of which type each drifting segment gets.

Plain Python on the driver: contributions are bounded by segments x request types x outputs.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import pandas as pd

from rehearsal.settings import Augment

Key = TypeVar("Key", bound=Hashable)
_BREACH = ["output", "test", "size_metric"]


@dataclass(frozen=True, order=True)
class Cell:
    """A targeted request type of a segment, and its number of synthetic requests."""

    segment_id: str
    request_type: str
    n: int


def most_drifting(contributions: pd.DataFrame, max_segments: int) -> list[str]:
    """Return at most `max_segments` breaching segments, the largest test statistic first.

    All users together (segment_id NULL) are none: a generator is made of a segment.

    Args:
        contributions: rows of `drift_contributions` of one run.
        max_segments: how many to keep.
    """
    if contributions.empty:
        return []
    largest = contributions.groupby("segment_id")["statistic"].max().fillna(0.0)
    ranked = sorted(largest.items(), key=lambda item: (-item[1], str(item[0])))
    return [str(segment) for segment, _ in ranked[:max_segments]]


def plan_budget(contributions: pd.DataFrame, settings: Augment) -> list[Cell]:
    """Return the targeted cells, sorted, whose numbers add up exactly to the budget.

    A segment's budget is `synthetic_share` of its logged requests in the breaching windows (of
    the one with the most of them). Its types are those with a positive share of the drift,
    shares averaged over the outputs and tests that breach (first over the metrics of a test, which
    say much the same), at most `max_request_types`; they split it in proportion. Above
    `max_synthetic` in all, segments shrink in proportion.

    Args:
        contributions: rows of `drift_contributions` of one run.
        settings: the shares and caps.
    """
    targets = {}
    budgets: dict[str, int] = {}
    for segment, rows in contributions.groupby("segment_id"):
        shares = _target_shares(rows, settings.max_request_types)
        logged = int(rows.groupby(_BREACH)["n_requests"].sum().max())
        if shares:
            targets[str(segment)] = shares
            budgets[str(segment)] = round(settings.synthetic_share * logged)
    if sum(budgets.values()) > settings.max_synthetic:
        budgets = largest_remainders(settings.max_synthetic, budgets)
    cells = [
        Cell(segment, request_type, n)
        for segment, shares in targets.items()
        for request_type, n in largest_remainders(budgets[segment], shares).items()
        if n > 0
    ]
    return sorted(cells)


def _target_shares(rows: pd.DataFrame, max_types: int) -> dict[str, float]:
    # A type without a row for an output brings nothing to that output's drift.
    by_breach = rows.pivot_table(
        index=_BREACH, columns="request_type", values="share", aggfunc="sum", fill_value=0.0
    )
    means = by_breach.groupby(_BREACH[:2]).mean().mean()
    ranked = sorted(means[means > 0].items(), key=lambda item: (-item[1], str(item[0])))
    return {str(request_type): float(share) for request_type, share in ranked[:max_types]}


def largest_remainders(total: int, weights: Mapping[Key, float]) -> dict[Key, int]:
    """Return `total` split in proportion to the weights, in whole numbers that add up to it.

    Each part is its exact proportion rounded down, or up for the largest remainders; ties go to
    the earlier key. Weights are >= 0 and not all 0.
    """
    exact = {key: Fraction(weight) for key, weight in weights.items()}
    whole = sum(exact.values())
    quotas = {key: total * weight / whole for key, weight in exact.items()}
    parts = {key: int(quota) for key, quota in quotas.items()}
    left = total - sum(parts.values())
    by_remainder = sorted(quotas, key=lambda key: parts[key] - quotas[key])
    return parts | {key: parts[key] + 1 for key in by_remainder[:left]}
