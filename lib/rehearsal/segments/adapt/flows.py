"""Flows of users between segments: how large they usually are, and which are unusual this time."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rehearsal.settings import Migration
from rehearsal.stats.multiple import q_values

_FROM, _TO, _N = "from_segment_id", "to_segment_id", "n_users"
_PAIR = [_FROM, _TO]
_NOWHERE = ""  # stands for NULL in keys: pandas neither groups nor joins None by default


def migration_rows(
    counts: pd.DataFrame,
    history: pd.DataFrame,
    worth: Mapping[str, float],
    settings: Migration,
    *,
    refitted: bool = False,
) -> pd.DataFrame:
    """Return the flows with shares, usual shares, p and q values, direction, status and reason.

    `counts` has from_segment_id, to_segment_id (NULL = was not there, is gone) and n_users, those
    who stayed included; its other columns are kept. `history` has the same three and `run_id` of
    earlier runs. `worth` is the mean value of a segment's users.

    A flow has a usual share if at least two earlier runs knew both its segments. It is unusual if
    its q-value is below alpha, it has min_users, and its share is times_expected the usual one;
    users who stayed are never tested, nor is anyone where the run `refitted` the segments: then
    borders moved, and users changed sides without a change of behaviour. For the same reason leave
    such runs out of `history`, and those before a fit from scratch too: flows across its borders
    have no usual share yet. Both frames grow with segments and runs, not with users.
    """
    now = _keyed(counts).sort_values(_PAIR, ignore_index=True)
    now["before"] = now.groupby(_FROM)[_N].transform("sum")
    now["from_share"] = now[_N] / now["before"]
    rows = now.merge(_usual(_keyed(history), now), on=_PAIR, how="left")
    if refitted:
        rows["n_runs"] = 0
    rows["p_value"] = _p_values(rows)
    rows["q_value"] = q_values(rows["p_value"].to_numpy(float))
    rows["direction"], ratio = _directions(rows, worth, settings.value_jump)
    rows["status"] = _status(rows, settings)
    rows["reason"] = [
        _reason(row, times, settings, refitted)
        for row, times in zip(rows.itertuples(index=False), ratio, strict=True)
    ]
    for end in _PAIR:
        rows[end] = [None if segment == _NOWHERE else segment for segment in rows[end]]
    rows.loc[~(rows["n_runs"] >= 2), "expected_share"] = np.nan  # noqa: PLR2004 - two runs
    return rows.drop(columns=["before", "n_runs", "exposed", "spread"])


def _keyed(frame: pd.DataFrame) -> pd.DataFrame:
    keyed = frame.copy()
    keyed[_PAIR] = keyed[_PAIR].astype(object).where(keyed[_PAIR].notna(), _NOWHERE)
    return keyed


def _usual(history: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Return per flow of now: n_runs, exposed (users), expected_share, spread between runs."""
    pairs = now[_PAIR]
    before = history.groupby(["run_id", _FROM], as_index=False).agg(at_risk=(_N, "sum"))
    ends = pd.concat(
        [history[["run_id", name]].set_axis(["run_id", _TO], axis=1) for name in _PAIR]
    ).drop_duplicates()
    flows = pairs.merge(before, on=_FROM).merge(ends, on=["run_id", _TO])
    found = history[["run_id", *_PAIR, _N]]
    flows = flows.merge(found, on=["run_id", *_PAIR], how="left").fillna({_N: 0})
    usual = flows.groupby(_PAIR, as_index=False).agg(
        n_runs=("run_id", "size"), exposed=("at_risk", "sum"), moved=(_N, "sum")
    )
    usual["expected_share"] = usual.pop("moved") / usual["exposed"]
    return usual.merge(_spread(flows, usual), on=_PAIR)


def _spread(flows: pd.DataFrame, usual: pd.DataFrame) -> pd.DataFrame:
    """Return per flow the correlation of users within a run, 0..1: what runs differ by beyond luck.

    Pearson's X2 over its degrees of freedom is 1 + (n - 1) rho for n users at risk (Brier 1980,
    Analysis of contingency tables under cluster sampling). It is taken over all flows that leave a
    segment, since few runs say little about one flow, and over the flow itself; the larger counts.
    """
    rows = flows.merge(usual[[*_PAIR, "expected_share", "n_runs"]], on=_PAIR)
    expected, share = rows["at_risk"] * rows["expected_share"], rows["expected_share"]
    away = ((rows[_N] - expected) ** 2).div(expected.where(expected > 0))
    rows["all"], rows["own"] = away, away / (1 - share).where(share < 1)
    rows["free"] = (rows["n_runs"] - 1) / rows["n_runs"] * (1 - share)
    rows["free"] = rows["free"].where(expected > 0)
    whole = rows.groupby(_FROM).agg(all=("all", "sum"), free=("free", "sum"))
    own = rows.groupby(_PAIR).agg(
        own=("own", "sum"), n_runs=("run_id", "size"), at_risk=("at_risk", "mean")
    )
    own = own.reset_index().merge(whole, on=_FROM)
    of_all = own["all"] / own["free"].where(own["free"] > 0)
    of_own = own["own"] / (own["n_runs"] - 1).where(own["n_runs"] > 1)
    phi = pd.concat([of_all, of_own], axis=1).max(axis=1).fillna(1.0)
    rho = ((phi - 1) / (own["at_risk"] - 1).clip(lower=1)).clip(0, 0.99)
    return own[_PAIR].assign(spread=rho)


def _p_values(rows: pd.DataFrame) -> np.ndarray:
    """Return the chance of so many users or more in the flow, if it were as usual.

    Beta-binomial: the share of this run is beta-distributed about the usual one, with the variance
    between runs plus that of the usual share, an estimate itself, worth `held` independent users.
    To those half a user is added on both sides (Jeffreys), so that a flow never seen has a small
    share and not none.
    """
    from scipy.stats import betabinom

    tested = ((rows["n_runs"] >= 2) & (rows[_FROM] != rows[_TO])).to_numpy()  # noqa: PLR2004
    some = rows[tested]
    held = 1 / (some["spread"] / some["n_runs"] + 1 / some["exposed"])
    share = (some["expected_share"] * held + 0.5) / (held + 1)
    between = some["spread"] + 1 / (held + 2)
    weight = (1 / between.clip(upper=0.99) - 1).to_numpy()
    p = np.full(len(rows), np.nan)
    p[tested] = betabinom.sf(some[_N] - 1, some["before"], share * weight, (1 - share) * weight)
    return np.clip(p, 0, 1)


def _directions(
    rows: pd.DataFrame, worth: Mapping[str, float], jump: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return up, down, level or None (a worth unknown), and worth after over before."""
    source, target = (rows[name].map(worth).to_numpy(float) for name in _PAIR)
    high, low = np.maximum(source, target), np.minimum(source, target)
    # With losses about (low <= 0), twice as much is read on the other side of zero.
    apart = np.where(low > 0, high >= jump * low, (high > 0) | (low <= jump * high))
    known, apart = ~np.isnan(high + low), apart & (high > low)
    way = np.where(~apart, "level", np.where(target > source, "up", "down")).astype(object)
    way[~known] = None
    ratio = np.divide(target, source, out=np.full(len(rows), np.nan), where=(low > 0) & known)
    return way, ratio


def _status(rows: pd.DataFrame, settings: Migration) -> np.ndarray:
    unusual = (
        (rows["q_value"] < settings.alpha)
        & (rows[_N] >= settings.min_users)
        & (rows["from_share"] >= settings.times_expected * rows["expected_share"])
    )
    known = rows["n_runs"] >= 2  # noqa: PLR2004 - one run has no spread
    return np.where(~known, "no_history", np.where(unusual, "unusual", "usual"))


def _reason(row: object, ratio: float, settings: Migration, refitted: bool) -> str:
    """Return why a flow has its status, with the numbers."""
    get = row._asdict()  # type: ignore[attr-defined]
    users = f"{get[_N]:,} users"
    if get["status"] == "no_history":
        why = (
            "the segments were fitted anew" if refitted else "fewer than two runs had both segments"
        )
        return f"{users}; {why}"
    if get[_FROM] == get[_TO]:
        return f"{users} stayed, {get['from_share']:.1%}; usually {get['expected_share']:.1%}"
    text = f"{users}, {_times(get['from_share'], get['expected_share'])}"
    if get["status"] == "unusual":
        return text if np.isnan(ratio) else f"{text}, into a segment worth {ratio:,.2g} x as much"
    return f"{text}: {_why_usual(get, settings)}"


def _times(share: float, expected: float) -> str:
    if expected == 0:
        return "where there were none before"
    return f"{share / expected:,.1f} x the usual {100 * expected:.3g}%"


def _why_usual(get: Mapping[str, float], settings: Migration) -> str:
    if not get["q_value"] < settings.alpha:
        return f"within what runs differ by (q = {get['q_value']:.2g})"
    if get[_N] < settings.min_users:
        return f"below min_users ({settings.min_users})"
    return f"below {settings.times_expected:g} x the usual"
