"""The threshold of every score, and where it comes from."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rehearsal.settings import Drift, NoiseFloor, PastWindows, Threshold

_LEAST_WINDOWS = 3
SERIES = ["segment_id", "output", "metric"]


def with_thresholds(
    rows: pd.DataFrame, settings: Drift, noise_runs: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the rows with `threshold` (NaN: never a breach) and `threshold_origin`.

    Args:
        rows: of `measure`, in order of windows within a series.
        settings: thresholds per metric, and those of an output's own.
        noise_runs: rows of `drift_scores` of each run of production against itself that a
            threshold names, by run.
    """
    parts = []
    for (output, metric), own in rows.groupby(["output", "metric"], sort=False):
        held = getattr(settings.thresholds_of(str(output)), str(metric))
        values, origin = _of(own, held, noise_runs)
        # Where models agree there is no noise; every difference would be over a threshold of 0.
        parts.append(own.assign(threshold=values.where(values > 0), threshold_origin=origin))
    return pd.concat(parts).sort_index()


def noise_run_names(settings: Drift) -> list[str]:
    """Return the runs of production against itself that thresholds are taken from."""
    every = (settings.thresholds, *settings.output_thresholds.values())
    held = [one for thresholds in every for _, one in thresholds]
    return sorted({one.run for one in held if isinstance(one, NoiseFloor) and one.run})


def _of(
    rows: pd.DataFrame, held: Threshold, noise_runs: Mapping[str, pd.DataFrame]
) -> tuple[pd.Series, str]:
    if isinstance(held, PastWindows):
        origin = f"mean + {held.sigmas:g} sd of the last {held.windows} calm windows"
        return _past(rows, held), origin
    if isinstance(held, NoiseFloor) and held.run is not None:
        values = _from_run(rows, noise_runs[held.run], held.noise)
        return values, f"{held.noise:.4g} quantile of run {held.run}"
    if isinstance(held, NoiseFloor):
        return rows["noise"], f"{held.noise:.4g} quantile under random swaps of outputs"
    value = np.nan if held is None else held
    return pd.Series(value, rows.index, dtype=float), "none" if held is None else "set"


def _past(rows: pd.DataFrame, held: PastWindows) -> pd.Series:
    """Mean + sigmas sd over the last windows that were not over; NaN with fewer than 3 of them.

    Windows over their own threshold are no past to judge by: a drift that lasts would hide itself.
    """
    size = rows["score_bias_corrected"].abs()
    keys = [rows[name].fillna("") for name in SERIES]
    return size.groupby(keys, sort=False).transform(_limits, held=held)


def _limits(scores: pd.Series, held: PastWindows) -> np.ndarray:
    calm: list[float] = []
    limits = np.full(len(scores), np.nan)
    for place, score in enumerate(scores):
        if len(calm) >= _LEAST_WINDOWS:
            limits[place] = np.mean(calm) + held.sigmas * np.std(calm, ddof=1)
        if not np.isnan(score) and not score > limits[place]:
            calm = [*calm, score][-held.windows :]
    return limits


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
