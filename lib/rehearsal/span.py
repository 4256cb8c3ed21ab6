"""A part of the replay's time that a step is asked to do anew."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from rehearsal.errors import SettingsError
from rehearsal.settings import Instant, Replay, Window

_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


@dataclass(frozen=True)
class Span:
    """`start` <= instant < `end`, UTC."""

    start: datetime
    end: datetime

    def over_windows(self, window: Window) -> "Span":
        """Return the smallest span of whole windows that holds this one."""
        last = self.end - timedelta(microseconds=1)
        return Span(floor(self.start, window), after(floor(last, window), window))


def read_span(since: str | None, until: str | None, replay: Replay) -> Span | None:
    """Return the span between two instants as given on a command line; None if neither is.

    Raises:
        SettingsError: an instant cannot be read, or the span is empty or outside the replay.
    """
    if since is None and until is None:
        return None
    first = _instant("--since", since) if since is not None else replay.start
    last = _instant("--until", until) if until is not None else replay.end
    span = Span(max(first, replay.start), min(last, replay.end))
    if span.start >= span.end:
        raise SettingsError(
            f"--since {first} --until {last} holds no part of the replay, "
            f"{replay.start} to {replay.end}"
        )
    return span


def _instant(option: str, text: str) -> datetime:
    try:
        return _INSTANT.validate_python(text)
    except ValidationError as error:
        raise SettingsError(
            f"{option} {text!r} is no instant; write it as 2026-03-02 or 2026-03-02T06:00 (UTC)"
        ) from error


def floor(instant: datetime, window: Window) -> datetime:
    """Return the first instant of the window that holds this one."""
    day = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    if window == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if window == "week" else day


def window_starts(first: datetime, last: datetime, window: Window) -> list[datetime]:
    """Return the first instants of the windows from the one of `first` to the one of `last`."""
    starts = [floor(first, window)]
    while (start := after(starts[-1], window)) <= last:
        starts.append(start)
    return starts


def windows_between(span: Replay, window: Window) -> int:
    """Return how many windows the replay touches, so that alpha is spent over them all."""
    return len(window_starts(span.start, span.end - timedelta(microseconds=1), window))


def after(start: datetime, window: Window) -> datetime:
    """Return the first instant after the window that starts there."""
    if window == "month":
        return floor(start + timedelta(days=31), "month")
    return start + timedelta(days=7 if window == "week" else 1)
