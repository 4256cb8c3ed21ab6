"""Which few sub-populations of a breaching segment bring its drift, found and confirmed apart.

What the search half of the users suggests, the other half confirms: a p-value of the users that
suggested it would be too small by as many looks as there were. The direction of the drift is taken
from all users, but it is the same for every request whatever its dimensions, and so says nothing
of which sub-population drifts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.attribute import KEYS
from rehearsal.drift.breach import BREACHING, Breach
from rehearsal.drift.dimensions import Dimension
from rehearsal.drift.drivers_search import Candidate, Found, distinct, search
from rehearsal.drift.lattice import SUMS, lattice_of, pieces, sums_batch
from rehearsal.drift.random_groups import HALF, contrast
from rehearsal.stats.multiple import q_values

COLUMNS = (
    *KEYS, "rank", "dimension_1", "value_1", "dimension_2", "value_2",
    "n_requests", "request_share", "contribution", "share", "lift", "p_value", "q_value",
    "status", "n_searched",
)  # fmt: skip
CONFIRMED, NOT_CONFIRMED = "confirmed", "not confirmed"
_CANDIDATES = (
    "breach int, position int, literals array<int>, excess double, n bigint, s bigint, "
    "n_all bigint, s_all bigint, n_searched int"
)
_GROUP_CELLS = 1 << 32
"""Cells from here on are sums per group; those below are patterns of the search half."""

Dimensions = tuple[tuple[Dimension, ...], ...]


def candidates(
    sums: DataFrame, breaches: Sequence[Breach], dimensions: Dimensions
) -> dict[int, Found]:
    """Return what the search half suggests for each breach, by its number.

    Args:
        sums: of every cell of the lattice, from `lattice_sums`; a breach's are searched together.
        breaches: of the run.
        dimensions: of each segment.
    """
    lattices = [lattice_of(dimensions[one.segment]) for one in breaches]

    def searched(cells: pd.DataFrame) -> pd.DataFrame:
        number = int(cells["breach"].iloc[0])
        found = search(lattices[number], *dense(cells, lattices[number].width))
        rows = [
            (number, position, [int(x) for pair in one.literals for x in pair], one.excess, one.n,
             one.s, one.n_all, one.s_all, found.n_searched)
            for position, one in enumerate(found.candidates)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=[part.split()[0] for part in _CANDIDATES.split(", ")])

    # Bounded by breaches x CONSIDERED.
    rows = sums.groupBy("breach").applyInPandas(searched, _CANDIDATES).collect()
    result: dict[int, Found] = {}
    for row in sorted(rows, key=lambda row: (row["breach"], row["position"])):
        flat = row["literals"]
        literals = tuple(zip(flat[::2], flat[1::2], strict=True))
        one = Candidate(literals, row["excess"], row["n"], row["s"], row["n_all"], row["s_all"])
        result.setdefault(row["breach"], Found([], row["n_searched"])).candidates.append(one)
    return result


def dense(cells: pd.DataFrame, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n and s of every cell, (width,) each; cells without requests are 0."""
    n, s = np.zeros(width, np.int64), np.zeros(width, np.int64)
    at = cells["cell"].to_numpy()
    n[at], s[at] = cells["n"].to_numpy(), cells["s"].to_numpy()
    return n, s


def drivers(
    rows: DataFrame,
    suggested: dict[int, Found],
    breaches: tuple[Breach, ...],
    dimensions: Dimensions,
    alpha: float,
) -> pd.DataFrame:
    """Return the rows of `drift_drivers`, less run and version.

    Args:
        rows: from `breach_requests`; passed over once.
        suggested: the candidates of each breach.
        breaches: of the run.
        dimensions: of each segment.
        alpha: false discovery rate over the candidates of all breaches.
    """
    literals = {
        number: [one.literals for one in found.candidates] for number, found in suggested.items()
    }
    members = Members(breaches, dimensions, literals)
    partial = rows.mapInArrow(members, SUMS)
    added = partial.groupBy("breach", "cell").agg(*(F.sum(n).alias(n) for n in ("n", "s")))
    # Bounded by breaches x (patterns of CONSIDERED bits + GROUPS x CONSIDERED).
    held = added.toPandas()
    found = [
        row
        for number in sorted(suggested)
        for row in confirmed(
            breaches[number], suggested[number], dimensions, held[held["breach"] == number]
        )
    ]
    frame = pd.DataFrame(found, columns=[n for n in COLUMNS if n not in ("rank", "q_value")])
    return judged(frame, alpha)


def judged(frame: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Rank the sub-populations of each breach, and correct for all that were tested.

    Args:
        frame: rows of `confirmed`, of all breaches.
        alpha: false discovery rate.
    """
    q = q_values(frame["p_value"].to_numpy(float)) if len(frame) else np.zeros(0)
    frame = frame.assign(q_value=q, excess=frame["share"] - frame["request_share"])
    sure = (frame["q_value"] <= alpha) & (frame["status"] == CONFIRMED)
    frame["status"] = np.where(sure, CONFIRMED, NOT_CONFIRMED)
    labels = ["dimension_1", "value_1", "dimension_2", "value_2"]
    ordered = frame.sort_values(
        [*KEYS, "excess", *labels], ascending=[True] * 4 + [False] + [True] * 4, na_position="first"
    )
    ordered["rank"] = ordered.groupby(KEYS).cumcount() + 1
    return ordered[list(COLUMNS)].reset_index(drop=True)


def confirmed(
    breach: Breach, found: Found, dimensions: Dimensions, sums: pd.DataFrame
) -> Iterator[dict[str, object]]:
    """Return the distinct candidates of a breach with their test in the confirming half.

    The status says only whether they drift more there too, not yet whether significantly.

    Args:
        breach: what breaches.
        found: what the search half suggests for it.
        dimensions: of each segment.
        sums: the breach's rows of what `Members` adds up.
    """
    grouped = sums["cell"] >= _GROUP_CELLS
    patterns = sums[~grouped].sort_values("cell")
    width = len(found.candidates) + 1
    n, s = dense(sums[grouped].assign(cell=sums["cell"] - _GROUP_CELLS), HALF * width)
    by_group = n.reshape(HALF, width), s.reshape(HALF, width)
    keys = (patterns[name].to_numpy() for name in ("cell", "n", "s"))
    own = dimensions[breach.segment]
    for k in distinct(found.candidates, *keys):
        one = found.candidates[k]
        tested = contrast(*(side[:, at] for at in (k, -1) for side in by_group))
        request_share, share = one.n / one.n_all, one.s / one.s_all
        yield {
            "segment_id": breach.segment_id,
            "output": breach.direction.output,
            "test": breach.direction.test,
            "size_metric": breach.direction.metric,
            **_conditions(own, one),
            "n_requests": one.n,
            "request_share": request_share,
            "contribution": one.s * breach.unit,
            "share": share,
            "lift": share / request_share,
            "p_value": tested.p_value,
            "status": CONFIRMED if tested.difference > 0 else NOT_CONFIRMED,
            "n_searched": found.n_searched,
        }


def _conditions(own: tuple[Dimension, ...], one: Candidate) -> dict[str, str | None]:
    named = [(own[d].name, own[d].value_names[value]) for d, value in one.literals]
    (dimension, value), (other, its) = [*named, (None, None)][:2]
    return {"dimension_1": dimension, "value_1": value, "dimension_2": other, "value_2": its}


@dataclass(frozen=True)
class Members:
    """Sums by what candidates a request is in (search half), and per group (the other half)."""

    breaches: tuple[Breach, ...]
    dimensions: Dimensions
    literals: dict[int, list[tuple[tuple[int, int], ...]]]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return rows of SUMS of every batch, one per pattern, and per group and candidate."""
        for piece in pieces(batches, self.dimensions):
            for number, conjunctions in self.literals.items():
                breach = self.breaches[number]
                if breach.segment != piece.segment:
                    continue
                usable, scores = breach.scores(piece.numbers, piece.window)
                held = usable & (breach.phases(piece.window) == BREACHING)
                inside = [self._inside(piece.codes, one) for one in conjunctions]
                sums = [
                    _patterns(inside, scores, held & (piece.group < HALF)),
                    _groups(inside, scores, held & (piece.group >= HALF), piece.group),
                ]
                yield sums_batch(number, *map(np.concatenate, zip(*sums, strict=True)))

    @staticmethod
    def _inside(codes: list[np.ndarray], literals: tuple[tuple[int, int], ...]) -> np.ndarray:
        return np.asarray(np.logical_and.reduce([codes[d] == value for d, value in literals]))


_CellSums = tuple[np.ndarray, np.ndarray, np.ndarray]


def _patterns(inside: list[np.ndarray], scores: np.ndarray, held: np.ndarray) -> _CellSums:
    """Return (cells, n, s) by pattern: bit k of a cell says whether it is in candidate k."""
    pattern = np.zeros(int(held.sum()), np.int64)
    for k, one in enumerate(inside):
        pattern |= one[held].astype(np.int64) << k
    cells, place = np.unique(pattern, return_inverse=True)
    n = np.bincount(place, minlength=len(cells))
    return cells, n, np.bincount(place, scores[held], len(cells))


def _groups(
    inside: list[np.ndarray], scores: np.ndarray, held: np.ndarray, group: np.ndarray
) -> _CellSums:
    """Return (cells, n, s) by group of the confirming half and candidate; the last is everyone."""
    members = [*(one & held for one in inside), held]
    n = np.stack([np.bincount(group[one] - HALF, minlength=HALF) for one in members], axis=1)
    s = np.stack([np.bincount(group[one] - HALF, scores[one], HALF) for one in members], axis=1)
    at = np.flatnonzero(n)
    return _GROUP_CELLS + at, n.ravel()[at], s.ravel()[at]
