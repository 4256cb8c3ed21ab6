"""Which rows of which segments are trained on, and which segments train together.

Plain Python on the driver: bounded by the number of segments. Nothing depends on the cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rehearsal.settings import Generator

BIN_ROWS = 50_000
CONTEXT = 0
"""The bin of segments that only the generator of all segments learns from."""


@dataclass(frozen=True)
class Share:
    """What one segment brings: its place, its bin, and how many rows of each part.

    Parts follow one another in hash order: test, validation, training.
    """

    segment_id: str
    position: int
    bin: int
    n_logged: int
    n_test: int
    n_validation: int
    n_training: int

    @property
    def n_kept(self) -> int:
        """Rows in all."""
        return self.n_test + self.n_validation + self.n_training


def plan_shares(
    counts: Mapping[str, int], chosen: Sequence[str], settings: Generator
) -> list[Share]:
    """Return what every segment with rows brings, the chosen ones first and in their order.

    Chosen segments keep up to `max_rows`, the others up to `context_rows`, together
    `max_total_rows`: above it the chosen ones shrink in proportion, and the others share what is
    left evenly.

    Args:
        counts: usable rows per segment.
        chosen: the drifting segments.
        settings: the section `generator`.
    """
    own = {s: min(counts[s], settings.max_rows) for s in chosen if counts.get(s, 0) > 0}
    total = sum(own.values())
    if total > settings.max_total_rows:
        own = {s: max(1, n * settings.max_total_rows // total) for s, n in own.items()}
    rest = sorted(segment for segment in counts if segment not in own and counts[segment] > 0)
    left = max(settings.max_total_rows - sum(own.values()), 0)
    each = min(settings.context_rows, left // len(rest)) if rest else 0
    others = {segment: min(counts[segment], each) for segment in rest if each > 0}
    bins = pack(own)
    kept = [*own.items(), *others.items()]
    return [
        _share(segment, position, bins.get(segment, CONTEXT), counts[segment], n, settings)
        for position, (segment, n) in enumerate(kept)
    ]


def _share(
    segment: str, position: int, place: int, n_logged: int, n: int, settings: Generator
) -> Share:
    # The gate judges the chosen segments only.
    n_test = 0 if place == CONTEXT else round(n * settings.test_share)
    n_validation = min(max(1, round(n * settings.validation_share)), n - n_test)
    return Share(
        segment, position, place, n_logged, n_test, n_validation, n - n_test - n_validation
    )


def pack(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return segment -> bin, numbered from 1: largest first, into the first bin it fits.

    A bin holds at most BIN_ROWS rows, or one segment. First-fit decreasing needs at most 11/9 of
    the fewest bins, and one more (Johnson 1973).
    """
    room: list[int] = []
    bins: dict[str, int] = {}
    for segment, n in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        place = next((i for i, free in enumerate(room) if free >= n), len(room))
        if place == len(room):
            room.append(BIN_ROWS)
        room[place] -= n
        bins[segment] = place + 1
    return bins
