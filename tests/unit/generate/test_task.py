"""A training task on staged files: what dies is named, what was done is not done again."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load

from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.models import adapter as adapter_module
from rehearsal.generate.models.generator import Point, Report
from rehearsal.generate.training import child as child_module
from rehearsal.generate.training import task as task_module
from rehearsal.generate.training.child import ChildDied
from rehearsal.generate.training.feed import Files
from rehearsal.generate.training.pack import pack, unpack
from rehearsal.generate.training.run import _worker
from rehearsal.generate.training.stage import Part
from rehearsal.generate.training.task import Bin, Task, train_all, train_bin
from rehearsal.settings import Generator

SETTINGS = Generator(
    hidden=8, latent=2, max_epochs=5, batch_rows=32, min_rows=40, patience=3, min_count=5
)
SEGMENTS = {0: "a", 1: "b", 3: "d", 4: "e"}
PROFILES = np.arange(5.0)[:, None]
Rows = list[dict[str, Any]]


def table(n: int, seed: int) -> pd.DataFrame:
    """Two columns; the second is the first, but for one row in five."""
    random = np.random.default_rng(seed)
    first = random.integers(0, 3, n)
    second = np.where(random.random(n) < 0.2, random.integers(0, 3, n), first)
    return pd.DataFrame({"asked": first.astype(str), "answer": second.astype(str)})


CODEC = fit_codec_frame(table(500, 1), fields_of(table(500, 1), ["asked"]), SETTINGS)
N_CODES = CODEC.sizes[1]


def staged(file: Path, n: int, seed: int, broken: int | None = None) -> Part:
    """Write rows of segments 0 to 4 in turn; one may have codes that the codec has not."""
    segment = np.arange(n) % 5
    codes = CODEC.encode(table(n, seed))
    codes[segment == broken, 1] = N_CODES
    names = ("segment", *(token.name for token in CODEC.tokens))
    columns = zip(names, [segment, *codes.T], strict=True)
    pq.write_table(pa.table({name: values.astype(np.int32) for name, values in columns}), file)
    return Part(Files((file.as_uri(),), names), n)


@pytest.fixture
def held(tmp_path: Path) -> Bin:
    """A bin of four segments, of 50 rows each."""
    return staged_bin(tmp_path)


def staged_bin(folder: Path, broken: int | None = None) -> Bin:
    training = staged(folder / "training.parquet", 200, 2, broken)
    return Bin(1, SEGMENTS, training, staged(folder / "validation.parquet", 50, 3), "rows 1")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return task_in(tmp_path)


def task_in(folder: Path) -> Task:
    return Task("vae", CODEC.to_json(), PROFILES, SETTINGS, 5, f"{folder}/kept", f"{folder}/told")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of the generator of all segments."""
    folder = tmp_path_factory.mktemp("base")
    rows = staged_bin(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(task_module, "run_in_child", here)
        fitted = train_all(task_in(folder), rows.training, rows.validation, "rows 1")
    weights: bytes = fitted["weights"]
    return weights


def here(function: Callable[..., bytes], arguments: tuple[Any, ...], seconds: float) -> bytes:
    """Stand in for `run_in_child`, less the child: loading torch in each takes seconds."""
    assert seconds == SETTINGS.task_minutes * 60
    try:
        return function(*arguments)
    except ChildDied:
        raise
    except Exception as error:
        raise ChildDied(f"{type(error).__name__}: {error}") from error


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "run_in_child", here)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Forked children that train nothing, in which segment 3 (d) ends as `ends` says."""
    made: list[list[int]] = []
    forked = child_module.multiprocessing.get_context("fork")
    monkeypatch.setattr(child_module, "_context", lambda: forked)
    whole = task_module.run_in_child

    def noted(function: Callable[..., bytes], arguments: tuple[Any, ...], seconds: float) -> bytes:
        made.append(list(arguments[3]))
        return whole(function, arguments, seconds)

    monkeypatch.setattr(task_module, "run_in_child", noted)
    return made


def ending(end: Callable[[], object]) -> Callable[[Task, bytes, Bin, list[int]], bytes]:
    def train(task: Task, base: bytes, held: Bin, positions: list[int]) -> bytes:
        if 3 in positions:
            end()
        rows = [{"position": p, "status": "fitted", "weights": b"\x01"} for p in positions]
        return pack({"rows": rows})

    return train


def by_position(rows: Rows) -> dict[int, dict[str, Any]]:
    found = {row["position"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def raise_error(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("end", "minutes", "reason"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), 9, "killed by signal 9: most likely for"),
        (lambda: signal.raise_signal(signal.SIGTERM), 9, "killed by signal 15 (SIGTERM)"),
        (lambda: time.sleep(60), 0.02, "no answer within 1.2 s"),
        (lambda: raise_error(MemoryError()), 9, "out of memory (MemoryError)"),
        (lambda: raise_error(RuntimeError("you tried to allocate memory")), 9, "out of memory"),
    ],
    ids=["killed", "ended", "slow", "no memory", "no memory for torch"],
)
def test_only_the_segment_that_asks_too_much_is_lost(
    task: Task, held: Bin, attempts: list[list[int]], monkeypatch: pytest.MonkeyPatch,
    end: Callable[[], object], minutes: float, reason: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(task_module, "_train_segments", ending(end))
    settings = SETTINGS.model_copy(update={"task_minutes": minutes})
    rows = by_position(train_bin(replace(task, settings=settings), b"", held))
    assert rows.keys() == SEGMENTS.keys()
    assert (rows[3]["status"], rows[3]["reason"][: len(reason)]) == ("failed", reason)
    assert all(rows[p]["weights"] == b"\x01" for p in (0, 1, 4))
    # By halves, so that most of the others still train together.
    assert attempts == [[0, 1, 3, 4], [0, 1], [3, 4], [3], [4]]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: os._exit(3), "ended with code 3 without an answer"),
        (lambda: 1 // 0, "ZeroDivisionError: integer division or modulo by zero"),
        (lambda: raise_error(OSError(28, "No space left")), "OSError: [Errno 28] No space left"),
    ],
)
def test_of_another_death_the_whole_bin_is_told_and_no_other_child_is_started(
    task: Task, held: Bin, attempts: list[list[int]], monkeypatch: pytest.MonkeyPatch,
    end: Callable[[], object], reason: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(task_module, "_train_segments", ending(end))
    rows = by_position(train_bin(task, b"", held))
    assert rows.keys() == SEGMENTS.keys()
    assert {(row["status"], row["reason"]) for row in rows.values()} == {("failed", reason)}
    assert attempts == [[0, 1, 3, 4]]


@pytest.mark.usefixtures("in_process")
def test_codes_the_codec_has_not_cost_their_segment_alone(
    task: Task, tmp_path: Path, base: bytes
) -> None:
    rows = by_position(train_bin(task, base, staged_bin(tmp_path, broken=1)))
    assert rows.keys() == SEGMENTS.keys()
    assert rows[1]["status"] == "failed"
    assert rows[1]["reason"].startswith("IndexError: ")
    for position in (0, 3, 4):
        assert rows[position]["status"] == "fitted"
        assert np.isfinite([rows[position]["base_nats"], rows[position]["adapted_nats"]]).all()


@pytest.mark.usefixtures("in_process")
def test_what_a_segment_adds_does_not_depend_on_who_trains_with_it(
    task: Task, held: Bin, base: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kept whether or not it is a gain.
    monkeypatch.setattr(adapter_module, "CLEAR_ERRORS", -1e9)
    whole = by_position(train_bin(task, base, held))
    calm, train = [], task_module._train_segments  # noqa: SLF001

    def too_much(task: Task, base: bytes, held: Bin, positions: list[int]) -> bytes:
        if 0 in positions:
            raise ChildDied("killed", overtaxed=True)
        calm.append(list(positions))
        return train(task, base, held, positions)

    monkeypatch.setattr(task_module, "_train_segments", too_much)
    again = by_position(train_bin(replace(task, checkpoints=task.checkpoints + "2"), base, held))
    assert calm == [[1], [3, 4]]
    assert again[0]["status"] == "failed"
    for position in (1, 3, 4):
        first, second = (load(rows[position]["weights"]) for rows in (whole, again))
        assert float(first["shift"].abs().max()) > 0.01
        for name, tensor in first.items():
            # Products of other shapes may differ in their last bits.
            np.testing.assert_allclose(second[name], tensor, atol=1e-4)
        assert again[position]["adapted_nats"] == pytest.approx(whole[position]["adapted_nats"])


def test_a_training_that_fails_tells_its_reason_and_the_others_of_its_task_go_on() -> None:
    reasons: list[Exception] = [ChildDied("killed by signal 9: most likely"), KeyError("x")]

    def training(number: int) -> dict[str, Any]:
        if number < len(reasons):
            raise reasons[number]
        return {"status": "fitted"}

    asked = pa.RecordBatch.from_pydict({"id": [0, 1, 2]})
    made = [
        unpack(one["result"]) for b in _worker([training] * 3)([asked]) for one in b.to_pylist()
    ]
    assert made == [
        {"status": "failed", "reason": "killed by signal 9: most likely"},
        {"status": "failed", "reason": "KeyError: 'x'"},
        {"status": "fitted"},
    ]


def test_another_attempt_tries_again_what_failed(
    task: Task, held: Bin, attempts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_module, "_train_segments", ending(lambda: os._exit(3)))
    train_bin(task, b"", held)
    attempts.clear()
    monkeypatch.setattr(task_module, "_train_segments", ending(lambda: None))
    assert {row["status"] for row in train_bin(task, b"", held)} == {"fitted"}
    assert attempts == [[0, 1, 3, 4]]


@pytest.mark.usefixtures("in_process")
def test_a_file_with_other_rows_than_were_staged_is_no_segments_training(
    task: Task, held: Bin, base: bytes
) -> None:
    short = replace(held, training=replace(held.training, n_rows=201))
    rows = by_position(train_bin(task, base, short))
    assert rows.keys() == SEGMENTS.keys()
    for row in rows.values():
        assert row["reason"].startswith("FeedError: the footers say 200 rows, 201 were staged")


@pytest.mark.usefixtures("in_process")
def test_a_bin_done_before_is_not_trained_again_and_is_the_same_elsewhere(
    task: Task, held: Bin, base: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_bin(task, base, held)
    assert train_bin(replace(task, checkpoints=f"{tmp_path}/other"), base, held) == first
    monkeypatch.setattr(task_module, "run_in_child", lambda *_: pytest.fail("trained again"))
    assert train_bin(task, base, held) == first
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        train_bin(task, base, replace(held, key="rows 2"))


class Stopped:
    """Reports that note the epochs they are told of, and fail at one of them."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.epochs: list[int] = []

    def __call__(self, folder: str, name: str) -> Report:
        del folder
        assert name == "all segments"

        def report(point: Point) -> None:
            self.epochs.append(point.epoch)
            if point.epoch == self.at:
                raise KeyError("stopped")

        return report


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch, in_process: None) -> Stopped:
    reports = Stopped()
    monkeypatch.setattr(task_module, "reporter", reports)
    return reports


def train_whole(task: Task, held: Bin) -> dict[str, Any]:
    return train_all(task, held.training, held.validation, "rows 1")


def test_a_stopped_training_goes_on_to_the_same_bytes(
    task: Task, held: Bin, tmp_path: Path, stopped: Stopped
) -> None:
    whole = train_whole(replace(task, checkpoints=f"{tmp_path}/whole"), held)
    assert stopped.epochs == [1, 2, 3, 4, 5]
    stopped.at, stopped.epochs = 3, []
    with pytest.raises(ChildDied, match="KeyError: 'stopped'"):
        train_whole(task, held)
    stopped.at, stopped.epochs = None, []
    assert train_whole(task, held) == whole
    assert stopped.epochs == [3, 4, 5]
    stopped.epochs = []
    assert train_whole(task, held) == whole
    assert stopped.epochs == []


def test_a_damaged_checkpoint_is_told_of_and_training_begins_anew(
    task: Task, held: Bin, tmp_path: Path, stopped: Stopped, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train_whole(replace(task, checkpoints=f"{tmp_path}/whole"), held)
    stopped.at = 3
    with pytest.raises(ChildDied):
        train_whole(task, held)
    (kept,) = Path(task.checkpoints).glob("*.checkpoint")
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    stopped.at, stopped.epochs = None, []
    with caplog.at_level(logging.WARNING):
        assert train_whole(task, held) == whole
    assert stopped.epochs == [1, 2, 3, 4, 5]
    assert "training begins anew" in caplog.text


def test_a_training_process_steps_as_torch_does_without_loading_its_compiler() -> None:
    program = """
import sys, torch
from torch import tensor
from rehearsal.generate.training.torch_start import start_torch
start_torch()
weight = torch.tensor([1.0, -2.0], requires_grad=True)
optimiser = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.5, fused=True)
for factor in (3.0, -1.0):
    optimiser.zero_grad()
    (factor * weight).sum().backward()
    optimiser.step()
optimiser.load_state_dict(optimiser.state_dict())
assert torch.get_num_threads() == 1
assert "torch._dynamo" not in sys.modules, "loaded"
print(*weight.tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Decoupled decay, then the step of Adam (Loshchilov and Hutter 2019, algorithm 2).
    weight, first, second = np.array([1.0, -2.0]), 0.0, 0.0
    for step, gradient in ((1, 3.0), (2, -1.0)):
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        scale = (second / (1 - 0.999**step)) ** 0.5 + 1e-8
        weight = weight * (1 - 0.1 * 0.5) - 0.1 * first / (1 - 0.9**step) / scale
    assert [float(value) for value in done.stdout.split()] == pytest.approx(weight, rel=1e-5)
