"""Try again after a pause, a bounded number of times."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 8.0

Pause = Callable[[float], None]


@dataclass(frozen=True)
class Outcome:
    """How it ended: `reason` is None if it worked, else why the last attempt did not."""

    reason: str | None
    n_attempts: int


def with_retries(
    once: Callable[[], str | None], attempts: int, pause: Pause = time.sleep
) -> Outcome:
    """Call `once` until it returns None, with pauses of 1, 2, 4, 8, 8, ... seconds between.

    Args:
        once: one attempt; returns why it failed, or None.
        attempts: the most calls, at least 1.
        pause: waits that many seconds.
    """
    reason = once()
    done = 1
    while reason is not None and done < attempts:
        pause(min(_FIRST_PAUSE_S * 2 ** (done - 1), _LONGEST_PAUSE_S))
        reason = once()
        done += 1
    return Outcome(reason, done)
