"""Where a run stands in a history of segments: it goes on from the newest one, or finds it made.

A history grows at its end only. At one instant one run decides; running it again replaces what it
wrote while nothing later builds on it. A run whose instant the history already covers uses the
segments that held then, so that a replay of an old period is scored with the segments of its time.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from rehearsal.errors import ContractError
from rehearsal.settings import Settings


@dataclass(frozen=True)
class Place:
    """What to do: `held_by` names the run whose segments hold already, else go on.

    `previous` is the row of `segmentations` to go on from, None at the start of a history;
    `before` are the runs that made the history up to here; `steady` those of them since the last
    fit from scratch that left the segments' borders where they were.
    """

    held_by: str | None
    previous: dict[str, Any] | None
    before: tuple[str, ...]
    steady: tuple[str, ...] = ()


def place(past: pd.DataFrame, run_id: str, valid_from: datetime, settings: Settings) -> Place:
    """Return where a run at `valid_from` stands among the rows of `segmentations`.

    Args:
        past: rows of one history; bounded by its runs.
        run_id: the run.
        valid_from: the instant its segments would hold from, UTC.
        settings: compared with those of a run at the same instant.

    Raises:
        ContractError: the history begins later, or another run made other segments for the
            same instant.
    """
    instant = pd.Timestamp(valid_from).tz_convert(None)
    others = past[past["run_id"] != run_id].sort_values("valid_from")
    later = others[others["valid_from"] >= instant]
    if later.empty:
        last = others.to_dict("records")[-1:]
        previous = {str(key): value for key, value in last[0].items()} if last else None
        return Place(None, previous, tuple(others["run_id"]), _steady(others))
    name = settings.segments.name
    covering = past[past["valid_from"] <= instant].sort_values("valid_from")
    if covering.empty:
        first = past["valid_from"].min()
        raise ContractError(
            f"the history of segments {name!r} begins at {first:%Y-%m-%d %H:%M}, after this run's "
            f"{instant:%Y-%m-%d %H:%M}; give this run a history of its own with segments.name"
        )
    held = covering.iloc[-1]
    if held["valid_from"] == instant and held["settings_json"] != fingerprint(settings):
        raise ContractError(
            f"run {held['run_id']} made the segments {name!r} of {instant:%Y-%m-%d %H:%M} with "
            f"other settings ({_differing(held['settings_json'], fingerprint(settings))}); "
            f"use --run-id {held['run_id']} to replace them, or another segments.name"
        )
    return Place(str(held["run_id"]), None, ())


def _steady(past: pd.DataFrame) -> tuple[str, ...]:
    anew = past["decision"].isin(["fit", "cold_refit"]).cumsum()
    since = past[anew == anew.max()] if len(past) else past
    return tuple(since.loc[since["decision"] == "reassign", "run_id"])


def fingerprint(settings: Settings) -> str:
    """Return the settings that segments depend on, as JSON text; equal texts, equal segments."""
    users = settings.users.columns.model_dump(mode="json") if settings.users else None
    held = {
        "segments": settings.segments.model_dump(mode="json", exclude={"as_of"}),
        "requests": settings.requests.columns.model_dump(mode="json"),
        "users": users,
        "seed": settings.seed,
    }
    return json.dumps(held, sort_keys=True)


def asks_anew(then: str, now: str) -> str:
    """Return which settings that a fit depends on have changed, or nothing.

    Thresholds of refits and of migration act without a new fit.
    """
    parts = [json.loads(text) for text in (then, now)]
    for part in parts:
        part["segments"] = {
            key: value
            for key, value in part["segments"].items()
            if key not in ("adapt", "migration", "name")
        }
    return _differing(*(json.dumps(part, sort_keys=True) for part in parts))


def _differing(then: str, now: str) -> str:
    flat = [_flat(json.loads(text)) for text in (then, now)]
    keys = sorted(set(flat[0]) | set(flat[1]))
    changed = [
        f"{key}: {flat[0].get(key)} there, {flat[1].get(key)} here"
        for key in keys
        if flat[0].get(key) != flat[1].get(key)
    ]
    return ", ".join(changed)


def _flat(values: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {path: values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{path}.{key}" if path else str(key))
    return flat
