"""What a part of a run is compared by: everything its rows depend on, told by name."""

import json
from typing import Any

import pytest
from shared import plain_settings

from rehearsal.drift.bins import Bins
from rehearsal.drift.counted_with import counted_with
from rehearsal.replay.replay import replayed_with
from rehearsal.settings import Settings
from rehearsal.tables.made_with import as_json, changes

BINS = Bins((0.5,), ("no", "yes"))
KPIS = {"yes_rate": {"kind": "class_rate", "label": "yes"}}


def told(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """As they are compared: what is kept has been text."""
    return list(changes(json.loads(as_json(before)), json.loads(as_json(now))))


def counted(
    settings: Settings, bins: Bins = BINS, segmentation: str = "v1", replays: str | None = None
) -> dict[str, Any]:
    return counted_with(settings, replays, bins, segmentation)


def test_the_same_settings_are_the_same_text_whatever_their_order() -> None:
    assert as_json({"b": 1, "a": {"d": (1.5,), "c": None}}) == '{"a":{"c":null,"d":[1.5]},"b":1}'
    assert told(counted(plain_settings(kpis=KPIS)), counted(plain_settings(kpis=KPIS))) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"drift": {"window": "day"}},
         ['spending was "even over 53 windows", is "even over 365 windows" now',
          'window was "week", is "day" now']),
        ({"drift": {"bins": 20}}, ["bins was 10, is 20 now"]),
        ({"drift": {"value_edges": [0.5]}}, ["value_edges was null, is [0.5] now"]),
        ({"kpis": {}},
         [('outputs was ["value", "class", "missing", "yes_rate"], '
           'is ["value", "class", "missing"] now')]),
        ({"columns": {"outcome": "bought"}},
         [('outputs was ["value", "class", "missing", "yes_rate"], '
           'is ["value", "class", "missing", "calibration", "log_loss", "yes_rate"] now')]),
        ({"start": "2026-02-01", "drift": {"spending": "endless"}},
         ['segments_as_of was "2026-01-01T00:00:00+00:00", is "2026-02-01T00:00:00+00:00" now',
          'spending was "even over 53 windows", is "endless" now']),
        ({"drift": {"spending": "endless"}},
         ['spending was "even over 53 windows", is "endless" now']),
        ({"replay": {"start": "2026-01-01", "end": "2027-01-08"}},
         ['spending was "even over 53 windows", is "even over 54 windows" now']),
        # What is made of the counts afterwards may change.
        ({"drift": {"alpha": 0.01, "min_users": 40, "thresholds": {"psi": 0.2}}}, []),
    ],
)  # fmt: skip
def test_what_counts_depend_on_is_told_by_name(
    changed: dict[str, Any], expected: list[str]
) -> None:
    before = counted(plain_settings(kpis=KPIS))
    assert told(before, counted(plain_settings(**{"kpis": KPIS} | changed))) == expected


def test_an_endless_replay_may_grow() -> None:
    endless = {"drift": {"spending": "endless"}}
    longer = plain_settings(replay={"start": "2026-01-01", "end": "2028-01-01"}, **endless)
    assert told(counted(plain_settings(**endless)), counted(longer)) == []


def test_other_bins_segments_and_replays_are_told() -> None:
    settings = plain_settings(kpis=KPIS)
    first = as_json(replayed_with(settings, ("models:/m/1", "models:/m/2")))
    other = Bins((0.4,), ("no", "yes"))
    assert told(counted(settings, replays=first), counted(settings, other, "v2")) == [
        f'bins_version was "{BINS.version}", is "{other.version}" now',
        "replays was not there, is null now",
        'replays.experimental was "models:/m/2", is not there now',
        'replays.kpis.yes_rate.kind was "class_rate", is not there now',
        'replays.kpis.yes_rate.label was "yes", is not there now',
        "replays.outcome was null, is not there now",
        'replays.production was "models:/m/1", is not there now',
        'segmentation_version was "v1", is "v2" now',
    ]


def test_replays_depend_on_models_kpis_and_outcome() -> None:
    def stored(column: str) -> dict[str, Any]:
        return {"models": {side: {"stored": {"value": f"{side} {column}"}}
                           for side in ("production", "experimental")}}  # fmt: skip

    names = ("models:/m/1", "models:/m/2")
    before = replayed_with(plain_settings(kpis=KPIS), names)
    assert told(before, replayed_with(plain_settings(kpis=KPIS), names)) == []
    other = plain_settings(kpis={"yes_rate": {"kind": "class_rate", "label": "no"}},
                           columns={"outcome": "bought"})  # fmt: skip
    assert told(before, replayed_with(other, (names[0], "models:/m/3"))) == [
        'experimental was "models:/m/2", is "models:/m/3" now',
        'kpis.yes_rate.label was "yes", is "no" now',
        'outcome was null, is "bought" now',
    ]
    mapped = [replayed_with(plain_settings(**stored(one)), ("stored", "stored")) for one in "ab"]
    assert told(*mapped) == [
        'experimental.value was "experimental a", is "experimental b" now',
        'production.value was "production a", is "production b" now',
    ]
