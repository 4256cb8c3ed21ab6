"""A run's segments: fitted for the first time, kept, or fitted anew with ids that keep meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.seeds import derive_seed
from rehearsal.segments.adapt.change import Measures, Tally, choose_refit, decide
from rehearsal.segments.adapt.evolve import evolve
from rehearsal.segments.adapt.identity import Event, match_segments
from rehearsal.segments.adapt.since_fit import measures_since_fit, tally_users
from rehearsal.segments.assign import assign
from rehearsal.segments.cluster.centres import Panel
from rehearsal.segments.cluster.fit import fit_model, nobody, sample_users
from rehearsal.segments.cluster.fit_density import fit_density
from rehearsal.segments.feature import Feature
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.timeline import asks_anew, fingerprint
from rehearsal.settings import Segments, Settings
from rehearsal.tables.schemas import NOISE


class People(Protocol):
    """Users who can be described by one list of features or another."""

    def choose(self) -> tuple[Feature, ...]:
        """Return the features a new fit would use."""

    def describe(self, features: tuple[Feature, ...]) -> DataFrame:
        """Return the rows of `user_features` with exactly these features."""


@dataclass(frozen=True)
class Past:
    """The segmentation to go on from."""

    model: SegmentModel
    version: str
    settings_json: str
    stability: Mapping[str, float]

    @classmethod
    def of(cls, row: Mapping[str, Any], stability: Mapping[str, float]) -> "Past":
        """Return the past that a row of `segmentations` tells of."""
        model = SegmentModel.from_json(row["model_json"])
        return cls(model, row["segmentation_version"], row["settings_json"], stability)


@dataclass(frozen=True)
class Renewal:
    """The model in force from this run on, how it came to be, and by which numbers.

    `version` names the fit it goes on with, None if it is this run's own. `measured` holds psi,
    cost_ratio, far_share (None at a first fit), silhouette and cost.
    """

    model: SegmentModel
    decision: str
    reason: str
    version: str | None
    measured: Mapping[str, float | None]
    stability: Mapping[str, float]
    panels: Sequence[Panel] = ()
    k_distances: Sequence[float] = ()
    events: Sequence[Event] = ()
    n_fit_users: int | None = None
    exact: DataFrame | None = None
    kept: Sequence[DataFrame] = ()

    def release(self) -> None:
        """Free what executors hold for `exact`, once it has been read."""
        for frame in self.kept:
            frame.unpersist()


@dataclass(frozen=True)
class _Fresh:
    """A new fit by any method; `exact` is (user_id, exact_id) where it placed every user itself."""

    model: SegmentModel
    stability: Mapping[str, float]
    panels: Sequence[Panel]
    n_fit_users: int
    k_distances: Sequence[float] = ()
    exact: DataFrame | None = None
    kept: Sequence[DataFrame] = ()


def renew(people: People, past: Past | None, settings: Settings) -> Renewal:
    """Return the segments to go on with; measures first, and fits only where that asks for it.

    Raises:
        ContractError: no user has history, or too few for a fit.
    """
    chosen = settings.segments
    if past is None:
        features = people.choose()
        rows = with_history(people.describe(features), chosen)
        fit = _fit(rows, features, chosen, settings.seed)
        return _fitted(fit, fit.model, "fit", _told(fit.model, "no segments before"))
    changed = asks_anew(past.settings_json, fingerprint(settings))
    if changed:
        return _refit(people, past, settings, f"the settings changed: {changed}", None)
    rows = with_history(people.describe(past.model.preparation.features), chosen)
    now = tally_users(rows, past.model)
    if now.users.sum() == 0:
        raise nobody(chosen)
    measures = measures_since_fit(now, past.model)
    if past.model.method == "kmeans":
        return _evolved(people, past, settings, rows, now, measures)
    asked = decide(measures, chosen.adapt)
    if asked.kind == "reassign":
        return _kept(past, now, measures, asked.reason)
    return _refit(people, past, settings, asked.reason, measures)


def _evolved(
    people: People, past: Past, settings: Settings, rows: DataFrame, now: Tally, measures: Measures
) -> Renewal:
    """Keep k-means centres, settle them anew, or fit from scratch, as fits of a sample advise."""
    chosen = settings.segments
    asked = decide(measures, chosen.adapt)
    if asked.kind == "reassign":
        return _kept(past, now, measures, asked.reason)
    drawn = derive_seed(settings.seed, "fit sample")
    _, raw = sample_users(rows, chosen.fit_sample_users, drawn)
    found = evolve(
        past.model.preparation.apply(raw), past.model.centres, measures,
        range(chosen.k_min, chosen.k_max + 1), chosen.adapt, settings.seed,
        chosen.restarts, chosen.max_iterations,
    )  # fmt: skip
    if found.kind == "warm_refit":
        features = past.model.preparation.features
        fit = _fit(rows, features, chosen, settings.seed, warm=past.model)
        # Users in fewer places than there are segments leave nothing to start from.
        is_warm = len(fit.model.centres) == len(past.model.centres)
        decision = "warm_refit" if is_warm else "cold_refit"
        warm = _renamed(fit, rows, past, decision, found.reason, measures)
        return replace(warm, panels=found.panels)
    return _from_scratch(people, past, settings, found.reason, measures)


def _from_scratch(
    people: People, past: Past, settings: Settings, reason: str, measures: Measures
) -> Renewal:
    """Fit features, scaling and centres anew; another k must be better by more than chance.

    The sample's fits in the old space gave the advice; the new space has the last word on k.
    """
    chosen, k = settings.segments, len(past.model.centres)
    renewed = _refit(people, past, settings, reason, measures)
    held = next((panel for panel in renewed.panels if panel.k == k), None)
    n = renewed.n_fit_users or 0
    if held is None or len(renewed.model.centres) == k:
        return renewed
    if choose_refit(held, renewed.panels, measures, chosen.adapt, n).k != k:
        return renewed
    exactly = chosen.model_copy(update={"k_min": k, "k_max": k})
    same = _refit(people, past, settings, reason, measures, exactly)
    return replace(same, panels=renewed.panels)


def with_history(rows: DataFrame, settings: Segments) -> DataFrame:
    """Return the users that have enough history to be placed by it."""
    return rows.where(F.col("n_requests") >= settings.min_history_requests)


def _kept(past: Past, now: Tally, measures: Measures, reason: str) -> Renewal:
    measured = {
        "psi": measures.psi, "cost_ratio": measures.cost_ratio, "far_share": measures.far_share,
        # Density clusters have no centres to be near.
        "silhouette": None if past.model.cost is None else now.mean_silhouette,
        "cost": None if past.model.cost is None else now.cost,
    }  # fmt: skip
    return Renewal(past.model, "reassign", reason, past.version, measured, past.stability)


def _refit(
    people: People,
    past: Past,
    settings: Settings,
    reason: str,
    measures: Measures | None,
    chosen: Segments | None = None,
) -> Renewal:
    """Fit from scratch, features and scaling too; `chosen` may fix the number of segments."""
    features = people.choose()
    rows = with_history(people.describe(features), settings.segments)
    fit = _fit(rows, features, chosen or settings.segments, settings.seed)
    reason = _told(fit.model, reason)
    return _renamed(fit, rows, past, "cold_refit", reason, measures)


def _fit(
    rows: DataFrame,
    features: tuple[Feature, ...],
    settings: Segments,
    seed: int,
    warm: SegmentModel | None = None,
) -> _Fresh:
    if settings.method == "dbscan":
        dense = fit_density(rows, features, settings, seed)
        return _Fresh(
            dense.model, {}, (), dense.n_fit_users, dense.k_distances, dense.exact, dense.kept
        )
    fit = fit_model(rows, features, settings, seed, warm=warm)
    return _Fresh(fit.model, fit.stability, fit.panels, fit.n_fit_users)


def _told(model: SegmentModel, reason: str) -> str:
    """Say beside the reason what a density fit left out, since it looks at few dimensions."""
    if model.method != "dbscan":
        return reason
    retained, p = model.preparation.retained, model.preparation.width
    space = f"{p} features" if retained is None else f"{p} components, {retained:.0%} of variance"
    return f"{reason}; density in {space}, eps {model.reach:.3g}"


def _renamed(
    fit: _Fresh, rows: DataFrame, past: Past, decision: str, reason: str, measures: Measures | None
) -> Renewal:
    """Give new segments the ids of the old ones they go on from; say what became of each."""
    new, old = list(fit.model.segments), list(past.model.segments)
    placed = (
        assign(rows, fit.model)
        if fit.exact is None
        else rows.join(fit.exact.withColumnRenamed("exact_id", "segment_id"), "user_id")
    )
    pairs = placed.groupBy("previous_segment_id", "segment_id").count()
    counts = {(row[0], row[1]): row[2] for row in pairs.collect()}  # bounded by segments squared
    overlap = np.array([counts.get((o, n), 0) for o in old for n in new], dtype=float)
    overlap = overlap.reshape(len(old), len(new))
    lost = np.array([counts.get((o, NOISE), 0) for o in old], dtype=float)
    joined = np.array(
        [sum(c for (o, n), c in counts.items() if n == name and o not in old) for name in new],
        dtype=float,
    )
    width = max((len(name) for name in old), default=2) - 1
    matched = match_segments(
        overlap, tuple(old), _distances(fit.model, past.model, old, new), past.model.next_number,
        width, lost=lost, joined=joined,
    )  # fmt: skip
    ids = dict(zip(new, matched.new_ids, strict=True))
    model = renamed(fit.model, ids, matched.next_number)
    if fit.exact is not None and ids:
        names = F.create_map(*(F.lit(name) for pair in ids.items() for name in pair))
        known = F.coalesce(F.try_element_at(names, F.col("exact_id")), F.col("exact_id"))
        fit = replace(fit, exact=fit.exact.withColumn("exact_id", known))
    stability = {ids[name]: value for name, value in fit.stability.items()}
    return _fitted(fit, model, decision, reason, measures, matched.events, stability)


def renamed(model: SegmentModel, ids: Mapping[str, str], next_number: int) -> SegmentModel:
    """Return the model with other names for its segments."""
    return replace(
        model,
        segment_ids=tuple(ids[name] for name in model.segment_ids),
        shares={ids.get(name, name): share for name, share in model.shares.items()},
        far={ids.get(name, name): far for name, far in model.far.items()},
        next_number=next_number,
    )


def _distances(
    new: SegmentModel, old: SegmentModel, old_ids: list[str], new_ids: list[str]
) -> np.ndarray | None:
    """Distances between centres, where both models measure in the same space."""
    same = new.preparation.to_dict() == old.preparation.to_dict()
    lone = len(old_ids) == len(old.centres) and len(new_ids) == len(new.centres)
    if not same or not lone or not old_ids or not new_ids:
        return None
    gaps: np.ndarray = np.linalg.norm(old.centres[:, None, :] - new.centres[None], axis=2)
    return gaps


def _fitted(
    fit: _Fresh,
    model: SegmentModel,
    decision: str,
    reason: str,
    measures: Measures | None = None,
    events: Sequence[Event] = (),
    stability: Mapping[str, float] | None = None,
) -> Renewal:
    measured = {
        "psi": measures.psi if measures else None,
        "cost_ratio": measures.cost_ratio if measures else None,
        "far_share": measures.far_share if measures else None,
        "silhouette": model.silhouette,
        "cost": model.cost,
    }
    return Renewal(
        model, decision, reason, None, measured, fit.stability if stability is None else stability,
        fit.panels, fit.k_distances, events, fit.n_fit_users, fit.exact, fit.kept,
    )  # fmt: skip
