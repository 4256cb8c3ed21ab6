"""One run's breaches explained: which sub-populations bring them, and why they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins
from rehearsal.drift.breach import Breach, breaches_of
from rehearsal.drift.breach_requests import breach_requests
from rehearsal.drift.cells import Cells
from rehearsal.drift.dimensions import fields_of, fit_dimensions
from rehearsal.drift.drivers import COLUMNS, candidates, drivers
from rehearsal.drift.kpis import counted_kpis
from rehearsal.drift.lattice import lattice_sums
from rehearsal.drift.narrow import outputs_of
from rehearsal.drift.reasons import Known, accuracies, reasons
from rehearsal.drift.reasons_mix import mix_rows
from rehearsal.runtime import Job
from rehearsal.tables.contract import TableContract
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import DRIFT_DRIVERS, DRIFT_ONSETS, DRIFT_REASONS

_DISK = StorageLevel.MEMORY_AND_DISK


@dataclass
class _Told:
    """What counts alone tell of a run's breaches."""

    breaches: list[Breach] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    """Requests of each breaching segment, by its number."""


def explain_run(job: Job, scores: pd.DataFrame, blocks: Iterable[Cells], bins: Bins) -> None:
    """Replace the run's rows of `drift_drivers` and `drift_reasons`.

    Args:
        job: the run.
        scores: its rows of `drift_scores` in breach.
        blocks: counts of its breaching segments, some at a time.
        bins: the bins they were made with.
    """
    told = _told(job, scores, blocks, bins)
    if told.breaches:
        drive, why = _explained(job, told, bins)
    else:
        drive, why = (pd.DataFrame(columns=names) for names in (COLUMNS, ["segment_id"]))
    _replace(job, DRIFT_DRIVERS, drive)
    _replace(job, DRIFT_REASONS, why)


def _told(job: Job, scores: pd.DataFrame, blocks: Iterable[Cells], bins: Bins) -> _Told:
    settings, told = job.settings, _Told()
    graded = settings.requests.columns.outcome is not None
    names = outputs_of(bins, counted_kpis(settings.kpis), graded=graded)
    onsets = job.store.read(DRIFT_ONSETS, run_id=job.run_id).toPandas()  # a row per breach
    for cells in blocks:
        own = breaches_of(scores, onsets, cells, bins, names, settings.drift.window)
        told.breaches += own
        told.known += accuracies(own, cells)
        told.sizes |= _sizes(own, cells)
    return told


def _explained(job: Job, told: _Told, bins: Bins) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the requests of the breaches once, and pass over what is kept of them twice."""
    fields, drift, found = fields_of(job.settings), job.settings.drift, tuple(told.breaches)
    rows = breach_requests(job, bins, found, fields, sum(told.sizes.values())).persist(_DISK)
    dimensions = tuple(fit_dimensions(rows, fields, told.sizes))
    sums = lattice_sums(rows, found, dimensions).persist(_DISK)
    suggested = candidates(sums, found, dimensions)
    drive = drivers(rows, suggested, found, dimensions, drift.alpha)
    why = reasons(mix_rows(sums, found, dimensions), found, told.known, drift)
    for kept in (sums, rows):
        kept.unpersist()
    return drive, pd.DataFrame(why)


def _sizes(found: Sequence[Breach], cells: Cells) -> dict[int, int]:
    """Return how many requests each breaching segment has, by its number."""
    grid, stack = cells.grid, next(iter(cells.stacks.values()))
    names = {one.segment: one.segment_id for one in found}
    n = stack.sizes["n_requests"]
    return {number: int(n[grid.segment == name].sum()) for number, name in sorted(names.items())}


def _replace(job: Job, contract: TableContract, frame: pd.DataFrame) -> None:
    held = {field.name for field in contract.schema} - {"run_id", "segmentation_version"}
    whole = frame.reindex(columns=[name for name in contract.schema.names if name in held])
    rows = to_spark(job.spark, whole, contract)
    versioned = rows.withColumn("segmentation_version", F.lit(job.segmentation.version))
    job.store.replace(contract, versioned, run_id=job.run_id)
