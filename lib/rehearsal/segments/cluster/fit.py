"""A segmentation fitted to all users: searched on a sample, finished and measured on everyone.

The sample depends on (seed, user) alone and comes to the driver; the passes over all users add
integers. So a fit is the same on any cluster, which MLlib's own k-means is not (SPARK-21679).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

from rehearsal.errors import ContractError
from rehearsal.seeds import derive_seed, hash_order
from rehearsal.segments.assign import feature_matrix, list_array
from rehearsal.segments.cluster.centres import Panel, stability
from rehearsal.segments.cluster.measure import Measured, measure
from rehearsal.segments.cluster.methods import Draft, cheaper_on_all, cold_draft, warm_draft
from rehearsal.segments.feature import Feature
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.preparation import Preparation, fit_preparation
from rehearsal.settings import Segments

_MISSED = 1.03  # cost of all users over that of the sample from which the sample missed something
_PAYS, _PASSES = 1e-3, 2  # share of the cost that a pass over all users must save; passes at most


@dataclass(frozen=True)
class Fit:
    """A fitted model and what speaks for it.

    Attributes:
        model: places users.
        measured: all users against it.
        panels: what each k gives on the sample; empty after a warm start.
        stability: segment -> mean Jaccard over bootstrap fits, 0..1.
        n_fit_users: users in the sample.
    """

    model: SegmentModel
    measured: Measured
    panels: tuple[Panel, ...]
    stability: dict[str, float]
    n_fit_users: int


def fit_model(
    rows: DataFrame,
    features: Sequence[Feature],
    settings: Segments,
    seed: int,
    ks: Sequence[int] | None = None,
    warm: SegmentModel | None = None,
) -> Fit:
    """Return the segmentation of users by kmeans, bisecting or mixture.

    Args:
        rows: (user_id, features ARRAY<DOUBLE>), nulls in the arrays allowed; passed over a few
            times, so read from a table.
        features: what each position is.
        settings: method, range of k, sample size, restarts, weights of feature groups.
        seed: with user ids, all that the result depends on.
        ks: numbers of segments to try; default: `k_min` to `k_max`.
        warm: a model of the same features to start from: its number of centres and their ids are
            kept, its preparation is fitted anew. Not where users are in fewer places than that.

    Raises:
        ContractError: fewer users with history than `k_min`.
    """
    _, raw = sample_users(rows, settings.fit_sample_users, derive_seed(seed, "fit sample"))
    ks = list(ks or range(settings.k_min, settings.k_max + 1))
    if len(raw) == 0:
        raise nobody(settings)
    if len(raw) < min(ks):
        raise ContractError(
            f"only {len(raw)} users have {settings.min_history_requests} or more requests before "
            f"the replay, too few for segments.k_min={min(ks)}; lengthen segments.history_days "
            "or lower segments.k_min"
        )
    preparation = fit_preparation(raw, features, settings)
    points = preparation.apply(raw)
    draft = None
    if warm is not None:
        draft = warm_draft(points, warm.assign(raw).labels, warm, settings)
    if draft is None:
        warm, draft = None, cold_draft(rows.sparkSession, points, settings, seed, ks)
    model = _drafted(draft, preparation, settings, seed, warm)
    model, measured = _finished(rows, model, draft, settings)
    sure = stability(points, model.centres, seed, mixture=model.mixture)
    if warm is None:
        model, measured, sure = _named_by_size(model, measured, sure)
    named = dict(zip(model.segments, sure.tolist(), strict=True))
    return Fit(_with_facts(model, measured), measured, draft.panels, named, len(raw))


def nobody(settings: Segments) -> ContractError:
    """Return the error that no user has history to be placed by."""
    return ContractError(
        f"no user has {settings.min_history_requests} or more requests before the replay; "
        "lengthen segments.history_days or lower segments.min_history_requests"
    )


def sample_users(rows: DataFrame, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (n,) and raw features (n, d) of at most n users, drawn by a hash of their id.

    The same users in the same order on any partitioning. A count tells below which hash n users
    lie, so that all but them are dropped where they are read, and only they are sorted.
    """
    order = hash_order(seed, "user_id")
    n_all = rows.count()
    few = rows.select("user_id", "features", order.alias("drawn"))
    expected = n + 8.0 * np.sqrt(n)  # short of n once in 10^15
    if n_all > expected:
        few = few.where(F.col("drawn") < int((expected / n_all) * 2.0**64) - 2**63)
    # Bounded by n.
    table = few.orderBy("drawn", "user_id").limit(n).select("user_id", "features").toArrow()
    width = len(table["features"][0]) if table.num_rows else 0
    matrix = feature_matrix(table["features"].combine_chunks(), width)
    return table["user_id"].to_numpy(), matrix


def points_of(rows: DataFrame, preparation: Preparation) -> DataFrame:
    """Return (user_id, point ARRAY<DOUBLE>) of rows (user_id, features)."""

    def prepare(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            raw = feature_matrix(batch.column("features"), len(preparation.features))
            points = list_array(preparation.apply(raw))
            yield pa.RecordBatch.from_arrays(
                [batch.column("user_id"), points], ["user_id", "point"]
            )

    schema = StructType([rows.schema["user_id"], StructField("point", ArrayType(DoubleType()))])
    return rows.select("user_id", "features").mapInArrow(prepare, schema)


def ids_by_size(counts: Sequence[int]) -> tuple[str, ...]:
    """Return the id of each of several segments by users: the largest is s1, of equal ones first.

    Numbers are padded to one width, so that ids sort as they rank.
    """
    width = len(str(len(counts)))
    ids = [""] * len(counts)
    for number, index in enumerate(np.argsort(-np.asarray(counts), kind="stable"), start=1):
        ids[index] = f"s{number:0{width}d}"
    return tuple(ids)


def _drafted(
    draft: Draft,
    preparation: Preparation,
    settings: Segments,
    seed: int,
    warm: SegmentModel | None,
) -> SegmentModel:
    k = len(draft.centres)
    ids = ids_by_size([1] * k) if warm is None else warm.segment_ids
    return SegmentModel(
        method=settings.method,
        preparation=preparation,
        centres=draft.centres,
        segment_ids=ids,
        next_number=k + 1 if warm is None else warm.next_number,
        seed=seed,
        mixture=draft.mixture,
    )


def _finished(
    rows: DataFrame, model: SegmentModel, draft: Draft, settings: Segments
) -> tuple[SegmentModel, Measured]:
    """Return the model with centres settled on all users, and its measures of them.

    Where all users cost more than the sample lets expect, something rare escaped it: k-means of
    MLlib on all users is tried as well. Then Lloyd's algorithm goes over all users as long as
    that pays, which after a sample of some size is seldom: the measures alone tell what moving
    each centre to the mean of its users would save.
    """
    measured = measure(rows, model)
    if model.mixture is not None:
        return model, measured
    if measured.cost > _MISSED * draft.cost and settings.method == "kmeans":
        model, measured = cheaper_on_all(rows, model, measured, settings)
    for _ in range(_PASSES):
        has_users = (measured.counts > 0)[:, None]
        centres = np.where(has_users, measured.means, model.centres)
        moved = ((centres - model.centres) ** 2).sum(axis=1)
        if (moved * measured.counts).sum() / measured.n_users <= _PAYS * measured.cost:
            break
        model = replace(model, centres=centres)
        measured = measure(rows, model)
    return model, measured


def _named_by_size(
    model: SegmentModel, measured: Measured, sure: np.ndarray
) -> tuple[SegmentModel, Measured, np.ndarray]:
    """Put centres in order of their segment's size, so that s1 is the largest."""
    order = np.argsort(-measured.counts, kind="stable")
    mixture = model.mixture and model.mixture.take(order)
    model = replace(model, centres=model.centres[order], mixture=mixture)
    by_segment = {name: getattr(measured, name)[order] for name in ("counts", "means", "far")}
    return model, replace(measured, **by_segment), sure[order]


def _with_facts(model: SegmentModel, measured: Measured) -> SegmentModel:
    shares = measured.counts / measured.n_users
    return replace(
        model,
        shares=dict(zip(model.segments, shares.tolist(), strict=True)),
        far=dict(zip(model.segments, measured.far.tolist(), strict=True)),
        cost=measured.cost,
        silhouette=measured.silhouette,
        n_users=measured.n_users,
    )
