"""Requests of one breaching segment through the workers' own code, without Spark."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from rehearsal.drift.attribute import Direction
from rehearsal.drift.breach import Breach
from rehearsal.drift.dimensions import Dimension
from rehearsal.drift.drivers import Members, confirmed, dense, judged
from rehearsal.drift.drivers_search import Found, search
from rehearsal.drift.lattice import LatticeSums, lattice_of
from rehearsal.drift.random_groups import GROUPS

DAY = pd.Timestamp("2026-03-02")
NUMBER = (DAY - pd.Timestamp(0)).days
UNIT = 2.0**-30


def mean_breach(*, weight: float = 1.0, baseline: int = 0) -> Breach:
    """A breach of the value's mean on the day after `baseline` days without drift."""
    days = [DAY + pd.Timedelta(days=i) for i in range(baseline + 1)]
    direction = Direction(
        "s1", "value", "mean", "mean_change", (days[-1],), np.array([weight]), np.ones(1)
    )
    return Breach(direction, 0, 0, (), 0, "day", tuple(days[:-1]), UNIT)


def batch_of(
    features: Mapping[str, np.ndarray],
    users: np.ndarray,
    scores: np.ndarray,
    day: np.ndarray | None = None,
) -> pa.RecordBatch:
    """Requests whose experimental value is `scores` above production's, 0; features f0, f1, ..."""
    n = len(users)
    columns = {
        "segment": pa.array(np.zeros(n, np.int32)),
        "window": pa.array((NUMBER + (np.zeros(n) if day is None else day)).astype(np.int32)),
        "bucket": pa.array((users * 2_654_435_761 % 2**32 % GROUPS).astype(np.int32)),
        **{f"f{i}": pa.array(v) for i, v in enumerate(features.values())},
        "x0": pa.array(np.zeros(n)),
        "y0": pa.array(np.asarray(scores, float)),
    }
    return pa.RecordBatch.from_pydict(columns)


def added(batches: list[pa.RecordBatch]) -> pd.DataFrame:
    """What the sum over partitions would give."""
    names = ["breach", "cell", "n", "s"]
    if not batches:
        return pd.DataFrame(columns=names, dtype=np.int64)
    rows = pa.Table.from_batches(batches).to_pandas()
    return rows.groupby(["breach", "cell"], as_index=False).sum()


def lattice_cells(
    breach: Breach, dimensions: tuple[Dimension, ...], *batches: pa.RecordBatch
) -> pd.DataFrame:
    return added(list(LatticeSums((breach,), (dimensions,))(batches)))


def searched(breach: Breach, dimensions: tuple[Dimension, ...], *batches: pa.RecordBatch) -> Found:
    lattice = lattice_of(dimensions)
    return search(lattice, *dense(lattice_cells(breach, dimensions, *batches), lattice.width))


def found_drivers(
    breach: Breach, dimensions: tuple[Dimension, ...], *batches: pa.RecordBatch
) -> pd.DataFrame:
    """Return the rows of `drift_drivers` of one breach."""
    found = searched(breach, dimensions, *batches)
    literals = {0: [one.literals for one in found.candidates]}
    sums = added(list(Members((breach,), (dimensions,), literals)(batches)))
    rows = list(confirmed(breach, found, (dimensions,), sums))
    names = ["segment_id", "output", "test", "size_metric", "dimension_1", "value_1", "dimension_2",
             "value_2", "n_requests", "request_share", "contribution", "share", "lift", "p_value",
             "status", "n_searched"]  # fmt: skip
    return judged(pd.DataFrame(rows, columns=names), 0.05)
