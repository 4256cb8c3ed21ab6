"""The threshold of every score, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.errors import ContractError
from rehearsal.settings import Drift, NoiseFloor, PastWindows, Threshold

_LEAST_WINDOWS = 3
SERIES = ["segment_id", "output", "metric"]


@dataclass(frozen=True)
class Noise:
    """Quantile of |score| of a metric over the windows of a run of production against itself."""

    own: pd.Series
    """By segment ('' = all users), output and metric."""
    every: pd.Series
    """By output and metric, over all segments: for those that run could not score."""


def noise_run_names(settings: Drift) -> list[str]:
    """Return the runs of production against itself that thresholds are taken from."""
    return sorted({held.run for _, held in _from_runs(settings) if held.run})


def noise_of_runs(
    settings: Drift, noise_runs: Mapping[str, pd.DataFrame]
) -> dict[tuple[str, NoiseFloor], Noise]:
    """Return the noise of each metric whose threshold names a run, by metric and threshold.

    Args:
        settings: thresholds per metric, and those of an output's own.
        noise_runs: rows of `drift_scores` of each of these runs, by run.

    Raises:
        ContractError: a run is not given.
    """
    lacking = sorted(set(noise_run_names(settings)) - set(noise_runs))
    if lacking:
        raise ContractError(
            f"thresholds name run {', '.join(lacking)}: give its rows of drift_scores as noise_runs"
        )
    return {
        (metric, held): _noise(noise_runs[str(held.run)], metric, held.noise)
        for metric, held in _from_runs(settings)
    }


def _from_runs(settings: Drift) -> set[tuple[str, NoiseFloor]]:
    """Return the thresholds that name a run, each with its metric."""
    every = (settings.thresholds, *settings.output_thresholds.values())
    held = {pair for thresholds in every for pair in thresholds}
    return {(name, one) for name, one in held if isinstance(one, NoiseFloor) and one.run}


def _noise(rows: pd.DataFrame, metric: str, quantile: float) -> Noise:
    rows = rows[rows["metric"] == metric]
    size = rows["score_bias_corrected"].astype(float).abs().dropna()
    keys = [rows.loc[size.index, name].fillna("") for name in SERIES]
    own, every = (size.groupby(by).quantile(quantile) for by in (keys, keys[1:]))
    return Noise(own, every)


def with_thresholds(
    rows: pd.DataFrame, settings: Drift, noise: Mapping[tuple[str, NoiseFloor], Noise]
) -> pd.DataFrame:
    """Return the rows with `threshold` (NaN: never a breach) and `threshold_origin`.

    Args:
        rows: of `measure`, all windows of a series, in their order.
        settings: thresholds per metric, and those of an output's own.
        noise: of `noise_of_runs`.
    """
    values, origins = np.full(len(rows), np.nan), np.empty(len(rows), dtype=object)
    found: Any = rows.groupby(["output", "metric"], sort=False).indices
    for (output, metric), at in found.items():
        held = getattr(settings.thresholds_of(output), metric)
        values[at], origins[at] = _of(rows.iloc[at], held, noise)
    # Where models agree there is no noise; every difference would be over a threshold of 0.
    values[~(values > 0)] = np.nan
    return rows.assign(threshold=values, threshold_origin=origins)


def _of(
    rows: pd.DataFrame, held: Threshold, noise: Mapping[tuple[str, NoiseFloor], Noise]
) -> tuple[pd.Series | float, str]:
    if isinstance(held, PastWindows):
        origin = f"mean + {held.sigmas:g} sd of the last {held.windows} calm windows"
        return _past(rows, held), origin
    if isinstance(held, NoiseFloor) and held.run is not None:
        values = _from_run(rows, noise[str(rows["metric"].iloc[0]), held])
        return values, f"{held.noise:.4g} quantile of run {held.run}"
    if isinstance(held, NoiseFloor):
        return rows["noise"], f"{held.noise:.4g} quantile under random swaps of outputs"
    return (np.nan, "none") if held is None else (held, "set")


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
    for place, score in enumerate(scores.tolist()):
        if len(calm) >= _LEAST_WINDOWS:
            mean = sum(calm) / len(calm)  # plain: numpy takes ten times as long for so few
            squares = sum((one - mean) ** 2 for one in calm)
            limits[place] = mean + held.sigmas * sqrt(squares / (len(calm) - 1))
        if not isnan(score) and not score > limits[place]:
            calm = [*calm, score][-held.windows :]
    return limits


def _from_run(rows: pd.DataFrame, noise: Noise) -> pd.Series:
    """Return the quantile of the same segment and measure; of all segments where it has none."""
    keys = pd.MultiIndex.from_frame(rows[SERIES].fillna(""))
    own = noise.own.reindex(keys).to_numpy(float)
    every = noise.every.reindex(keys.droplevel(0)).to_numpy(float)
    return pd.Series(np.where(np.isnan(own), every, own), rows.index)
