"""What a run's counts depend on beside its requests."""

import json
from typing import Any

from rehearsal.drift.bins import Bins
from rehearsal.drift.kpis import counted_kpis, ratios_of
from rehearsal.drift.narrow import outputs_of
from rehearsal.settings import Settings
from rehearsal.span import windows_between


def counted_with(
    settings: Settings, replayed_with: str | None, bins: Bins, segmentation_version: str
) -> dict[str, Any]:
    """Return what parts of a run must have in common to be counts of one thing.

    How alpha is spent is part of it: evenly over the windows to the replay's end, every window has
    another share under another end, and what was told of earlier ones would be told otherwise.

    Args:
        settings: of the rehearsal.
        replayed_with: `settings_json` of the run's replays.
        bins: what outputs are counted in.
        segmentation_version: whom users are counted for, as of the start of the replay.
    """
    drift, graded = settings.drift, settings.requests.columns.outcome is not None
    kpis = counted_kpis(settings.kpis)
    ratios = ratios_of(kpis).values()
    spending: str = drift.spending
    if spending == "even":
        spending = f"even over {windows_between(settings.replay, drift.window)} windows"
    return {
        "replays": json.loads(replayed_with) if replayed_with else None,
        "outputs": outputs_of(bins, kpis, graded=graded),
        "ratios": {one.name: f"{one.numerator} / {one.denominator}" for one in ratios},
        "bins_version": bins.version,
        "bins": drift.bins,
        "value_edges": drift.value_edges,
        "window": drift.window,
        "segmentation_version": segmentation_version,
        "segments_as_of": settings.replay.start.isoformat(),
        "spending": spending,
    }
