"""How far trainings on the executors are, as small files that the driver reads.

Scratch is what all workers and the driver reach; nothing else connects them while a job runs.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import isnan

from rehearsal.background import watched
from rehearsal.generate.models.generator import Point, Report
from rehearsal.seeds import short_hash

_SECONDS = 1.0


def reporter(folder: str, name: str) -> Report:
    """Return what keeps the newest epoch of a training in a file of its own.

    Args:
        folder: URL of the folder of the step.
        name: of the training, as a reader is told.
    """

    def report(point: Point) -> None:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        filesystem, path = url_to_fs(folder)
        filesystem.makedirs(path, exist_ok=True)
        told = json.dumps({"name": name, **asdict(point)})
        filesystem.pipe_file(f"{path}/{short_hash(name)}.json", told.encode())

    return report


@contextmanager
def watching(folder: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell of every training's newest epoch while the body runs."""
    with watched(_watch, folder, tell):
        yield


def _watch(folder: str, tell: Callable[[str], None], done: threading.Event) -> None:
    told: set[str] = set()
    under_way = True
    while under_way:
        # And a last look when all is done, or short trainings would never be told of.
        under_way = not done.wait(_SECONDS)
        for line in read_progress(folder):
            if line not in told:
                told.add(line)
                tell(line)


def read_progress(folder: str) -> list[str]:
    """Return a line per training that has reported, in order of their names."""
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(folder)
    # Remote file systems remember what they listed, and others write here.
    filesystem.invalidate_cache(path)
    lines = []
    for file in filesystem.glob(f"{path}/*.json"):
        try:
            point = json.loads(filesystem.cat_file(file))
        except (ValueError, FileNotFoundError):
            continue  # it is being written; the next look has it
        nats = point["validation_nats"]
        # A private training tells no loss.
        told = "" if isnan(nats) else f", held out {nats:.3f} nats per row"
        lines.append(f"{point['name']}: epoch {point['epoch']}{told}")
    return sorted(lines)
