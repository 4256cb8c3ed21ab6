"""EM of a mixture of products of categoricals: its parameters, the sums over rows, and both steps.

The sums are exact: responsibilities are rounded to multiples of QUANTUM, whose sums a float64
holds without rounding for up to 2**37 rows. So the order of rows and how they are split changes
no bit of the fit, and sums made on a cluster equal those made here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from rehearsal.generate.models.layout import Codes, Floats, Layout

QUANTUM = 2.0**-16
# A float32 adds this many multiples of QUANTUM up to 1 without rounding: 2**8 * 2**16 = 2**24.
CHUNK_ROWS = 256
# Responsibilities of a few thousand rows stay in the processor's cache.
TINY = 1e-30
_RIDGE = 0.1
_NEWTON_STEPS = 3
_LONGEST_STEP = 1.0

Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Parameters:
    """p(row) = sum over k of weight_k(segment's profile) x product over columns of table[code, k].

    Args:
        coefficients: shape (1 + n_profile, K); the log weights are linear in the described segment.
        tables: shape (all codes, K); each column's codes sum to 1 in every component.
    """

    coefficients: Floats
    tables: Floats

    @classmethod
    def even(cls, layout: Layout) -> "Parameters":
        """Return one component whose sums are the counts of the codes."""
        return cls(np.zeros((1 + layout.n_profile, 1)), np.ones((sum(layout.sizes), 1)))

    @property
    def n_components(self) -> int:
        """K."""
        return self.tables.shape[1]

    def log_weights(self, described: Floats) -> Floats:
        """Return log weights, shape (n, K), of segments described, shape (n, 1 + n_profile)."""
        log_weights: Floats = log_softmax(described @ self.coefficients, axis=1)
        return log_weights


@dataclass(frozen=True, eq=False)
class Sums:
    """What EM needs of the rows.

    Args:
        weights: responsibilities summed per segment, shape (segments, K).
        tables: responsibilities summed per code, shape (all codes, K).
        nats: -log p of the generated columns given the conditions, summed; masks left out.
    """

    weights: Floats
    tables: Floats
    nats: float

    @classmethod
    def zero(cls, n_segments: int, n_codes: int, n_components: int) -> "Sums":
        """Return the sums of no rows."""
        return cls(np.zeros((n_segments, n_components)), np.zeros((n_codes, n_components)), 0.0)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.weights + other.weights, self.tables + other.tables, self.nats + other.nats
        )


@dataclass(frozen=True)
class Source:
    """Training rows, wherever they are.

    Args:
        profiles: shape (segments, n_profile).
        sums_of: the sums of all rows under parameters, given what describes each segment.
        centres: at most n distinct rows that a seed chooses, shape (n, columns).
    """

    profiles: Floats
    sums_of: Callable[[Parameters, Floats], Sums]
    centres: Callable[[int, int], Codes]


def describe(profiles: Floats) -> tuple[Floats, Floats]:
    """Return the mean and the spread of every number of the profiles, shape (n_profile,) each."""
    if not len(profiles):
        return np.zeros(profiles.shape[1]), np.ones(profiles.shape[1])
    spread = profiles.std(axis=0)
    return profiles.mean(axis=0), np.where(spread > 0, spread, 1.0)


def described(profiles: Floats, centre: Floats, spread: Floats) -> Floats:
    """Return 1 and the standardised profile of each segment, shape (n, 1 + n_profile)."""
    return np.column_stack([np.ones(len(profiles)), (profiles - centre) / spread])


def numbered(codes: Codes, layout: Layout) -> Codes:
    """Return codes of all columns numbered through, shape (n, columns)."""
    return codes + np.asarray(layout.starts, dtype=np.int64)


def expect(parameters: Parameters, rows: Codes, segments: Floats, layout: Layout) -> Sums:
    """Return the sums of rows.

    Args:
        parameters: the model so far.
        rows: int, shape (n, 1 + columns), the segment first.
        segments: what describes each segment, shape (segments, 1 + n_profile).
        layout: of the columns.
    """
    log_tables = np.log(np.maximum(parameters.tables, TINY)).astype(np.float32)
    log_weights = parameters.log_weights(segments).astype(np.float32)
    total = Sums.zero(len(segments), *parameters.tables.shape)
    nats = 0.0
    for chunk in _chunks(rows):
        codes = numbered(chunk[:, 1:], layout)
        shares, row_nats = _responsibilities(
            log_weights[chunk[:, 0]], log_tables, codes, layout.n_conditions
        )
        # Rounded like the responsibilities, so that they too add up exactly.
        nats += float(np.rint(row_nats / QUANTUM).sum())
        _add_at(total.tables, codes, shares)
        _add_at(total.weights, chunk[:, :1], shares)
    return Sums(total.weights * QUANTUM, total.tables * QUANTUM, nats * QUANTUM)


def _chunks(rows: Codes) -> Iterator[Codes]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS].astype(np.int64, copy=False)


def _responsibilities(
    logs: Single, log_tables: Single, codes: Codes, n_conditions: int
) -> tuple[Single, Floats]:
    """Return p(component | row) in multiples of QUANTUM, and the rows' nats."""
    known = np.zeros(len(logs))
    part = np.empty_like(logs)
    for column in range(codes.shape[1]):
        if column == n_conditions > 0:
            known = _log_sum(logs)
        np.take(log_tables, codes[:, column], axis=0, out=part, mode="clip")
        logs += part
    top = logs.max(axis=1, keepdims=True)
    logs -= top
    np.exp(logs, out=logs)
    total = logs.sum(axis=1, keepdims=True)
    logs *= np.float32(1 / QUANTUM) / total
    np.rint(logs, out=logs)
    log_p = np.log(total[:, 0], dtype=np.float64) + top[:, 0]
    return logs, known - log_p


def _log_sum(logs: Single) -> Floats:
    top = logs.max(axis=1, keepdims=True)
    summed: Floats = np.log(np.exp(logs - top).sum(axis=1), dtype=np.float64) + top[:, 0]
    return summed


def _add_at(total: Floats, codes: Codes, shares: Single) -> None:
    """Add each row's shares, shape (n, K), at each of its codes, shape (n, columns)."""
    # Only codes that occur here: a column of 10,000 categories costs no more than its rows.
    present = np.flatnonzero(np.bincount(codes.ravel(), minlength=len(total)))
    place = np.zeros(len(total), dtype=np.int64)
    place[present] = np.arange(len(present))
    held = np.zeros((len(present), len(codes)), dtype=np.float32)
    held[place[codes], np.arange(len(codes))[:, None]] = 1.0
    total[present] += held @ shares


def maximise(
    sums: Sums,
    before: Parameters,
    prior: Floats,
    smoothing: float | Floats,
    segments: Floats,
    layout: Layout,
) -> Parameters:
    """Return the parameters that make the rows behind the sums most probable.

    A component's tables have a Dirichlet prior of `smoothing` rows distributed as the whole
    table's columns; the weights of its log have a normal prior.

    Args:
        sums: of the rows.
        before: the parameters they were made with.
        prior: the tables it is drawn towards, shape (all codes, K).
        smoothing: rows that the prior counts as, per component; or one per code, (all codes, 1).
        segments: what describes each segment, shape (segments, 1 + n_profile).
        layout: of the columns.
    """
    raised = sums.tables + smoothing * prior
    tables = raised / column_totals(raised, layout)
    return Parameters(_weights(sums.weights, before.coefficients, segments), tables)


def column_totals(values: Floats, layout: Layout) -> Floats:
    """Return each column's sum over its codes, repeated for every code; shape like `values`."""
    totals = np.add.reduceat(values, np.asarray(layout.starts), axis=0)
    repeated: Floats = np.repeat(totals, layout.sizes, axis=0)
    return np.maximum(repeated, TINY)


def _weights(counts: Floats, coefficients: Floats, segments: Floats) -> Floats:
    """Return the coefficients of softmax regression on counts, shape (segments, K).

    Without profiles that is closed. Else some Newton steps from where the last iteration stopped,
    with the Hessian's diagonal blocks only, whose steps are a little short, and bounded.
    """
    width = len(coefficients)
    if width == 1:
        shares = counts.sum(axis=0) + 1.0
        closed: Floats = np.log(shares / shares.sum())[None]
        return closed
    rows = counts.sum(axis=1, keepdims=True)
    ridge = np.eye(width) * _RIDGE
    ridge[0, 0] = TINY
    for _ in range(_NEWTON_STEPS):
        expected = rows * softmax(segments @ coefficients, axis=1)
        slope = segments.T @ (counts - expected) - ridge @ coefficients
        curvature = np.einsum("sk,sp,sq->kpq", expected, segments, segments, optimize=True)
        curvature += ridge + np.eye(width)
        step = np.linalg.solve(curvature, slope.T[:, :, None])[:, :, 0].T
        coefficients = coefficients + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
    return coefficients
