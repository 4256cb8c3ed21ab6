"""Measures held against thresholds: a status per row, and why."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.drift.measured import SIZE
from rehearsal.drift.threshold import SERIES
from rehearsal.settings import Drift
from rehearsal.stats.paired import above
from rehearsal.stats.power import detectable_above

_TOLD = (
    "score_bias_corrected", "q_value", "threshold", "threshold_origin", "detectable", "reason",
    "over", "breach", "persists", "held",
)  # fmt: skip
_WITHOUT = {
    True: "no threshold is set for this metric",
    False: "no noise, or too few windows before, to have a threshold from",
}
RED, YELLOW, GREEN, UNKNOWN = "red", "yellow", "green", "insufficient_data"


def with_size_tests(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with sizes tested against their thresholds, now that these are known.

    Args:
        rows: of `with_thresholds`.
    """
    sizes = (rows["test"] == SIZE) & rows["threshold"].notna()
    own = rows[sizes]
    score, error, threshold, level = (
        own[name].to_numpy(float) for name in ("score", "error", "threshold", "level")
    )
    spare = own["n_users"].to_numpy(float) - 1
    rows = rows.copy()
    rows.loc[sizes, "p_value"] = above(score, error, threshold, spare)
    rows.loc[sizes, "detectable"] = detectable_above(threshold, error, level, spare)
    return rows


def with_verdicts(rows: pd.DataFrame, q_values: np.ndarray, settings: Drift) -> pd.DataFrame:
    """Return the rows with `q_value`, `status` and `reason`.

    Args:
        rows: of `with_size_tests`, all windows of a series, in their order.
        q_values: of each row; the share of alpha a window may spend is in them, so that one that
            is <= alpha is significant.
        settings: alpha, persistence.
    """
    over = rows["score_bias_corrected"].abs() >= rows["threshold"]
    breach = over & (q_values <= settings.alpha)
    held = _breaches_held(rows, breach, settings.persistence.of)
    persists = breach & (held >= settings.persistence.breaching)
    rows = rows.assign(q_value=q_values)
    told = rows.assign(over=over, breach=breach, persists=persists, held=held)
    verdicts = (_verdict(row, settings) for row in told[list(_TOLD)].itertuples(index=False))
    status, reason = zip(*verdicts, strict=True)
    return rows.assign(status=status, reason=_shared(reason))


def _shared(texts: Sequence[str]) -> list[str]:
    """Return the same texts, equal ones as one object: of millions of rows few differ."""
    one: dict[str, str] = {}
    return [one.setdefault(text, text) for text in texts]


def _breaches_held(rows: pd.DataFrame, breach: pd.Series, of: int) -> pd.Series:
    """Return how many of the last `of` windows breach, this one included."""
    if of == 1:
        return breach.astype(int)
    keys = [rows[name].fillna("") for name in SERIES]
    rolled = breach.astype(float).groupby(keys, sort=False)
    return rolled.transform(lambda own: own.rolling(of, min_periods=1).sum()).astype(int)


def _verdict(  # noqa: PLR0911 - one line per outcome, in the order they rule each other out
    row: Any, settings: Drift
) -> tuple[str, str]:
    score, q = float(row.score_bias_corrected), float(row.q_value)
    if isnan(score):
        return UNKNOWN, row.reason or "not defined here"
    if isnan(row.threshold):
        return GREEN, _WITHOUT[row.threshold_origin == "none"]
    if not row.over:
        return GREEN, f"below the threshold; {_seen(float(row.detectable), float(row.threshold))}"
    if row.persists:
        return RED, f"over the threshold and significant (q {q:.2g})"
    if isnan(q):
        return YELLOW, "over the threshold, but too few users are answered differently to test it"
    if not row.breach:
        return YELLOW, f"over the threshold, but not significant (q {q:.2g} > {settings.alpha:g})"
    wanted = settings.persistence
    return YELLOW, (
        f"over the threshold and significant (q {q:.2g}), but in {row.held} of the last "
        f"{wanted.of} windows; a breach needs {wanted.breaching}"
    )


def _seen(detectable: float, threshold: float) -> str:
    if isnan(detectable):
        return "too few users are answered differently to test it"
    return f"{max(detectable, threshold):.2g} or more would have shown"
