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

    `previous` is the run to go on from, None at the start of a history; `before` are the runs
    that made the history up to here; `steady` those of them since the last fit from scratch that
    left the segments' borders where they were.
    """

    held_by: str | None
    previous: str | None
    before: tuple[str, ...]
    steady: tuple[str, ...] = ()


def instants(settings: Settings) -> tuple[datetime, datetime]:
    """Return the instant users are described as of, and the one their segments hold from."""
    start = settings.replay.start
    as_of = settings.segments.as_of or start
    # Described by later behaviour or not, segments hold for the requests replayed.
    return as_of, min(as_of, start)


def place(past: pd.DataFrame, run_id: str, settings: Settings) -> Place:
    """Return where a run stands among the rows of `segmentations`.

    Args:
        past: (run_id, as_of, valid_from, decision, settings_json) of one history; bounded by runs.
        run_id: the run.
        settings: when it takes place; compared with those of a run at the same instant.

    Raises:
        ContractError: the history begins later, knows what is still to come for this run, another
            run made other segments for the same instant, or later runs build on this run's id.
    """
    as_of, instant = (_naive(at) for at in instants(settings))
    others = past[past["run_id"] != run_id].sort_values("valid_from")
    if (others["valid_from"] >= instant).any():
        return Place(_holding(past, settings), None, ())
    name, own = settings.segments.name, past[past["run_id"] == run_id]
    if any((others["valid_from"] > at).any() for at in own["valid_from"]):
        raise ContractError(
            f"run {run_id} made the segments {name!r} of {_told(own['valid_from'].iloc[0])}, and "
            f"later runs go on from them; give the run of {_told(instant)} another --run-id"
        )
    if others.empty:
        return Place(None, None, ())
    last = others.iloc[-1]
    if last["as_of"] > as_of:
        raise ContractError(
            f"the segments {name!r} are learnt from behaviour up to {_told(last['as_of'])} (run "
            f"{last['run_id']}), which is still to come at this run's {_told(as_of)}; "
            "give this run a history of its own with segments.name"
        )
    return Place(None, str(last["run_id"]), tuple(others["run_id"]), _steady(others))


def _holding(past: pd.DataFrame, settings: Settings) -> str:
    """The run whose segments the replay uses, in a history that covers its start."""
    name, start = settings.segments.name, _naive(settings.replay.start)
    covering = past[past["valid_from"] <= start].sort_values("valid_from")
    if covering.empty:
        raise ContractError(
            f"the history of segments {name!r} begins at {_told(past['valid_from'].min())}, after "
            f"this run's {_told(start)}; give this run a history of its own with segments.name"
        )
    held, (as_of, valid_from) = covering.iloc[-1], (_naive(at) for at in instants(settings))
    differing = _differing(held["settings_json"], fingerprint(settings))
    if held["as_of"] != as_of:
        there = f"as_of: {_told(held['as_of'])} there, {_told(as_of)} here"
        differing = f"{there}, {differing}" if differing else there
    if held["valid_from"] == valid_from and differing:
        newest = held["valid_from"] == past["valid_from"].max()
        instead = f"use --run-id {held['run_id']} to replace them, or " if newest else "use "
        raise ContractError(
            f"run {held['run_id']} made the segments {name!r} of {_told(valid_from)} with "
            f"other settings ({differing}); {instead}another segments.name"
        )
    return str(held["run_id"])


def _naive(instant: datetime) -> pd.Timestamp:
    return pd.Timestamp(instant).tz_convert(None)


def _told(instant: pd.Timestamp) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


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
