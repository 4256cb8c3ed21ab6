"""Sums of scores over every sub-population of at most two conditions, in numpy on the workers.

A conjunction of two conditions is a cell of the table of two dimensions, and tables of sums add:
each worker counts them with bincount, 2 numbers per pair of dimensions, request and breach, and
what it emits is bounded by the tables. Exploding requests into their conjunctions, or grouping
sets, would instead make a row per pair of dimensions and request before anything is added up: 45
rows of a request of 10 dimensions, through Spark's row format and a hash map.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.breach import BREACHING, Breach
from rehearsal.drift.dimensions import Dimension
from rehearsal.drift.random_groups import GROUPS, HALF

SUMS = "breach int, cell bigint, n bigint, s bigint"
_HALVES = 2


@dataclass(frozen=True)
class Lattice:
    """Where each sum of a segment lies: tables of pairs by half, then of singles by span and group.

    Pairs count the breaching windows only, singles also the baseline.
    """

    sizes: tuple[int, ...]
    """Values of each dimension."""

    @cached_property
    def pairs(self) -> tuple[tuple[int, int, int], ...]:
        """Each pair of dimensions and where its table begins, (half, first, second)."""
        found, at = [], 0
        for i, first in enumerate(self.sizes):
            for j in range(i + 1, len(self.sizes)):
                found.append((i, j, at))
                at += _HALVES * first * self.sizes[j]
        return tuple(found)

    @cached_property
    def singles(self) -> tuple[int, ...]:
        """Where the table of each dimension begins, (span, group, value)."""
        at = 0
        if self.pairs:
            i, j, last = self.pairs[-1]
            at = last + _HALVES * self.sizes[i] * self.sizes[j]
        found = []
        for size in self.sizes:
            found.append(at)
            at += 2 * GROUPS * size
        return tuple(found)

    @property
    def width(self) -> int:
        """All cells."""
        return self.singles[-1] + 2 * GROUPS * self.sizes[-1]

    def pair(self, sums: np.ndarray, place: int) -> np.ndarray:
        """Return the table of one of `pairs`, (2, K_i, K_j)."""
        i, j, at = self.pairs[place]
        shape = (_HALVES, self.sizes[i], self.sizes[j])
        return sums[at : at + int(np.prod(shape))].reshape(shape)

    def single(self, sums: np.ndarray, dimension: int) -> np.ndarray:
        """Return the table of one dimension, (2 spans, GROUPS, K)."""
        shape, at = (2, GROUPS, self.sizes[dimension]), self.singles[dimension]
        return sums[at : at + int(np.prod(shape))].reshape(shape)


def lattice_of(dimensions: Iterable[Dimension]) -> Lattice:
    """Return the lattice of a segment's dimensions."""
    return Lattice(tuple(len(dimension.value_names) for dimension in dimensions))


@dataclass(frozen=True)
class Piece:
    """Some requests of one segment: numbers by name, code of every dimension, window, group."""

    segment: int
    numbers: dict[str, np.ndarray]
    codes: list[np.ndarray]
    window: np.ndarray
    group: np.ndarray


def pieces(
    batches: Iterable[pa.RecordBatch], dimensions: tuple[tuple[Dimension, ...], ...]
) -> Iterator[Piece]:
    """Return the requests of each batch by segment; batches are in order of segment."""
    for batch in batches:
        segment = batch["segment"].to_numpy()
        starts = np.flatnonzero(np.diff(segment, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(segment)], strict=True):
            part = batch.slice(start, end - start)
            own = dimensions[segment[start]]
            yield Piece(
                int(segment[start]),
                {n: part[n].to_numpy() for n in part.schema.names if is_number(n)},
                [one.codes(part[f"f{i}"]) for i, one in enumerate(own)],
                part["window"].to_numpy(),
                part["bucket"].to_numpy().astype(np.int64),
            )


def is_number(name: str) -> bool:
    """Return whether a column is one of the numbers of `Spread`."""
    return name[0] in "xybduv" and name[1:].isdigit()


def lattice_sums(
    rows: DataFrame, breaches: tuple[Breach, ...], dimensions: tuple[tuple[Dimension, ...], ...]
) -> DataFrame:
    """Return (breach, cell, n, s): requests and their scores, in units, of every cell with any."""
    partial = rows.mapInArrow(LatticeSums(breaches, dimensions), SUMS)
    added = (F.sum(name).alias(name) for name in ("n", "s"))
    return partial.groupBy("breach", "cell").agg(*added)


@dataclass(frozen=True)
class LatticeSums:
    """Adds up what a partition's requests score in every cell of their segment's lattice.

    Called by mapInArrow with rows in order of segment.
    """

    breaches: tuple[Breach, ...]
    dimensions: tuple[tuple[Dimension, ...], ...]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Return the sums of each segment once its last request has passed."""
        held: _Held | None = None
        for piece in pieces(batches, self.dimensions):
            if held is None or held.segment != piece.segment:
                yield from held.rows() if held else ()
                held = _Held(piece.segment, lattice_of(self.dimensions[piece.segment]))
            for number, breach in enumerate(self.breaches):
                if breach.segment == piece.segment:
                    held.add(number, breach, piece)
        yield from held.rows() if held else ()


@dataclass
class _Held:
    """The sums of one segment so far."""

    segment: int
    lattice: Lattice
    sums: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, number: int, breach: Breach, piece: Piece) -> None:
        """Add a piece's requests to a breach."""
        usable, scores = breach.scores(piece.numbers, piece.window)
        phase = breach.phases(piece.window)
        spans = np.flatnonzero(usable & (phase >= 0))
        if number not in self.sums:
            self.sums[number] = np.zeros((2, self.lattice.width), np.int64)
        sums = self.sums[number]
        row = phase[spans] * GROUPS + piece.group[spans]
        for d, code in enumerate(piece.codes):
            table = [self.lattice.single(side, d) for side in sums]
            _count(table, row * self.lattice.sizes[d] + code[spans], scores[spans])
        here = np.flatnonzero(usable & (phase == BREACHING))
        half, codes = piece.group[here] // HALF, [code[here] for code in piece.codes]
        for place, (i, j, _) in enumerate(self.lattice.pairs):
            table = [self.lattice.pair(side, place) for side in sums]
            cell = (half * self.lattice.sizes[i] + codes[i]) * self.lattice.sizes[j] + codes[j]
            _count(table, cell, scores[here])

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Return the cells that hold a request."""
        for number, (n, s) in self.sums.items():
            cells = np.flatnonzero(n)
            yield sums_batch(number, cells, n[cells], s[cells])


def _count(table: list[np.ndarray], cell: np.ndarray, scores: np.ndarray) -> None:
    """Add requests and scores to the flat views of a table of each; exact, scores being whole."""
    for side, weights in zip(table, (None, scores), strict=True):
        added = np.bincount(cell, weights, side.size).astype(np.int64)
        np.add(side, added.reshape(side.shape), out=side)


def sums_batch(number: int, cells: np.ndarray, n: np.ndarray, s: np.ndarray) -> pa.RecordBatch:
    """Return rows of SUMS of one breach."""
    columns = [np.full(len(cells), number, np.int32), *(v.astype(np.int64) for v in (cells, n, s))]
    return pa.RecordBatch.from_arrays(
        [pa.array(values) for values in columns], ["breach", "cell", "n", "s"]
    )
