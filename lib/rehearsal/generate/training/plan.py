"""Which rows of which segments are trained on, and which segments train together.

Plain Python on the driver: bounded by the number of segments. Nothing depends on the cluster.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from rehearsal.errors import SettingsError
from rehearsal.generate.training.stage import TEST, TRAINING, VALIDATION
from rehearsal.settings import Generator
from rehearsal.tables.schemas import COLD, NOISE

BIN_ROWS = 50_000
CONTEXT = 0
"""The bin of segments that only the generator of all segments learns from."""
Counts = Mapping[tuple[str, str], int]
"""Sound rows by segment and part."""


class Parts(NamedTuple):
    """Rows of each part."""

    test: int
    validation: int
    training: int


@dataclass(frozen=True)
class Share:
    """What one segment brings: its place, its bin, and how many rows of each part.

    Args:
        segment_id: of the segment.
        position: its place among all.
        bin: which segments it trains with.
        logged: rows there are.
        kept: rows of them that are used.
    """

    segment_id: str
    position: int
    bin: int
    logged: Parts
    kept: Parts

    @property
    def n_test(self) -> int:
        """Rows the gate judges by."""
        return self.kept.test

    @property
    def n_validation(self) -> int:
        """Rows that decide when training stops."""
        return self.kept.validation

    @property
    def n_training(self) -> int:
        """Rows that are fitted."""
        return self.kept.training

    @property
    def n_learnt(self) -> int:
        """Rows that training sees: `min_rows` of them let a segment add something itself."""
        return self.n_training + self.n_validation

    @property
    def n_kept(self) -> int:
        """Rows in all."""
        return sum(self.kept)


def plan_shares(counts: Counts, chosen: Sequence[str], settings: Generator) -> list[Share]:
    """Return what every segment with rows brings, the chosen ones first and in their order.

    Chosen segments keep up to `max_rows`, the others up to `context_rows`, together
    `max_total_rows`: above it the chosen ones shrink in proportion, and the others share what is
    left evenly. What a segment keeps is of all its parts, in proportion.

    Args:
        counts: sound rows by (segment, part).
        chosen: the drifting segments.
        settings: the section `generator`.
    """
    found = _logged(counts, {segment for segment, _ in counts}, chosen)
    logged = {segment: parts for segment, parts in found.items() if sum(parts) > 0}
    own = {s: min(sum(logged[s]), settings.max_rows) for s in chosen if s in logged}
    total = sum(own.values())
    if total > settings.max_total_rows:
        own = {s: max(1, n * settings.max_total_rows // total) for s, n in own.items()}
    rest = sorted(segment for segment in logged if segment not in own)
    left = max(settings.max_total_rows - sum(own.values()), 0)
    each = min(settings.context_rows, left // len(rest)) if rest else 0
    others = {segment: min(sum(logged[segment]), each) for segment in rest if each > 0}
    return _shares(logged, own, others)


def plan_private(
    counts: Counts, chosen: Sequence[str], known: Sequence[str], settings: Generator
) -> list[Share]:
    """Return what every segment brings, the chosen ones first, then all known in order of names.

    Every row is in, and a segment keeps its place also when it has none (see `private_rows`). The
    counts decide where rows are staged, and whether there are too many; nothing that is learnt.

    Args:
        counts: sound rows by (segment, part).
        chosen: the drifting segments.
        known: all segments.
        settings: the section `generator`.

    Raises:
        SettingsError: there are more rows than `max_total_rows`.
    """
    others = sorted({*known, COLD, NOISE} - set(chosen))
    logged = _logged(counts, [*chosen, *others], chosen)
    sizes = {segment: sum(parts) for segment, parts in logged.items()}
    total = sum(sizes.values())
    if chosen and total > settings.max_total_rows:
        raise SettingsError(
            f"generator.private: {total:,} requests, generator.max_total_rows is "
            f"{settings.max_total_rows:,}. No cap on the total may leave rows out in private mode "
            "(a user who leaves would let others in): raise max_total_rows to what the driver "
            "can hold, lower private.max_user_rows, or shorten the replay range"
        )
    own, rest = ({s: sizes[s] for s in segments} for segments in (chosen, others))
    return _shares(logged, own, rest)


def _logged(counts: Counts, segments: Iterable[str], chosen: Sequence[str]) -> dict[str, Parts]:
    """Return the rows of each segment that may be used."""
    # The gate judges the chosen segments only; other segments' test rows are in no part, so that a
    # user who comes to a chosen segment later brings none that was trained on.
    judged = frozenset(chosen)
    return {
        segment: Parts(
            counts.get((segment, TEST), 0) if segment in judged else 0,
            counts.get((segment, VALIDATION), 0),
            counts.get((segment, TRAINING), 0),
        )
        for segment in segments
    }


def _shares(
    logged: Mapping[str, Parts], own: Mapping[str, int], others: Mapping[str, int]
) -> list[Share]:
    bins = pack(own)
    return [
        Share(
            segment, position, bins.get(segment, CONTEXT), logged[segment],
            apportioned(logged[segment], n),
        )
        for position, (segment, n) in enumerate([*own.items(), *others.items()])
    ]  # fmt: skip


def apportioned(logged: Parts, n: int) -> Parts:
    """Return n of the rows, of each part in proportion, and never more than it has."""
    total = max(1, sum(logged))
    ends = [n * end // total for end in accumulate(logged, initial=0)]
    return Parts(*(after - before for before, after in pairwise(ends)))


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
