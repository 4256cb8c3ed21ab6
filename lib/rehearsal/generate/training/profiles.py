"""What describes each segment to a generator: a few numbers made of its profile.

A new segment is described by the same features, so that it can be sampled without having been
trained on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.generate.models.layout import Floats

MAX_AXES = 8
_LARGEST_EFFECT = 5.0
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Profiles:
    """The main axes of how segments differ, fitted on the segments of one run.

    Args:
        features: names of the profile's features.
        centre: mean effect size per feature, over segments.
        axes: one unit vector per axis, over the features.
        scales: standard deviation of the segments along each axis.
    """

    features: tuple[str, ...]
    centre: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    scales: tuple[float, ...]

    @property
    def size(self) -> int:
        """How many numbers describe a segment."""
        return len(self.scales)

    def describe(self, effects: Mapping[str, float]) -> list[float]:
        """Return a segment's numbers, of its effect sizes by feature; a feature left out is 0."""
        given = np.array([effects.get(name, 0.0) for name in self.features], dtype=np.float64)
        inside = np.nan_to_num(given, nan=0.0).clip(-_LARGEST_EFFECT, _LARGEST_EFFECT)
        if not self.size:
            return []
        placed = np.array(self.axes) @ (inside - np.array(self.centre)) / np.array(self.scales)
        return [float(value) for value in placed]

    def to_json(self) -> str:
        """Return the axes as text; `from_json` gives equal ones back."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Profiles":
        """Return the axes of `to_json`.

        Raises:
            ModelError: the text is damaged.
        """
        try:
            values = json.loads(text)
            axes = tuple(tuple(axis) for axis in values["axes"])
            found = cls(
                tuple(values["features"]), tuple(values["centre"]), axes, tuple(values["scales"])
            )
            found._check()
        except (ValueError, KeyError, TypeError) as error:
            told = f"{type(error).__name__}: {error}"
            raise ModelError(f"the axes that describe segments are damaged: {told}") from error
        return found

    def _check(self) -> None:
        lengths = {len(values) for values in (self.features, self.centre, *self.axes)}
        if len(lengths) > 1 or len(self.axes) != len(self.scales):
            raise ValueError("centre, axes and scales are not of the same features")
        numbers = [*self.centre, *self.scales, *(value for axis in self.axes for value in axis)]
        if not np.isfinite(numbers).all() or min(self.scales, default=1.0) <= 0:
            raise ValueError("a number is not finite, or a scale not above 0")


def fit_profiles(effects: pd.DataFrame) -> Profiles:
    """Return the main axes (principal components) of the segments' effect sizes.

    Args:
        effects: one row per segment, one column per feature: the difference from the mean of all
            users in standard deviations; NaN is 0. Bounded: segments x features.
    """
    values = effects.fillna(0.0).to_numpy(dtype=np.float64)
    values = values.clip(-_LARGEST_EFFECT, _LARGEST_EFFECT)
    centre = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
    _, spread, axes = np.linalg.svd(values - centre, full_matrices=False)
    spread = spread / np.sqrt(max(len(values), 1))
    kept = int((spread[:MAX_AXES] > _LEAST_SPREAD).sum())
    return Profiles(
        tuple(map(str, effects.columns)),
        tuple(map(float, centre)),
        tuple(tuple(map(float, _upright(axis))) for axis in axes[:kept]),
        tuple(map(float, spread[:kept])),
    )


def _upright(axis: Floats) -> Floats:
    # The sign of an axis is arbitrary and may differ between machines.
    return axis if axis[np.argmax(np.abs(axis))] > 0 else -axis


def effect_sizes(profiles: pd.DataFrame) -> pd.DataFrame:
    """Return one row per segment, one column per feature, of rows of `segment_profiles`."""
    return profiles.pivot_table(
        index="segment_id", columns="feature", values="effect_size", dropna=False
    )


def segment_vectors(profiles: Profiles, effects: pd.DataFrame, segments: list[str]) -> Floats:
    """Return the segments' numbers, shape (segments, size); one without a profile is average."""
    known = effects.fillna(0.0).to_dict("index")
    rows = [
        profiles.describe({str(k): float(v) for k, v in known[segment].items()})
        if segment in known
        else [0.0] * profiles.size
        for segment in segments
    ]
    return np.array(rows, dtype=np.float64).reshape(len(segments), profiles.size)
