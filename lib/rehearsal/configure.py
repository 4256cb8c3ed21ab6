"""YAML files to one `Settings`; every fault is listed, with its key, before Spark starts."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from rehearsal.errors import SettingsError
from rehearsal.settings import Settings


def load_settings(files: Sequence[Path], overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of `files` merged in order, then `overrides` (`drift.bins=20`).

    Mappings merge key by key, lists replace.

    Raises:
        SettingsError: a file is missing or no mapping; or any key is unknown, missing or
            out of range, every fault on its own line.
    """
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, _read_yaml(file))
    for override in overrides:
        merged = _merge(merged, _parse_override(override))
    return parse_settings(merged)


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Return typed settings of a plain mapping; raises `SettingsError` listing every fault."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [_fault(item) for item in error.errors()]
        raise SettingsError("\n".join(["the configuration is not usable:", *lines])) from error


def _read_yaml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise SettingsError(f"no configuration file {file}; name one with --config FILE")
    try:
        values = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise SettingsError(f"{file} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{file} must hold a mapping of sections, got {type(values).__name__}")
    return values


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        held: Any = merged.get(key)
        both = isinstance(held, dict) and isinstance(value, dict)
        merged[key] = _merge(held, value) if both else value
    return merged


def _parse_override(override: str) -> dict[str, Any]:
    path, separator, text = override.partition("=")
    if not separator or not all(path.split(".")):
        raise SettingsError(f"override {override!r} is not of the form drift.min_requests=50")
    *sections, last = path.split(".")
    nested: dict[str, Any] = {last: yaml.safe_load(text)}
    for section in reversed(sections):
        nested = {section: nested}
    return nested


def _fault(item: Any) -> str:
    # Kinds of a union stand in the place as <kind>; the user wrote none.
    place = [part for part in item["loc"] if not str(part).startswith("<")]
    path = ".".join(map(str, place)) or "settings"
    if item["type"] == "extra_forbidden":
        return f"  {path}: unknown key{_suggestion(place)}"
    got = "" if item["type"] in ("missing", "value_error") else f", got {item['input']!r}"
    return f"  {path}: {item['msg'].removeprefix('Value error, ')}{got}"


def _suggestion(loc: Sequence[Any]) -> str:
    section: Any = Settings
    for part in loc[:-1]:
        field = getattr(section, "model_fields", {}).get(part)
        # Below a mapping by names of the user's come its values.
        section = field.annotation if field else (get_args(section) or (None,))[-1]
    known = [f.alias or name for name, f in getattr(section, "model_fields", {}).items()]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    allowed = f"; allowed: {', '.join(sorted(known))}" if known else ""
    return f"; did you mean {near[0]!r}?" if near else allowed
