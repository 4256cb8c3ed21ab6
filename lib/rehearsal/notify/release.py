"""What is told of one run, read from its tables."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from pyspark.sql import functions as F

from rehearsal.errors import ContractError
from rehearsal.notify.breaches import ALL, COLUMNS, Breach, breaches
from rehearsal.runtime import Job
from rehearsal.settings import ModelSource
from rehearsal.tables.schemas import ALERTS, DRIFT_SCORES, REPLAYS


@dataclass(frozen=True)
class Release:
    """One run: the two models, how many segments were scored, and the rows of `alerts`."""

    run_id: str
    production_model: str
    experimental_model: str
    n_segments: int
    report: str
    alerts: pd.DataFrame

    @cached_property
    def breaches(self) -> tuple[Breach, ...]:
        """One per segment, and one for all users if they breach, the worst first."""
        return breaches(self.alerts)

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
    rows = job.store.read(ALERTS, run_id=job.run_id)
    return Release(
        run_id=job.run_id,
        production_model=production,
        experimental_model=experimental,
        n_segments=_scored_segments(job),
        report=job.settings.notify.report_url or str(Path(job.settings.output.report).resolve()),
        alerts=rows.select(*COLUMNS).toPandas(),
    )


def _scored_segments(job: Job) -> int:
    scores = job.store.read(DRIFT_SCORES, run_id=job.run_id)
    found = scores.agg(F.count("*").alias("n"), F.count_distinct("segment_id").alias("k")).head()
    if found is None or found["n"] == 0:
        raise ContractError(
            f"drift_scores has no rows of run {job.run_id}; "
            f"`rehearsal {DRIFT_SCORES.made_by}` with the same run id makes them"
        )
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
    return model.uri or "stored"
