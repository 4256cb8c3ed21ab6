"""Users stay in their segment until another is clearly, or again and again, the nearer one."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settled:
    """Where each user is after the run: arrays of one length, in the order given.

    `pending_id` is the nearest segment where that is not the user's own, else None;
    `pending_runs` counts the runs in a row it has been that, this one included, else 0.
    """

    segment_id: np.ndarray
    pending_id: np.ndarray
    pending_runs: np.ndarray


def settle(
    nearest_id: np.ndarray,
    nearest_squared: np.ndarray,
    current_id: np.ndarray,
    current_squared: np.ndarray,
    pending_id: np.ndarray,
    pending_runs: np.ndarray,
    hysteresis: float,
    patience: int,
) -> Settled:
    """Return who moves: to the nearest segment at once, after `patience` runs, or not yet.

    Squared distances are to the nearest centre and to that of the user's segment. Ids are object
    arrays; None = no segment before. A user moves at once if new, if `nearest_squared` is below
    (1 - `hysteresis`) x `current_squared`, or if either distance is NaN: one of the two is no place
    ('cold', 'noise'), or the segment before no longer exists.
    """
    other = nearest_id != current_id
    # Not "less than" alone: NaN must let the user go, and compares as False.
    holds = nearest_squared >= (1 - hysteresis) * current_squared
    waiting = other & holds & (current_id != None)  # noqa: E711 - elementwise
    again = waiting & (pending_id == nearest_id)
    runs = np.where(waiting, np.where(again, pending_runs, 0) + 1, 0)
    waiting &= runs < patience
    pending = nearest_id.astype(object)
    pending[~waiting] = None
    return Settled(
        segment_id=np.where(waiting, current_id, nearest_id),
        pending_id=pending,
        pending_runs=np.where(waiting, runs, 0).astype(np.int32),
    )
