"""All trainings of a step: stage once, the generator of all segments, then what segments add."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pyspark.sql import functions as F

from rehearsal.generate.training.plan import Share
from rehearsal.generate.training.prepare import Prepared
from rehearsal.generate.training.run import train_adapters, train_generator
from rehearsal.generate.training.stage import TRAINING, VALIDATION, Snapshot, scratch, stage
from rehearsal.generate.training.task import Bin, Task
from rehearsal.seeds import short_hash

SPARK_ROWS = 100_000
"""Training rows above which a mixture is fitted by Spark aggregates, not in one task: the same
model either way."""


@dataclass(frozen=True)
class Trained:
    """What came of the trainings.

    Args:
        snapshot: what was trained on.
        version: of the generator of all segments.
        base: its fields: status, reason, weights, curve, best, device.
        added: position -> the fields of what a segment adds, where that was trained.
    """

    snapshot: Snapshot
    version: str
    base: dict[str, Any]
    added: dict[int, dict[str, Any]]


def checkpoints_folder(prepared: Prepared, run_id: str) -> str:
    """Return where what is trained is kept until the step is done, whatever becomes of it."""
    return scratch(prepared.settings, f"checkpoints-{short_hash(run_id)}")


def train(prepared: Prepared, folder: str, checkpoints: str) -> Trained:
    """Return the trained generator and what the drifting segments add to it.

    Args:
        prepared: rows, codec and profiles.
        folder: scratch of this attempt.
        checkpoints: folder of what outlives an attempt, keyed by rows and settings.
    """
    generator, seed = prepared.settings.generator, prepared.seed
    n_training = sum(share.n_training for share in prepared.shares)
    staged = f"{folder}/rows"
    snapshot = stage(prepared.sound_rows, prepared.codec, staged, generator, seed, n_training)
    codec_json = prepared.codec.to_json()
    task = Task(
        prepared.kind, codec_json, prepared.vectors, generator, seed, checkpoints,
        f"{folder}/progress",
    )  # fmt: skip
    version = _version(prepared, snapshot.fingerprint, "all")
    base = _train_base(prepared, task, snapshot, staged, version)
    added: dict[int, dict[str, Any]] = {}
    if base["status"] == "fitted" and prepared.kind == "vae":
        held = _bins(prepared, snapshot, base["weights"])
        rows = train_adapters(prepared.spark, task, base["weights"], held) if held else []
        added = {row["position"]: row for row in rows}
    return Trained(snapshot, version, base, added)


def _train_base(
    prepared: Prepared, task: Task, snapshot: Snapshot, staged: str, version: str
) -> dict[str, Any]:
    n_training, n_validation = (snapshot.whole(p).n_rows for p in (TRAINING, VALIDATION))
    # Parts are drawn row by row, so that of very few rows one may be empty.
    if n_training == 0 or (n_validation == 0 and task.settings.private is None):
        reason = (
            f"{n_training} requests to learn from and {n_validation} held out to decide when to "
            "stop: none of either will not do; take a longer replay range"
        )
        return {"status": "failed", "reason": reason}
    if task.kind != "mixture" or n_training <= SPARK_ROWS:
        return train_generator(prepared.spark, task, snapshot, version)
    from rehearsal.generate.training.em_spark import train_mixture

    written = prepared.spark.read.parquet(staged)
    rows = written.where(F.col("part") == TRAINING).select(*snapshot.columns)
    return train_mixture(task, rows, n_training, snapshot.whole(VALIDATION), version)


def segment_version(prepared: Prepared, snapshot: Snapshot, share: Share) -> str:
    """Return the version of a segment's synthesizer: it changes with its rows and all settings."""
    own = snapshot.fingerprints.get(share.position, "")
    return _version(prepared, snapshot.fingerprint, f"{share.segment_id}\x1f{own}")


def _version(prepared: Prepared, fingerprint: str, what: str) -> str:
    generator = prepared.settings.generator
    known = generator.model_dump(mode="json", exclude={"gate"})
    # Of the gate's limits this one has a say in which weights are kept.
    told = json.dumps(known | {"max_membership": generator.gate.max_membership}, sort_keys=True)
    # Other values may have the same codes, so that the fingerprint does not tell them apart.
    described = prepared.codec.to_json(), prepared.axes.to_json()
    return short_hash(told, prepared.kind, prepared.seed, fingerprint, *described, what)


def _bins(prepared: Prepared, snapshot: Snapshot, base: bytes) -> list[Bin]:
    """Return the bins of the segments that have rows enough to add something themselves."""
    least = prepared.settings.generator.min_rows
    by_place: dict[int, list[Share]] = {}
    for share in prepared.drifting:
        if share.n_learnt >= least:
            by_place.setdefault(share.bin, []).append(share)
    of_base = sha256(base).hexdigest()
    return [
        Bin(
            place,
            {share.position: share.segment_id for share in held},
            snapshot.of(place, TRAINING),
            snapshot.of(place, VALIDATION),
            # What is added to other weights, of another attempt or machine, fits those alone.
            short_hash(of_base, *(segment_version(prepared, snapshot, share) for share in held)),
        )
        for place, held in sorted(by_place.items())
    ]
