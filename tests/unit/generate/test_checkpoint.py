"""What was kept comes back as it was, or counts as nothing; never as something else."""

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rehearsal.generate.models.generator import Point
from rehearsal.generate.training import checkpoint as checkpoint_module
from rehearsal.generate.training.checkpoint import Checkpoint

CURVE = (Point(1, 20.5, 21.25, 0.5, 0.01), Point(2, 19.5, float("nan"), 0.75, 0.02))
TENSORS = {
    "weights.a": torch.arange(6.0).reshape(2, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "step": torch.tensor(7),
    "noise": torch.arange(5, dtype=torch.uint8),
    "curve": torch.tensor([[1.0, 2.5]], dtype=torch.float64),
    "empty": torch.zeros((0, 3)),
}


@pytest.fixture(params=["path", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "memory":
        yield f"memory://kept{tmp_path}"
        memory = fsspec.filesystem("memory")
        if memory.exists("/kept"):
            memory.rm("/kept", recursive=True)
    else:
        yield str(tmp_path / "k e p t") if request.param == "path" else f"file://{tmp_path}/kept"


def files(folder: str) -> list[str]:
    filesystem, path = fsspec.core.url_to_fs(folder)
    return sorted(filesystem.ls(path, detail=False))


def test_tensors_come_back_by_name_kind_and_value(folder: str) -> None:
    Checkpoint(folder, "rows 1").save(TENSORS, CURVE)
    found = Checkpoint(folder, "rows 1").load()
    assert found is not None
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_losses_come_back_beside_the_tensors(folder: str) -> None:
    checkpoint = Checkpoint(folder, "rows 1")
    assert checkpoint.curve() == ()
    checkpoint.save(TENSORS, CURVE[:1])
    assert checkpoint.curve() == CURVE[:1]


def test_the_newest_replaces_the_one_before_and_leaves_nothing_else(folder: str) -> None:
    checkpoint = Checkpoint(folder, "rows 1")
    for step in range(3):
        checkpoint.save({"step": torch.tensor(step)}, CURVE)
    found = checkpoint.load()
    assert found is not None
    assert int(found["step"]) == 2
    assert len(files(folder)) == 1


def test_nothing_kept_is_none(folder: str) -> None:
    assert Checkpoint(folder, "rows 1").load() is None
    assert Checkpoint(folder, "rows 1").finished("bin 3") is None


def test_another_key_or_name_sees_nothing(folder: str) -> None:
    Checkpoint(folder, "rows 1").save(TENSORS, CURVE)
    Checkpoint(folder, "rows 1").finish("bin 3", b"done")
    assert Checkpoint(folder, "rows 2").load() is None
    assert Checkpoint(folder, "rows 2").finished("bin 3") is None
    assert Checkpoint(folder, "rows 1").finished("bin 4") is None
    assert Checkpoint(folder, "rows 1").finished("bin 3") == b"done"


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n", bytes(range(256)) * 40])
def test_a_finished_result_is_kept_to_the_byte(folder: str, data: bytes) -> None:
    Checkpoint(folder, "rows 1").finish("bin 3", data)
    assert Checkpoint(folder, "rows 1").finished("bin 3") == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_any_flipped_bit_and_any_cut_is_seen(
    tmp_path: Path, at: float, bit: int, cut: bool
) -> None:
    checkpoint = Checkpoint(str(tmp_path), "rows 1")
    checkpoint.save(TENSORS, CURVE)
    (path,) = tmp_path.glob("*.checkpoint")
    data = bytearray(path.read_bytes())
    place = int(at * len(data))
    if cut:
        del data[place:]
    else:
        data[place] ^= 1 << bit
    path.write_bytes(data)
    assert checkpoint.load() is None
    assert not path.exists()


def test_a_damaged_file_is_set_aside_and_named_and_training_goes_on(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Checkpoint(folder, "rows 1")
    checkpoint.finish("bin 3", b"whole result")
    (path,) = files(folder)
    filesystem, _ = fsspec.core.url_to_fs(folder)
    filesystem.pipe_file(path, filesystem.cat_file(path)[:-1])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.finished("bin 3") is None
    assert f"{path} is not a whole checkpoint (its digest is not" in caplog.text
    assert files(folder) == [f"{path}.damaged"]
    checkpoint.finish("bin 3", b"again")
    assert checkpoint.finished("bin 3") == b"again"


def test_a_file_of_another_training_under_this_name_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Checkpoint(str(tmp_path), "rows 1").save(TENSORS, CURVE)
    (foreign,) = tmp_path.glob("*.checkpoint")
    Checkpoint(str(tmp_path), "rows 2").save({"step": torch.tensor(1)}, CURVE)
    (own,) = set(tmp_path.glob("*.checkpoint")) - {foreign}
    own.write_bytes(foreign.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert Checkpoint(str(tmp_path), "rows 2").load() is None
    assert "it is of another training" in caplog.text


@pytest.mark.parametrize("text", [b"", b"[]\n", b"{}\n", b'"sha256"\n', b"\xff\xfe\n", b"1\n2"])
def test_what_was_never_a_checkpoint_counts_as_none(tmp_path: Path, text: bytes) -> None:
    Checkpoint(str(tmp_path), "rows 1").save(TENSORS, CURVE)
    (path,) = tmp_path.glob("*.checkpoint")
    path.write_bytes(text)
    assert Checkpoint(str(tmp_path), "rows 1").load() is None


def test_a_writer_killed_before_the_end_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(str(tmp_path), "rows 1")
    checkpoint.save({"step": torch.tensor(1)}, CURVE)
    # The last moment at which a kill can leave a part: all is written, and not yet in place.
    monkeypatch.setattr(checkpoint_module, "_move", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    arguments = ("step", b"2" * 1000)
    writer = multiprocessing.get_context("fork").Process(target=checkpoint.finish, args=arguments)
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.partial"))) == 1
    assert checkpoint.finished("step") is None
    found = checkpoint.load()
    assert found is not None
    assert int(found["step"]) == 1


def test_the_first_line_is_json_for_whoever_looks(tmp_path: Path) -> None:
    Checkpoint(str(tmp_path), "rows 1").save(TENSORS, CURVE[:1])
    (path,) = tmp_path.glob("*.checkpoint")
    about = json.loads(path.read_bytes().partition(b"\n")[0])
    assert about["key"] == "rows 1"
    assert about["note"]["curve"][0]["validation_nats"] == 21.25
