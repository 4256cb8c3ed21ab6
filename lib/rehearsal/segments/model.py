"""A fitted segmentation as one value: all that puts a user into a segment, in plain numpy.

It needs neither Spark nor scikit-learn, so a service can hold it and ask about one user.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from rehearsal.segments.mixture import Mixture
from rehearsal.segments.nearest import nearest, nearest_labels, squared_to, squared_to_all
from rehearsal.segments.preparation import Preparation

NOISE = "noise"  # tables.schemas.NOISE, which cannot be imported without Spark


@dataclass(frozen=True, eq=False)
class Assigned:
    """Where n users belong.

    Attributes:
        segment_ids: segment of each user, shape (n,), objects.
        nearest_ids: segment of the nearest centre (or of the likeliest component), shape (n,);
            the same except for noise.
        labels: position of that centre in the model, shape (n,); -1 if the model has none.
        distance: Euclidean distance to that centre in scaled units, shape (n,).
        second_distance: to the nearest centre of any other segment; infinite if there is none, and
            for dbscan, where being near is not what makes a segment.
        membership: mixture only: probability of each of the model's segments, shape (n, k).
        is_noise: dbscan only: the user is in no dense place, shape (n,).
    """

    segment_ids: np.ndarray
    nearest_ids: np.ndarray
    labels: np.ndarray
    distance: np.ndarray
    second_distance: np.ndarray
    membership: np.ndarray | None
    is_noise: np.ndarray


@dataclass(frozen=True, eq=False)
class SegmentModel:
    """A fitted segmentation.

    Attributes:
        method: kmeans, bisecting, mixture or dbscan.
        preparation: raw features to points.
        centres: shape (m, p).
        segment_ids: segment of each centre; several centres may share one (dbscan).
        next_number: number of the next new segment; ids are never used twice.
        seed: what the fit's randomness came from.
        reach: dbscan: distance beyond which a user is noise.
        assign_noise: dbscan: noise goes to the nearest segment and is only flagged.
        mixture: weights and covariances of the components; the centres are their means.
        shares: segment -> share of all users at the fit, 0..1.
        far: segment -> distance within which 99% of its users were at the fit.
        cost: mean squared distance over all users at the fit; None if never measured.
        silhouette: simplified silhouette over all users at the fit; None likewise.
        n_users: how many users these were.
    """

    method: str
    preparation: Preparation
    centres: np.ndarray
    segment_ids: tuple[str, ...]
    next_number: int
    seed: int
    reach: float | None = None
    assign_noise: bool = False
    mixture: Mixture | None = None
    shares: dict[str, float] = field(default_factory=dict)
    far: dict[str, float] = field(default_factory=dict)
    cost: float | None = None
    silhouette: float | None = None
    n_users: int | None = None

    @property
    def segments(self) -> tuple[str, ...]:
        """The distinct segment ids, in the order of their first centres."""
        return tuple(dict.fromkeys(self.segment_ids))

    def assign(self, raw: np.ndarray) -> Assigned:
        """Return where users with raw features (n, d) belong; each row on its own.

        A tie goes to the centre that comes first.
        """
        return self.assign_points(self.preparation.apply(raw))

    def assign_points(self, points: np.ndarray) -> Assigned:
        """Return where prepared points (n, p) belong."""
        if len(self.centres) == 0:  # dbscan that found no dense place
            return _all_noise(len(points))
        membership = None
        if self.mixture is not None:
            membership = self.mixture.membership(points, self.centres)
            labels = membership.argmax(axis=1)
            squared, rival_squared = self._squared_to_components(points, labels)
        elif self.method == "dbscan":
            columns = np.ascontiguousarray(points.T)
            labels = nearest_labels(columns, self.centres)
            squared = squared_to(columns, self.centres, labels)
            rival_squared = np.full(len(points), np.inf)
        else:
            labels, squared, rival_squared = nearest(points, self.centres)
        distance = np.sqrt(squared)
        is_noise = np.zeros(len(points), bool) if self.reach is None else distance > self.reach
        nearest_ids = np.array(self.segment_ids, dtype=object)[labels]
        ids = nearest_ids
        if is_noise.any() and not self.assign_noise:
            ids = np.where(is_noise, NOISE, nearest_ids)
        second = np.sqrt(rival_squared)
        return Assigned(ids, nearest_ids, labels, distance, second, membership, is_noise)

    def distance_to(
        self, raw: np.ndarray, segment_ids: Sequence[str | None] | np.ndarray
    ) -> np.ndarray:
        """Return each user's distance, shape (n,), to the nearest centre of the segment named.

        NaN where the model has no such segment: the user's own is gone, or was never there.
        """
        return self.point_distance_to(self.preparation.apply(raw), segment_ids)

    def point_distance_to(
        self, points: np.ndarray, segment_ids: Sequence[str | None] | np.ndarray
    ) -> np.ndarray:
        """Return the same of prepared points (n, p)."""
        named = np.asarray(segment_ids, dtype=object)
        result = np.full(len(points), np.nan)
        for segment in self.segments:
            rows = named == segment
            if rows.any():
                _, squared, _ = nearest(points[rows], self._centres_of(segment))
                result[rows] = np.sqrt(squared)
        return result

    def to_json(self) -> str:
        """Return the model as JSON text; every number comes back as it was."""
        held: dict[str, Any] = {
            "method": self.method,
            "preparation": self.preparation.to_dict(),
            "centres": self.centres.tolist(),
            "segment_ids": self.segment_ids,
            "next_number": self.next_number,
            "seed": self.seed,
            "reach": self.reach,
            "assign_noise": self.assign_noise,
            "mixture": self.mixture and {k: v.tolist() for k, v in asdict(self.mixture).items()},
            "shares": self.shares,
            "far": self.far,
            "cost": self.cost,
            "silhouette": self.silhouette,
            "n_users": self.n_users,
        }
        return json.dumps(held, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "SegmentModel":
        """Return the model that `to_json` wrote."""
        held = json.loads(text)
        mixture, preparation = held["mixture"], Preparation.from_dict(held["preparation"])
        return cls(
            **held
            | {
                "preparation": preparation,
                # Without a dense place there is none, and their width is not told by the list.
                "centres": np.array(held["centres"], dtype=float).reshape(-1, preparation.width),
                "segment_ids": tuple(held["segment_ids"]),
                "mixture": mixture and Mixture(**{k: np.array(v) for k, v in mixture.items()}),
            }
        )

    def _centres_of(self, segment: str) -> np.ndarray:
        return self.centres[[name == segment for name in self.segment_ids]]

    def _squared_to_components(
        self, points: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return squared distances to the label's centre and to the nearest of the others."""
        every = squared_to_all(np.ascontiguousarray(points.T), self.centres)
        own = labels, np.arange(len(points))
        squared = every[own]
        every[own] = np.inf
        return squared, every.min(axis=0)


def _all_noise(n: int) -> Assigned:
    far, nobody = np.full(n, np.inf), np.full(n, NOISE, dtype=object)
    return Assigned(nobody, nobody, np.full(n, -1), far, far, None, np.ones(n, bool))
