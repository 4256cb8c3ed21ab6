"""How far trainings are is told while they run, each epoch at most once, the last one always."""

import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from rehearsal.generate.models.generator import Point
from rehearsal.generate.training import progress as progress_module
from rehearsal.generate.training.progress import read_progress, reporter, watching


def point(epoch: int) -> Point:
    return Point(epoch, 20.0, 18.25 - epoch, 0.5)


def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it never came")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_SECONDS", 0.01)


def test_the_newest_epoch_of_each_training_is_read(tmp_path: Path) -> None:
    folder = f"{tmp_path}/a folder"
    assert read_progress(folder) == []
    for name, epoch in (("bin 2", 1), ("all segments", 1), ("bin 2", 3)):
        reporter(folder, name)(point(epoch))
    assert read_progress(folder) == [
        "all segments: epoch 1, held out 17.250 nats per row",
        "bin 2: epoch 3, held out 15.250 nats per row",
    ]


def test_what_is_reported_is_told_once_while_it_runs(tmp_path: Path) -> None:
    told: list[str] = []
    with watching(str(tmp_path), told.append):
        report = reporter(str(tmp_path), "bin 1")
        report(point(1))
        until(lambda: told)
        time.sleep(0.1)
        assert told == ["bin 1: epoch 1, held out 17.250 nats per row"]
        report(point(2))
        until(lambda: len(told) > 1)
    assert told[1:] == ["bin 1: epoch 2, held out 16.250 nats per row"]


def test_the_last_epoch_is_told_however_short_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "_SECONDS", 600.0)
    told: list[str] = []
    with watching(str(tmp_path), told.append):
        reporter(str(tmp_path), "bin 1")(point(7))
    assert told == ["bin 1: epoch 7, held out 11.250 nats per row"]


@pytest.mark.parametrize("text", ["", '{"name": "bin', "\xff"])
def test_a_report_being_written_is_passed_over_until_it_is_whole(tmp_path: Path, text: str) -> None:
    reporter(str(tmp_path), "bin 1")(point(1))
    (file,) = tmp_path.glob("*.json")
    whole = file.read_bytes()
    file.write_bytes(text.encode("latin-1"))
    assert read_progress(str(tmp_path)) == []
    file.write_bytes(whole)
    assert len(read_progress(str(tmp_path))) == 1


def test_what_others_wrote_is_seen_though_a_file_system_remembers_its_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As object stores do: what this process has listed once, it lists from memory.
    seen: dict[str, list[str]] = {}

    def listed(_: object, path: str) -> list[str]:
        return seen.setdefault(path, sorted(map(str, tmp_path.glob("*.json"))))

    def forget(_: object, path: str) -> None:
        seen.pop(f"{path}/*.json", None)

    local = type(fsspec.filesystem("file"))
    monkeypatch.setattr(local, "glob", listed)
    monkeypatch.setattr(local, "invalidate_cache", forget)
    assert read_progress(str(tmp_path)) == []
    reporter(str(tmp_path), "bin 1")(point(1))
    assert len(read_progress(str(tmp_path))) == 1


def test_watching_ends_with_its_body_also_when_that_fails(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(ZeroDivisionError):
        failing(str(tmp_path), told)
    assert len(told) == 1
    reporter(str(tmp_path), "bin 1")(point(2))
    time.sleep(0.05)
    assert len(told) == 1


def failing(folder: str, told: list[str]) -> None:
    with watching(folder, told.append):
        reporter(folder, "bin 1")(point(1))
        raise ZeroDivisionError
