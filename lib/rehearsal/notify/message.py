"""One run's breaches as one message."""

from dataclasses import dataclass
from textwrap import shorten

from rehearsal.notify.breaches import ALL, BreachingSegment
from rehearsal.notify.release import Release

_MAX_LINES, _MAX_NAME = 20, 60


@dataclass(frozen=True)
class Message:
    """Plain text; every sink gets it in its own format."""

    title: str
    body: str


def compose(release: Release) -> Message:
    """Return the message of a run that has breaches.

    The link comes before the segments, and the worst segments first: services cut what is too
    long for them at the end.
    """
    found = release.breaches
    new, old = release.experimental_model, release.production_model
    lines = [
        f"{new} (experimental) against {old} (production)",
        f"Report: {release.report}",
        *(_line(one) for one in found[:_MAX_LINES]),
    ]
    more = len(found) - _MAX_LINES
    return Message(_title(release), "\n".join([*lines, f"and {more} more"] if more > 0 else lines))


def _title(release: Release) -> str:
    n = release.n_breaching
    if n == 0:
        return f"Rehearsal {release.run_id}: all users together drift"
    verb = "drifts" if n == 1 else "drift"
    return f"Rehearsal {release.run_id}: {n} of {release.n_segments} segments {verb}"


def _line(one: BreachingSegment) -> str:
    # Names are made of the users' own values, which may hold line breaks.
    name = shorten(one.name, _MAX_NAME, placeholder=" …")
    who = name if one.segment_id == ALL else f"{one.segment_id} ({name})"
    return (
        f"- {who}: {one.metric} of {one.output} {one.score:.3g}, "
        f"{one.ratio:.1f} × its threshold, since {one.since}"
    )
