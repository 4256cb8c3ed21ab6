"""DBSCAN of all users, exact, and the bounded model that places users who come later.

Density means little in many dimensions, so clusters are found in at most four: the features that
`segments.dbscan.features` names, or the principal components of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import SettingsError
from rehearsal.seeds import derive_seed, uniform
from rehearsal.segments.assign import assign
from rehearsal.segments.cluster.dbscan.cluster import (
    Clustering,
    Representatives,
    dbscan,
    representatives,
)
from rehearsal.segments.cluster.dbscan.epsilon import knee
from rehearsal.segments.cluster.fit import ids_by_size, nobody, points_of, sample_users
from rehearsal.segments.feature import Feature
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.nearest import nearest
from rehearsal.segments.preparation import Preparation, fit_preparation, principal_axes
from rehearsal.settings import Segments
from rehearsal.tables.schemas import NOISE

_REPRESENTATIVES = 20_000  # what a model holds at most, and the JSON of it in a table row
_REACH_USERS = 100_000


@dataclass(frozen=True)
class DensityFit:
    """A fitted model, each user's exact place, and what was measured on the way.

    `exact` (user_id, exact_id) reads from `kept`, which executors hold until it is unpersisted.
    """

    model: SegmentModel
    exact: DataFrame
    n_fit_users: int
    k_distances: tuple[float, ...]
    retained: float | None
    kept: tuple[DataFrame, ...]


def fit_density(
    rows: DataFrame, features: Sequence[Feature], settings: Segments, seed: int
) -> DensityFit:
    """Return the clusters of all users, largest 's1', users in no dense place 'noise'.

    So are users in clusters below the share that a segment must have, unless these are kept.

    Args:
        rows: (user_id, features ARRAY<DOUBLE>), nulls allowed.
        features: what each position is.
        settings: dbscan's radius, number of neighbours and dimensions.
        seed: with user ids, all that the preparation and the radius depend on.

    Raises:
        SettingsError: a feature that dbscan is to look at does not exist.
        ContractError: no user has history, or the radius is not usable.
    """
    chosen = settings.dbscan
    ids, raw = sample_users(rows, settings.fit_sample_users, derive_seed(seed, "fit sample"))
    if len(ids) == 0:
        raise nobody(settings)
    preparation = _space(raw, features, settings)
    points = points_of(rows, preparation).persist()
    curve: tuple[float, ...] = ()
    eps = chosen.eps
    if eps is None:
        found = knee(points, chosen.min_points, seed)
        eps, curve = found.eps, tuple(found.distances)
    clustering = dbscan(points, eps, chosen.min_points)
    model, names = _model(clustering, preparation, eps, settings, seed)
    model = _with_shares(model, rows, clustering.n_users)
    # Cluster -1 is the first place, the clusters follow.
    places = F.array(F.lit(NOISE), *(F.lit(name) for name in names))
    exact = F.element_at(places, F.col("cluster") + 2).alias("exact_id")
    placed = clustering.rows.select("user_id", exact)
    kept = (points, clustering.solved)
    return DensityFit(model, placed, len(ids), curve, preparation.retained, kept)


def _space(raw: np.ndarray, features: Sequence[Feature], settings: Segments) -> Preparation:
    """Return the preparation into the dimensions that density is looked for in."""
    chosen, names = settings.dbscan, [feature.name for feature in features]
    missing = sorted(set(chosen.features) - set(names))
    if missing:
        raise SettingsError(
            f"segments.dbscan.features: no feature {', '.join(missing)}; there are "
            f"{', '.join(names)}"
        )
    plain = fit_preparation(raw, features, settings.model_copy(update={"pca": None}))
    if not chosen.features:
        axes, retained = principal_axes(plain.apply(raw), 1.0, at_most=chosen.components)
        return replace(plain, rotation=axes, retained=retained)
    axes = np.zeros((len(features), len(chosen.features)))
    for place, name in enumerate(chosen.features):
        axes[names.index(name), place] = 1.0
    return replace(plain, rotation=axes, retained=None)


def _model(
    clustering: Clustering, preparation: Preparation, eps: float, settings: Segments, seed: int
) -> tuple[SegmentModel, tuple[str, ...]]:
    """Return the model, and the segment id of each cluster, noise for those too small."""
    sizes = clustering.rows.groupBy("cluster").count().collect()  # bounded by clusters
    counts = {row["cluster"]: row["count"] for row in sizes}
    merge, least = settings.small_segments == "merge", settings.min_segment_share
    large = [
        cluster
        for cluster in range(clustering.n_clusters)
        if not merge or counts[cluster] >= least * clustering.n_users
    ]
    ids = dict(zip(large, ids_by_size([counts[cluster] for cluster in large]), strict=True))
    told = representatives(clustering, large, eps, max(_REPRESENTATIVES, len(large)))
    inside = sum(counts[cluster] for cluster in large) / clustering.n_users
    model = SegmentModel(
        method="dbscan", preparation=preparation, centres=told.points,
        segment_ids=tuple(ids[cluster] for cluster in told.clusters), next_number=len(large) + 1,
        seed=seed, reach=_reach(clustering, told, eps, inside),
        assign_noise=settings.dbscan.assign_noise,
    )  # fmt: skip
    return model, tuple(ids.get(cluster, NOISE) for cluster in range(clustering.n_clusters))


def _reach(clustering: Clustering, told: Representatives, eps: float, inside: float) -> float:
    """Return the distance from the representatives beyond which a user is noise.

    Where they are too few to be within eps of every core point, it is the distance within which
    the share `inside` of all users is, who are in a cluster.
    """
    if not told.coarse:
        return eps
    rate = min(1.0, _REACH_USERS / clustering.n_users)
    drawn = clustering.rows.where(uniform(0, "user_id") < rate).select("point")
    points = drawn.toArrow()["point"].combine_chunks().flatten().to_numpy()  # some _REACH_USERS
    _, squared, _ = nearest(points.reshape(-1, clustering.dimensions), told.points)
    return max(eps, float(np.sqrt(np.quantile(squared, inside))))


def _with_shares(model: SegmentModel, rows: DataFrame, n_users: int) -> SegmentModel:
    """Add how many users the model itself places in each segment, as later runs will count."""
    placed = assign(rows, model).groupBy("segment_id").count()
    counts = {row["segment_id"]: row["count"] for row in placed.collect()}  # bounded by segments
    shares = {name: counts[name] / n_users for name in sorted(counts)}
    return replace(model, shares=shares, n_users=n_users)
