"""Several processes train as one: the same weights every time, about those of one process."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from rehearsal.errors import ModelError
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.models.generator import load_generator
from rehearsal.generate.training.checkpoint import Checkpoint
from rehearsal.generate.training.distribute import fit_distributed, run_processes
from rehearsal.generate.training.feed import Files
from rehearsal.generate.training.pack import pack, unpack
from rehearsal.generate.training.stage import Part
from rehearsal.generate.training.task import Task
from rehearsal.generate.training.torch_start import start_torch
from rehearsal.settings import Generator

# The same number of rows per step whatever the number of processes.
SETTINGS = Generator(
    max_epochs=15,
    hidden=16,
    latent=2,
    batch_rows=128,
    learning_rate=0.02,
    processes=2,
    task_minutes=8,
)


def table(n: int) -> pd.DataFrame:
    """Two columns, the second follows the first, but for one row in ten."""
    random = np.random.default_rng(3)
    first = random.integers(0, 4, n)
    second = np.where(random.random(n) < 0.1, random.integers(0, 4, n), first)
    return pd.DataFrame({"asked": first.astype(str), "answer": second.astype(str)})


def staged(folder: Path, codec: Codec, frame: pd.DataFrame, name: str) -> Part:
    codes = codec.encode(frame).astype(np.int32)
    columns = {token.name: codes[:, j] for j, token in enumerate(codec.tokens)}
    rows = {"segment": np.zeros(len(frame), dtype=np.int32), **columns}
    pq.write_table(pa.table(rows), folder / name, row_group_size=200)
    return Part(Files(((folder / name).as_uri(),), tuple(rows)), len(frame))


def test_two_processes_train_as_one_the_same_every_time_and_tell_why_one_of_them_died(
    spark: SparkSession, tmp_path: Path
) -> None:
    frame = table(2000)
    codec = fit_codec_frame(frame, fields_of(frame, ["asked"]), SETTINGS)
    training = staged(tmp_path, codec, frame[:1600], "training.parquet")
    validation = staged(tmp_path, codec, frame[1600:], "validation.parquet")
    task = Task(
        "vae", codec.to_json(), np.zeros((1, 1)), SETTINGS, 5, str(tmp_path / "kept"),
        str(tmp_path / "progress"),
    )  # fmt: skip
    file = tmp_path / "runs"

    def twice_then_killed(*arguments: Any) -> bytes:
        # One launch of processes: most of the time goes into starting them.
        import torch

        from rehearsal.generate.models.parallel import is_leader, rank, summed
        from rehearsal.generate.training.distribute import _train_share

        runs = [unpack(_train_share(*arguments)) for _ in range(2)]
        if is_leader():
            file.write_bytes(pack({"runs": runs}))
        summed(torch.zeros(3))
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        summed(torch.zeros(3))
        return b""

    with pytest.raises(ModelError, match="by 2 processes failed: killed by signal 9"):
        run_processes(spark, 2, twice_then_killed, (task, training, validation, ""), 300)
    runs = unpack(file.read_bytes())["runs"]
    assert runs[0] == runs[1]

    from rehearsal.generate.training.distribute import _train_share

    start_torch()
    alone = unpack(_train_share(task, training, validation, ""))

    # Rows meet in other batches and with other noise: the held-out loss, 0.35 nats at best
    # and 1.39 of a model that knows nothing, may differ by 0.05.
    together, by_one = (run["best"]["validation_nats"] for run in (runs[0], alone))
    assert together == pytest.approx(by_one, abs=0.05)
    assert together < 0.7
    # Codes that only the other process met are known.
    made = load_generator("vae", codec.layout(1), runs[0]["weights"])
    assert made.layout.sizes == codec.sizes


def test_more_processes_than_run_at_once_are_refused_and_what_was_finished_needs_none(
    spark: SparkSession, tmp_path: Path
) -> None:
    settings, kept = SETTINGS.model_copy(update={"processes": 3}), str(tmp_path)
    task = Task("vae", "{}", np.zeros((1, 0)), settings, 5, kept, "")
    part = Part(Files((), ()), 0)
    Checkpoint(kept, "done").finish("all", pack({"status": "fitted", "weights": b"w"}))
    assert fit_distributed(spark, task, part, part, "done")["weights"] == b"w"
    told = fit_distributed(spark, task, part, part, "key")
    assert told["status"] == "failed"
    assert "generator.processes is 3, and local[2] runs 2 at once" in told["reason"]
