"""Requests of one origin to the rows of `replays`, and the rows no model could score."""

from dataclasses import dataclass
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import SourceError
from rehearsal.names import quoted
from rehearsal.replay.kpi import kpi_map
from rehearsal.replay.model import pack_model
from rehearsal.replay.pair import probe_pair, score_pair, stored_pair
from rehearsal.replay.requests import (
    available_columns,
    default_inputs,
    offer_own_names,
    with_profiles,
)
from rehearsal.settings import STORED, RatioKpi, Settings
from rehearsal.tables.made_with import as_json

_KEPT = (
    "request_id", "user_id", "request_type", "requested_at", "production", "experimental", "kpis",
    "production_model", "experimental_model", "classes", "outcome", "settings_json",
)  # fmt: skip


@dataclass(frozen=True)
class Replayed:
    """Scored rows of `replays` (less run and origin), and (source_table, reason, row_json).

    made_with is what the rows have as `settings_json`.
    """

    rows: DataFrame
    rejected: DataFrame
    made_with: str


def replay_requests(
    requests: DataFrame, users: DataFrame | None, settings: Settings, label: str
) -> Replayed:
    """Score every request with both models, or take the outputs stored in the log.

    Args:
        requests: admitted requests.
        users: admitted profiles, or None.
        settings: models, KPIs and columns.
        label: the table the requests come from, for the quarantine.

    Raises:
        ModelError: a model cannot be loaded or answers in a wrong shape.
        SourceError: there is no request to replay.
    """
    if requests.isEmpty():
        raise SourceError(
            f"{label} holds no valid request between replay.start {settings.replay.start} and "
            f"replay.end {settings.replay.end}; set the range to one the log covers"
        )
    frame = offer_own_names(with_profiles(requests, users), settings)
    scored, names = _stored(frame, settings) if settings.models.stored else _fresh(frame, settings)
    made_with = as_json(replayed_with(settings, names))
    rows = scored.withColumns(
        {
            "kpis": kpi_map(settings.kpis, settings.requests.columns.outcome),
            "production_model": F.lit(names[0]),
            "experimental_model": F.lit(names[1]),
            "outcome": _outcome(settings),
            "settings_json": F.lit(made_with),
        }
    )
    # Both sinks read the scores; without this every request would be scored twice.
    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
    rejected = rows.where(F.col("fault").isNotNull()).select(
        F.lit(label).alias("source_table"),
        F.col("fault").alias("reason"),
        F.to_json(F.struct(*requests.columns)).alias("row_json"),
    )
    return Replayed(rows.where(F.col("fault").isNull()).select(*_KEPT), rejected, made_with)


def replayed_with(settings: Settings, models: tuple[str, str]) -> dict[str, Any]:
    """Return what parts of a replay must have in common to be one: the models, KPIs, outcome.

    Args:
        settings: of the rehearsal.
        models: production and experimental, as resolved; stored outputs are their columns.
    """
    sources = {
        "production": settings.models.production,
        "experimental": settings.models.experimental,
    }
    told = {
        side: source.stored.model_dump() if source.stored else name
        for (side, source), name in zip(sources.items(), models, strict=True)
    }
    kpis = {
        name: kpi.model_dump()
        for name, kpi in settings.kpis.items()
        if not isinstance(kpi, RatioKpi)  # made of others where they are counted
    }
    return {**told, "kpis": kpis, "outcome": settings.requests.columns.outcome}


def _outcome(settings: Settings) -> Column:
    name = settings.requests.columns.outcome
    return F.col(quoted(name)).cast("string") if name else F.lit(None).cast("string")


def _fresh(frame: DataFrame, settings: Settings) -> tuple[DataFrame, tuple[str, str]]:
    available, default = available_columns(frame.schema), default_inputs(settings)
    models = settings.models
    packed = [
        pack_model(name, str(source.uri), settings.mlflow, available, default)
        for name, source in (
            ("production", models.production),
            ("experimental", models.experimental),
        )
    ]
    pair = probe_pair(frame, packed[0], packed[1])
    return score_pair(frame, pair), (packed[0].reference, packed[1].reference)


def _stored(frame: DataFrame, settings: Settings) -> tuple[DataFrame, tuple[str, str]]:
    production, experimental = settings.models.production, settings.models.experimental
    if production.stored is None or experimental.stored is None:
        raise SourceError("stored outputs are mapped for one model only")
    return stored_pair(frame, production.stored, experimental.stored), (STORED, STORED)
