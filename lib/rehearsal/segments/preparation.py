"""Raw features to points: tails tamed, gaps filled, scaled by robust spread, weighted, rotated."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rehearsal.segments.feature import Feature
from rehearsal.settings import Segments

CLIP = 8.0  # robust standard deviations: farther out, one wild user would own a segment
SANE = 1e100  # values beyond it are no measurements, and their squares would overflow
WINSORISED = 0.005  # share of values at either end that the spread takes for less extreme ones


@dataclass(frozen=True, eq=False)
class Preparation:
    """What turns a user's raw features into a point, fixed at the fit.

    A missing value (NaN, infinite, beyond 1e100) stands at the median: 0 of the scaled feature.

    Attributes:
        features: what each position of the raw features is.
        centre: median after the tail is tamed, shape (d,).
        scale: winsorised standard deviation, shape (d,); the plain one where all but the
            most extreme users share one value.
        weights: weight of the feature's group over the spread of the group's first principal
            axis, shape (d,), as in multiple factor analysis (Escofier and Pagès 1994): features
            that say the same count once, those that differ each. 0 for a constant feature.
        rotation: principal axes, shape (d, p), or None.
        retained: share of the variance that the axes keep; None without rotation.
    """

    features: tuple[Feature, ...]
    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    rotation: np.ndarray | None = None
    retained: float | None = None

    @property
    def width(self) -> int:
        """How many numbers a point has."""
        return len(self.features) if self.rotation is None else self.rotation.shape[1]

    @property
    def reach(self) -> np.ndarray:
        """Upper bound of the absolute value of each of a point's numbers, shape (p,)."""
        bound = CLIP * self.weights
        return bound if self.rotation is None else bound @ np.abs(self.rotation)

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Return points, shape (n, p), of raw features (n, d); a row depends on itself alone.

        The result is in column order, as `nearest` likes it.
        """
        scaled = np.empty((len(self.features), len(raw)))
        for i, feature in enumerate(self.features):
            column = scaled[i]
            np.copyto(column, raw[:, i])
            _scale(column, feature.tail, self.centre[i], self.scale[i], self.weights[i])
        if self.rotation is None:
            return scaled.T
        # A matrix product would round by the shape of the batch.
        rotated = np.zeros((self.width, len(raw)))
        for column, loadings in zip(scaled, self.rotation, strict=True):
            rotated += column * loadings[:, None]
        return rotated.T

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, exact in JSON."""
        return {
            "features": [asdict(feature) for feature in self.features],
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "rotation": None if self.rotation is None else self.rotation.tolist(),
            "retained": self.retained,
        }

    @classmethod
    def from_dict(cls, held: dict[str, Any]) -> "Preparation":
        """Return what `to_dict` was made from."""
        rotation = held["rotation"]
        return cls(
            features=tuple(Feature(**feature) for feature in held["features"]),
            centre=np.array(held["centre"], dtype=float),
            scale=np.array(held["scale"], dtype=float),
            weights=np.array(held["weights"], dtype=float),
            rotation=None if rotation is None else np.array(rotation, dtype=float),
            retained=held["retained"],
        )


def fit_preparation(
    sample: np.ndarray, features: Sequence[Feature], settings: Segments
) -> Preparation:
    """Return the preparation that a sample of raw features, shape (n, d), asks for.

    A feature that is constant or entirely missing in the sample places nobody: its weight is 0.
    With `settings.pca` the points are turned onto the fewest principal axes that keep that share
    of the variance.
    """
    fitted = [_location(sample[:, i], feature.tail) for i, feature in enumerate(features)]
    centre = np.array([location for location, _ in fitted])
    scale = np.array([spread for _, spread in fitted])
    live = scale > 0
    scale = np.where(live, scale, 1.0)
    unweighted = Preparation(tuple(features), centre, scale, live.astype(float))
    weights = _weights(unweighted.apply(sample), live, features, settings)
    plain = Preparation(tuple(features), centre, scale, weights)
    if settings.pca is None:
        return plain
    rotation, retained = principal_axes(plain.apply(sample), settings.pca)
    return Preparation(tuple(features), centre, scale, weights, rotation, retained)


def tame(column: np.ndarray, tail: str) -> None:
    """Apply the tail in place: log1p or square root of what is above 0; none leaves all as is."""
    if tail == "none":
        return
    np.maximum(column, 0.0, out=column)
    (np.log1p if tail == "log" else np.sqrt)(column, out=column)


def _scale(column: np.ndarray, tail: str, centre: float, scale: float, weight: float) -> None:
    missing = ~(np.abs(column) < SANE)
    column[missing] = 0.0
    tame(column, tail)
    column -= centre
    column /= scale
    np.clip(column, -CLIP, CLIP, out=column)
    column[missing] = 0.0
    column *= weight


def _location(column: np.ndarray, tail: str) -> tuple[float, float]:
    """Return median and robust spread of the values that are there; spread 0 if constant.

    The spread is the standard deviation of the values brought to within the 0.5% at either end, so
    that a few wild users do not shrink everyone else's differences. An interquartile range would
    be blind to the tenth of all users who do what the others never do, and put them far out.
    """
    values = column[np.abs(column) < SANE].astype(float)
    if len(values) == 0:
        return 0.0, 0.0
    tame(values, tail)
    low, median, high = np.quantile(values, [WINSORISED, 0.5, 1 - WINSORISED])
    # The deviation of equal values is not 0 but their rounding, hence no test of the spread itself.
    if values.min() == values.max():
        return float(median), 0.0
    spread = (np.clip(values, low, high) if low < high else values).std()
    return float(median), float(spread)


def _weights(
    points: np.ndarray, live: np.ndarray, features: Sequence[Feature], settings: Segments
) -> np.ndarray:
    """Return the weight asked for each feature's group over the spread of its first axis."""
    asked = {str(group): weight for group, weight in settings.group_weights.items()}
    groups = np.array([feature.group for feature in features])
    weights = np.zeros(len(features))
    for group in set(groups[live]):
        members = live & (groups == group)
        correlations = np.atleast_2d(np.corrcoef(points[:, members], rowvar=False))
        weights[members] = asked.get(group, 1.0) / np.sqrt(np.linalg.eigvalsh(correlations)[-1])
    return weights


def principal_axes(
    points: np.ndarray, share: float, at_most: int | None = None
) -> tuple[np.ndarray, float]:
    """Return the fewest axes (d, p), strongest first, that keep `share`, and what they keep.

    With `at_most` no more than so many, however little they keep.
    """
    centred = points - points.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    total = variances.sum()
    if total == 0:
        return axes[:, :1].copy(), 1.0
    kept = np.cumsum(variances) / total
    p = int(np.searchsorted(kept, share - 1e-12)) + 1
    p = min(p, at_most or p)
    # An axis has no sign of its own; the largest loading is made positive.
    strongest = np.abs(axes[:, :p]).argmax(axis=0)
    signs = np.where(axes[strongest, np.arange(p)] < 0, -1.0, 1.0)
    return axes[:, :p] * signs, float(kept[p - 1])
