"""Where EM starts: at distinct rows that are chosen alike wherever the rows are."""

import numpy as np
from numpy.typing import NDArray

from rehearsal.generate.models.em import Parameters
from rehearsal.generate.models.layout import Codes, Floats, Layout

CENTRE_SHARE = 0.5

Hashes = NDArray[np.uint64]


def start_at(centres: Codes, tables: Floats, width: int) -> Parameters:
    """Return components that each prefer one row's codes.

    Args:
        centres: codes numbered through, shape (K, columns).
        tables: what they are drawn towards, shape (all codes, K) or (all codes, 1).
        width: 1 + n_profile.
    """
    started = np.repeat(1 - CENTRE_SHARE, len(centres)) * tables
    started[centres, np.arange(len(centres))[:, None]] += CENTRE_SHARE
    return Parameters(np.zeros((width, len(centres))), started)


def distinct_rows(rows: Codes, n: int, seed: int) -> Codes:
    """Return the n distinct rows whose hash is lowest, in the order of their hashes.

    The hash depends on (seed, the row's codes) alone; so the lowest of all rows are among the
    lowest of every part of them.
    """
    _, first = np.unique(_hashes(rows, seed), return_index=True)
    chosen: Codes = rows[first[:n]]
    return chosen


def _hashes(rows: Codes, seed: int) -> Hashes:
    hashes: Hashes = np.full(len(rows), seed, dtype=np.uint64)
    for column in rows.T:
        hashes = _mixed(hashes ^ column.astype(np.uint64))
    return hashes


def _mixed(values: Hashes) -> Hashes:
    """Return 64 well mixed bits: Steele, Lea, Flood 2014, "Fast splittable pseudorandom...", s. 3."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
