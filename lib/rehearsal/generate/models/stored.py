"""What stands beside the numbers of a saved generator: the shape it is rebuilt from."""

import json
from typing import Any

from rehearsal.errors import ModelError
from rehearsal.generate.models.layout import Layout

_LENGTH_BYTES = 8


def stored_shape(data: bytes) -> dict[str, Any]:
    """Return the entry `shape` of a safetensors file's metadata.

    Raises:
        KeyError, ValueError: the file is damaged, or has no such entry.
    """
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    shape: dict[str, Any] = json.loads(header["__metadata__"]["shape"])
    return shape


def check_layout(
    what: str, sizes: tuple[int, ...], n_conditions: int, n_profile: int, layout: Layout
) -> None:
    """Check that a generator is of the token columns it is to be used with.

    Raises:
        ModelError: it is of others.
    """
    if (sizes, n_conditions, n_profile) != (layout.sizes, layout.n_conditions, layout.n_profile):
        raise ModelError(
            f"the {what} is of token columns of sizes {sizes}, {n_conditions} of them "
            f"conditions, and a profile of {n_profile}; the layout is of {layout.sizes}, "
            f"{layout.n_conditions} and {layout.n_profile}; they are not of the same fit"
        )
