"""The threshold of every score, and where it comes from."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rehearsal.settings import NoiseFloor, PastWindows, Threshold, Thresholds

SERIES = ["segment_id", "output", "metric"]


def with_thresholds(
    rows: pd.DataFrame, thresholds: Thresholds, noise_runs: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the rows with `threshold` (NaN: never a breach) and `threshold_origin`.

    Args:
        rows: of `measure`, in order of windows within a series.
        thresholds: as configured, per metric.
        noise_runs: rows of `drift_scores` of each run of production against itself that a
            threshold names, by run.
    """
    parts = []
    for metric, own in rows.groupby("metric", sort=False):
        held = getattr(thresholds, str(metric))
        values, origin = _of(own, held, noise_runs)
        parts.append(own.assign(threshold=values, threshold_origin=origin))
    return pd.concat(parts).sort_index()


def noise_run_names(thresholds: Thresholds) -> list[str]:
    """Return the runs of production against itself that thresholds are taken from."""
    held = (getattr(thresholds, name) for name in type(thresholds).model_fields)
    return sorted({one.run for one in held if isinstance(one, NoiseFloor) and one.run})


def _of(
    rows: pd.DataFrame, held: Threshold, noise_runs: Mapping[str, pd.DataFrame]
) -> tuple[pd.Series, str]:
    if isinstance(held, PastWindows):
        return _past(rows, held), f"mean + {held.sigmas:g} sd of the last {held.windows} windows"
    if isinstance(held, NoiseFloor) and held.run is not None:
        values = _from_run(rows, noise_runs[held.run], held.noise)
        return values, f"{held.noise:.4g} quantile of run {held.run}"
    if isinstance(held, NoiseFloor):
        return rows["noise"], f"{held.noise:.4g} quantile under random swaps of outputs"
    value = np.nan if held is None else held
    return pd.Series(value, rows.index, dtype=float), "none" if held is None else "set"


def _past(rows: pd.DataFrame, held: PastWindows) -> pd.Series:
    """Mean + sigmas sd over the windows before; NaN with fewer than 3 of them scored."""
    size = rows["score_bias_corrected"].abs()
    keys = [rows[name].fillna("") for name in SERIES]

    def limit(scores: pd.Series) -> pd.Series:
        before = scores.shift(1).rolling(held.windows, min_periods=3)
        return before.mean() + held.sigmas * before.std(ddof=1)

    return size.groupby(keys, sort=False).transform(limit)


def _from_run(rows: pd.DataFrame, noise: pd.DataFrame, quantile: float) -> pd.Series:
    """Quantile of |score| of the same segment and measure over that run's windows.

    A segment that run could not score gets the quantile over all its segments.
    """
    scored = noise.assign(size=noise["score_bias_corrected"].astype(float).abs()).dropna(
        subset=["size"]
    )
    own = scored.groupby([scored[name].fillna("") for name in SERIES])["size"].quantile(quantile)
    every = scored.groupby(["output", "metric"])["size"].quantile(quantile)
    keys = rows[SERIES].fillna("").itertuples(index=False, name=None)
    values = [own.get(key, every.get(key[1:], np.nan)) for key in keys]
    return pd.Series(values, rows.index, dtype=float)
