"""What a training task does on an executor: its rows in, weights out, as plain bytes.

A training runs in a child process, so that its death is an outcome and not the job's end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.models.generator import Fitted, Rows, fit_generator, load_generator
from rehearsal.generate.models.layout import Floats
from rehearsal.generate.training.checkpoint import Checkpoint
from rehearsal.generate.training.child import ChildDied, reason_of, run_in_child
from rehearsal.generate.training.feed import PetastormFeed, read_rows
from rehearsal.generate.training.pack import pack, unpack
from rehearsal.generate.training.progress import reporter
from rehearsal.generate.training.stage import Part
from rehearsal.generate.training.torch_start import start_torch
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator


@dataclass(frozen=True)
class Task:
    """What every training of a step shares; small, and all of it plain values.

    Args:
        kind: of the generator of all segments.
        codec_json: of the run.
        profiles: shape (segments, n_profile), by position.
        settings: the section `generator`.
        seed: of the step.
        checkpoints: folder of what is kept between attempts.
        progress: folder where the driver looks for how far trainings are.
    """

    kind: str
    codec_json: str
    profiles: Floats
    settings: Generator
    seed: int
    checkpoints: str
    progress: str


@dataclass(frozen=True)
class Bin:
    """The segments of one bin and their staged rows.

    Args:
        place: number of the bin.
        segments: position -> segment id.
        training: the bin's training part.
        validation: the bin's validation part.
        key: changes with any row of the bin.
    """

    place: int
    segments: Mapping[int, str]
    training: Part
    validation: Part
    key: str


def train_all(task: Task, training: Part, validation: Part, key: str) -> dict[str, Any]:
    """Train the generator of all segments; resume where an earlier attempt of `key` was stopped.

    Raises:
        ChildDied: the training failed, was killed or took too long; says which.
    """
    arguments = (task, training, validation, key)

    def train() -> bytes:
        return run_in_child(train_share, arguments, task.settings.task_minutes * 60)

    found: dict[str, Any] = unpack(Checkpoint(task.checkpoints, key).once("all", train))
    return found


def train_share(
    task: Task, training: Part, validation: Part, key: str, shard: tuple[int, int] = (0, 1)
) -> bytes:
    """Train the generator of all segments in this process, on its share of the rows.

    Args:
        task: what is trained.
        training: rows of all processes.
        validation: rows held out, read by all.
        key: names what is kept for a later attempt.
        shard: (rank, of): which of so many processes that train together this is.
    """
    start_torch()
    layout = Codec.from_json(task.codec_json).layout(task.profiles.shape[1])
    settings, profiles = task.settings, task.profiles
    feed = PetastormFeed(training.files, training.n_rows, profiles, settings.batch_rows, shard)
    held_out = read_rows(validation.files, validation.n_rows, profiles)
    fitted = fit_generator(
        task.kind, feed, held_out, layout, settings, derive_seed(task.seed, "all"),
        report=reporter(task.progress, "all segments"),
        checkpoint=Checkpoint(task.checkpoints, key),
    )  # fmt: skip
    return pack_fitted(fitted)


def pack_fitted(fitted: Fitted) -> bytes:
    """Return a fit as bytes that hold numbers and text only."""
    return pack(
        {
            "status": "fitted", "weights": fitted.generator.to_bytes(), "device": fitted.device,
            "curve": [asdict(point) for point in fitted.curve], "best": asdict(fitted.best),
        }
    )  # fmt: skip


def train_bin(task: Task, base: bytes, held: Bin) -> list[dict[str, Any]]:
    """Train what each segment of a bin adds to the generator of all segments.

    A bin whose training failed, was killed, or ran out of time or memory, is trained in halves, and
    so on, until the one segment that is the reason is alone; only that one is lost, and what the
    others are given does not depend on it. Another attempt tries it again. Where training does not
    even begin, as with files that cannot be read, no part of the bin would be spared, and all of it
    is lost at once.

    Returns:
        Per segment: position, status, reason, weights or None, base_nats, adapted_nats, curve.
    """
    checkpoint = Checkpoint(task.checkpoints, held.key)
    known = checkpoint.finished("bin")
    if known is not None:
        found: list[dict[str, Any]] = unpack(known)["rows"]
        return found
    rows = _train_or_halve(task, base, held, sorted(held.segments))
    if all(row["status"] == "fitted" for row in rows):
        checkpoint.finish("bin", pack({"rows": rows}))
    return rows


def _train_or_halve(
    task: Task, base: bytes, held: Bin, positions: Sequence[int]
) -> list[dict[str, Any]]:
    arguments = (task, base, held, positions)
    try:
        made = run_in_child(_train_segments, arguments, task.settings.task_minutes * 60)
        result, perhaps_of_one = unpack(made), True
    except ChildDied as death:
        result, perhaps_of_one = {"failed": str(death)}, death.overtaxed
    if "failed" not in result:
        rows: list[dict[str, Any]] = result["rows"]
        return rows
    if len(positions) == 1 or not perhaps_of_one:
        failed = {"status": "failed", "reason": result["failed"]}
        return [{"position": position, **failed} for position in positions]
    middle = len(positions) // 2
    halves = positions[:middle], positions[middle:]
    return [row for half in halves for row in _train_or_halve(task, base, held, half)]


def _train_segments(task: Task, base: bytes, held: Bin, positions: Sequence[int]) -> bytes:
    """Train some of a bin's segments, in the places they have among all of it."""
    places = sorted(held.segments)
    # Rows first: if they cannot be read, that is found in less time than torch takes to load.
    training, validation = (
        _of_segments(read_rows(part.files, part.n_rows, task.profiles), positions, places)
        for part in (held.training, held.validation)
    )
    start_torch()
    from rehearsal.generate.models.adapter import fit_adapters
    from rehearsal.generate.models.vae import ConditionalVAE

    layout = Codec.from_json(task.codec_json).layout(task.profiles.shape[1])
    network = load_generator(task.kind, layout, base)
    if not isinstance(network, ConditionalVAE):
        raise TypeError(f"a {network.kind} takes no adapters")
    seed = derive_seed(task.seed, "adapters", *(held.segments[place] for place in places))
    report = reporter(task.progress, f"bin {held.place}: {len(positions)} segments")
    try:
        fits = fit_adapters(network, training, validation, task.settings, seed, report)
    except Exception as error:  # noqa: BLE001  one segment may be the reason
        return pack({"failed": reason_of(error)})
    rows = [
        {
            "position": position,
            "status": "fitted",
            "weights": fit.data,
            "base_nats": fit.base_nats,
            "adapted_nats": fit.adapted_nats,
            "curve": [asdict(point) for point in fit.curve],
        }
        for position, fit in zip(places, fits, strict=True)
        if position in positions
    ]
    return pack({"rows": rows})


def _of_segments(rows: Rows, positions: Sequence[int], places: Sequence[int]) -> Rows:
    """Return the rows of the segments at `positions`, each numbered by its place in `places`."""
    held = np.isin(rows.segment, positions)
    local = np.searchsorted(places, rows.segment[held])
    return Rows(rows.codes[held], local, rows.profiles[list(places)])
