"""Measures held against thresholds: q-values over everything that is looked at, and a status."""

from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.drift.measured import SIZE
from rehearsal.drift.threshold import SERIES
from rehearsal.settings import Drift
from rehearsal.stats.multiple import hierarchical_q_values, spending
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


def with_verdicts(rows: pd.DataFrame, settings: Drift, n_windows: int) -> pd.DataFrame:
    """Return the rows with `q_value`, `status` and `reason`.

    Each window may spend its share of alpha, so that looking at every window does not add false
    alarms; within a window q-values are hierarchical Benjamini-Hochberg, segments first (all users
    are one of them), then their tests. Only tests of metrics with a threshold count. q_value <=
    alpha is significant: the share is in it.

    Args:
        rows: of `with_thresholds`.
        settings: alpha, spending, persistence.
        n_windows: windows there will be.
    """
    rows = _judge_sizes(rows)
    rows = rows.assign(q_value=_q_values(rows, settings, n_windows))
    over = rows["score_bias_corrected"].abs() >= rows["threshold"]
    breach = over & (rows["q_value"] <= settings.alpha)
    held = _breaches_held(rows, breach, settings.persistence.of)
    persists = breach & (held >= settings.persistence.breaching)
    told = rows.assign(over=over, breach=breach, persists=persists, held=held)
    plain = told[list(_TOLD)].itertuples(index=False)
    status, reason = zip(*(_verdict(row, settings) for row in plain), strict=True)
    return rows.assign(status=status, reason=reason)


def _judge_sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """Test sizes against their thresholds, now that these are known."""
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


def _q_values(rows: pd.DataFrame, settings: Drift, n_windows: int) -> pd.Series:
    own_test = rows["test"].where(rows["test"] != SIZE, rows["metric"])
    keyed = pd.DataFrame(
        {
            "window": rows["window"],
            "segment": rows["segment_id"].fillna(""),
            "test": rows["output"] + " " + own_test,
            "p": rows["p_value"],
        }
    )
    judged = keyed[rows["threshold"].notna()].drop_duplicates(["window", "segment", "test"])
    share = spending(n_windows, np.arange(1, rows["window"].max() + 2), settings.spending)
    found = []
    for window, own in judged.groupby("window"):
        table = own.set_index(["segment", "test"])["p"].unstack()  # noqa: PD010 - keys are unique
        spent = share[int(str(window))]
        q = hierarchical_q_values(table.to_numpy(float), settings.alpha * spent)
        table.loc[:, :] = np.minimum(q / spent, 1.0)
        tall = table.reset_index().melt("segment", value_name="q")
        found.append(tall.assign(window=window))
    if not found:
        return pd.Series(np.nan, rows.index)
    keys = ["window", "segment", "test"]
    joined = keyed.merge(pd.concat(found), on=keys, how="left")
    return pd.Series(joined["q"].to_numpy(float), rows.index)


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
