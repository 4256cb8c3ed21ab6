"""Results of a training as bytes: JSON, with byte strings in base64. Nothing is unpickled."""

import base64
import json
from typing import Any

_BYTES = "__bytes__"


def pack(value: dict[str, Any]) -> bytes:
    """Return plain values, lists, dicts and byte strings as bytes."""
    return json.dumps(value, default=_encode, sort_keys=True).encode()


def unpack(data: bytes) -> Any:
    """Return what `pack` was given."""
    return json.loads(data, object_hook=_decode)


def _encode(value: object) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(f"cannot pack a {type(value).__name__}")
    return {_BYTES: base64.b64encode(value).decode()}


def _decode(value: dict[str, Any]) -> Any:
    return base64.b64decode(value[_BYTES]) if set(value) == {_BYTES} else value
