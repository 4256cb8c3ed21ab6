"""What is told of one run, read from its tables."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from pyspark.sql import functions as F

from rehearsal.notify.breaches import (
    ALL,
    COLUMNS,
    ONSET_COLUMNS,
    BreachingSegment,
    breaching_segments,
)
from rehearsal.runtime import Job
from rehearsal.seeds import short_hash
from rehearsal.settings import STORED, ModelSource
from rehearsal.tables.contract import no_rows_of
from rehearsal.tables.schemas import ALERTS, DRIFT_ONSETS, DRIFT_SCORES, REPLAYS


@dataclass(frozen=True)
class Release:
    """One run: the two models, how many segments were scored, and what its tables say of them."""

    run_id: str
    segmentation: str
    production_model: str
    experimental_model: str
    n_segments: int
    report: str
    alerts: pd.DataFrame
    onsets: pd.DataFrame

    @property
    def key(self) -> str:
        """Identify the pair of models and the history of segments, whose ids are its own.

        Stored outputs do not say whose they are, so that each run of them is a release of its own.
        """
        models = (self.production_model, self.experimental_model)
        return short_hash(self.segmentation, *models, *([self.run_id] if STORED in models else []))

    @cached_property
    def breaches(self) -> tuple[BreachingSegment, ...]:
        """One per segment, and one for all users if they breach, the worst first."""
        return breaching_segments(self.alerts, self.onsets)

    @property
    def n_breaching(self) -> int:
        """How many segments breach; all users together are none."""
        return sum(one.segment_id != ALL for one in self.breaches)


def read_release(job: Job) -> Release:
    """Read one run; what comes to the driver is bounded by segments x windows x metrics.

    Raises:
        ContractError: the run was not scored, so that no alerts would not mean no breach.
    """
    production, experimental = _models(job)
    n_segments = _scored_segments(job)
    alerts, onsets = (job.store.read(one, run_id=job.run_id) for one in (ALERTS, DRIFT_ONSETS))
    return Release(
        run_id=job.run_id,
        segmentation=job.settings.segments.name,
        production_model=production,
        experimental_model=experimental,
        n_segments=n_segments,
        report=job.settings.notify.report_url or str(Path(job.settings.output.report).resolve()),
        alerts=alerts.select(*COLUMNS).toPandas(),
        onsets=onsets.select(*ONSET_COLUMNS).toPandas(),
    )


def _scored_segments(job: Job) -> int:
    scores = job.store.read(DRIFT_SCORES, run_id=job.run_id)
    found = scores.agg(F.count("*").alias("n"), F.count_distinct("segment_id").alias("k")).head()
    if found is None or found["n"] == 0:
        raise no_rows_of(DRIFT_SCORES, job.run_id)
    return int(found["k"])


def _models(job: Job) -> tuple[str, str]:
    """Return both models as the replay resolved them, or as configured if its rows are gone."""
    if job.store.exists(REPLAYS):
        replays = job.store.read(REPLAYS, run_id=job.run_id, origin="logged")
        row = replays.select("production_model", "experimental_model").head()
        if row is not None:
            return row["production_model"], row["experimental_model"]
    models = job.settings.models
    return _configured(models.production), _configured(models.experimental)


def _configured(model: ModelSource) -> str:
    return model.uri or STORED
