"""Training under way and results that are done, kept so that a killed job goes on from there.

One file each: a line of JSON, then the content. The line has a digest of everything else, so that
a file cut short, damaged or written for something else is seen to be so, and is not used.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rehearsal.generate.models.generator import Point
from rehearsal.seeds import short_hash

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)
_TENSORS = "training"
_DAMAGED = ".damaged"
_Note = dict[str, Any]


class Checkpoint:
    """What is kept of one training, in a folder that all workers reach.

    Args:
        folder: URL or path.
        key: what the training depends on: rows, settings, seed. Files of another key are not seen.
    """

    def __init__(self, folder: str, key: str) -> None:
        self._folder, self._key = folder, key

    def load(self) -> "Mapping[str, Tensor] | None":
        """Return the tensors last saved; None where there are none that are whole."""
        found = self._read(_TENSORS)
        if found is None:
            return None
        from safetensors.torch import load

        tensors: Mapping[str, Tensor] = load(found[1])
        return tensors

    def curve(self) -> tuple[Point, ...]:
        """Return the losses per epoch saved with the tensors; none where there are no tensors."""
        found = self._read(_TENSORS)
        return () if found is None else tuple(Point(**point) for point in found[0]["curve"])

    def save(self, tensors: "Mapping[str, Tensor]", curve: tuple[Point, ...]) -> None:
        """Keep the tensors in place of those kept before, with the losses that led to them."""
        from safetensors.torch import save

        own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        self._write(_TENSORS, {"curve": [asdict(point) for point in curve]}, save(own))

    def finished(self, name: str) -> bytes | None:
        """Return the whole result kept under a name; None where there is none that is whole."""
        found = self._read(f"finished {name}")
        return None if found is None else found[1]

    def finish(self, name: str, data: bytes) -> None:
        """Keep a whole result under a name."""
        self._write(f"finished {name}", {}, data)

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the whole result kept under a name; where there is none, make and keep it."""
        known = self.finished(name)
        if known is None:
            known = make()
            self.finish(name, known)
        return known

    def _write(self, name: str, note: _Note, content: bytes) -> None:
        about = {"key": self._key, "name": name, "note": note}
        line = json.dumps({**about, "sha256": _digest(about, content)}, sort_keys=True)
        filesystem, path = self._at(name)
        _replace(filesystem, path, line.encode() + b"\n" + content)

    def _read(self, name: str) -> tuple[_Note, bytes] | None:
        filesystem, path = self._at(name)
        try:
            data: bytes = filesystem.cat_file(path)
        except FileNotFoundError:
            return None
        try:
            return self._whole(name, data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _set_aside(filesystem, path, error)
            return None

    def _whole(self, name: str, data: bytes) -> tuple[_Note, bytes]:
        line, _, content = data.partition(b"\n")
        about = json.loads(line)
        digest = about.pop("sha256")
        if digest != _digest(about, content):
            raise ValueError("its digest is not that of its contents")
        if (about["key"], about["name"]) != (self._key, name):
            raise ValueError("it is of another training")
        return about["note"], content

    def _at(self, name: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        filesystem, folder = url_to_fs(self._folder)
        return filesystem, f"{folder}/{short_hash(self._key)}-{short_hash(name)}.checkpoint"


def _digest(about: Mapping[str, Any], content: bytes) -> str:
    told = json.dumps(about, sort_keys=True, allow_nan=True).encode()
    return sha256(told + b"\n" + content).hexdigest()


def _replace(filesystem: Any, path: str, data: bytes) -> None:
    """Write a file that is there whole or not at all, also when the writer is killed."""
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    # Its own name for every writer: an attempt given up for dead may still write.
    partial = f"{path}.{uuid4().hex}.partial"
    filesystem.pipe_file(partial, data)
    _move(filesystem, partial, path)


def _move(filesystem: Any, source: str, target: str) -> None:
    if _is_local(filesystem):
        with Path(source).open("rb") as written:
            os.fsync(written.fileno())
        Path(source).replace(target)
    else:
        filesystem.mv(source, target)


def _is_local(filesystem: Any) -> bool:
    from fsspec.implementations.local import (  # type: ignore[import-untyped]
        LocalFileSystem,
    )

    return isinstance(filesystem, LocalFileSystem)


def _set_aside(filesystem: Any, path: str, error: Exception) -> None:
    _log.warning(
        "%s is not a whole checkpoint (%s); it is set aside as %s%s and training begins anew",
        path, error, path, _DAMAGED,
    )  # fmt: skip
    _move(filesystem, path, path + _DAMAGED)
