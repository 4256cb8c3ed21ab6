"""Rows of `drift_counts` from numpy arrays, by the workers' own code and without Spark."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from rehearsal.drift.all_users import AllUsers
from rehearsal.drift.bins import Bins
from rehearsal.drift.cells import Cells, build_cells
from rehearsal.drift.counts import layout_of
from rehearsal.drift.kpis import Kpis, ratios_of
from rehearsal.drift.layout import Layout
from rehearsal.drift.merge import Merge
from rehearsal.drift.spread import SIDES, Spread
from rehearsal.drift.tally import Tally

FIRST = pd.Timestamp("2026-03-02")


def counted(
    requests: pd.DataFrame,
    bins: Bins,
    answers: Mapping[str, np.ndarray],
    kpis: Kpis = (),
) -> pd.DataFrame:
    """Return the counts of requests in daily windows numbered from 2 March 2026.

    Args:
        requests: segment_id, window (0, 1, ...), request_type, user (whole numbers).
        bins: edges and classes.
        answers: "production value", "experimental value" (n,), "production class",
            "experimental class" (n, K), and likewise for each KPI.
        kpis: names of KPIs, and ratios of those that `answers` has.
    """
    layout, ratios = layout_of(bins, kpis, graded=False), ratios_of(kpis)
    names = tuple(output.name for output in layout.outputs)
    columns: dict[str, pa.Array] = {
        "user": pa.array(requests["user"].to_numpy(np.int64)),
        "request_type": pa.array(requests["request_type"], pa.string()),
        "window": pa.array(requests["window"].to_numpy(np.int32)),
    }
    sides = {f"{side} {ratio.name}": answers[f"{side} {ratio.numerator}"]
             for ratio in ratios.values() for side in SIDES}  # fmt: skip
    sides |= {f"{side} per {ratio.name}": answers[f"{side} {ratio.denominator}"]
              for ratio in ratios.values() for side in SIDES}  # fmt: skip
    for name, values in {**answers, **sides}.items():
        vectors = values.ndim == 2
        columns[name] = pa.array(list(values) if vectors else values)
    batch = pa.RecordBatch.from_pydict(columns)
    (numbers,) = list(Spread(names, bins.classes, frozenset(ratios))([batch]))
    table = pa.Table.from_batches([numbers])
    table = table.append_column("segment_id", pa.array(requests["segment_id"], pa.string()))
    return _merged(layout, bins, table)


def _merged(layout: Layout, bins: Bins, table: pa.Table) -> pd.DataFrame:
    partial = pa.Table.from_batches(list(Tally(layout, bins.edges).sums(table, 0)))
    keys = [(name, "ascending") for name in ("segment_id", "window", "request_type", "piece")]
    whole = Merge(layout)(partial.sort_by(keys).to_batches())
    rows = pa.Table.from_batches(list(whole)).to_pandas()
    day = pd.Timedelta(days=1)
    return rows.assign(
        granularity="day",
        window_start=FIRST + rows["window"] * day,
        window_end=FIRST + (rows["window"] + 1) * day,
    ).drop(columns="window")


def blocks(
    counts: pd.DataFrame, bins: Bins, segments: Sequence[str] = ()
) -> list[tuple[pd.DataFrame, Cells]]:
    """Return what `contributions` takes: the segments at once, then all users."""
    cells = build_cells(whole(counts), bins, segments)
    every = AllUsers(cells.grid.windows)
    every.added(cells)
    return [(typed(counts), one) for one in (cells, every.cells)]


def whole(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all request types together."""
    return counts[counts["request_type"].isna()]


def typed(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows per request type."""
    return counts[counts["request_type"].notna()]
