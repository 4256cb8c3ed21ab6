"""Whatever happens to a child process, its parent gets a result or a reason.

Most functions here are the standard library's, so that they reach a fresh interpreter too.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from rehearsal.generate.training import child as child_module
from rehearsal.generate.training.child import ChildDied, run_in_child

MB = 1_000_000


@pytest.fixture(params=["fork", "spawn"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    context = child_module.multiprocessing.get_context(request.param)
    monkeypatch.setattr(child_module, "_context", lambda: context)
    return str(request.param)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    context = child_module.multiprocessing.get_context("fork")
    monkeypatch.setattr(child_module, "_context", lambda: context)


def test_a_large_result_comes_back_whole(way: str) -> None:
    assert run_in_child(bytes, (50 * MB,), 60) == bytes(50 * MB)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (os._exit, (3,), "ended with code 3 without an answer"),
        (os._exit, (0,), "ended with code 0 without an answer"),
        (sys.exit, (4,), "ended with code 4 without an answer"),
        (signal.raise_signal, (signal.SIGKILL,), "killed by signal 9, out of memory?"),
        (signal.raise_signal, (signal.SIGTERM,), "killed by signal 15 (SIGTERM)"),
        (bytes, (2**62,), "MemoryError: out of memory"),
        (bytes.fromhex, ("no",), "ValueError: non-hexadecimal number found in fromhex() arg "),
        (int, ("7",), "TypeError: can't concat int to bytes"),
    ],
)
def test_the_reason_says_what_became_of_the_child(
    function: Callable[..., Any], arguments: tuple[Any, ...], reason: str
) -> None:
    with pytest.raises(ChildDied) as death:
        run_in_child(function, arguments, 60)
    assert death.value.reason.startswith(reason)
    assert str(death.value) == death.value.reason


def test_a_child_that_is_killed_is_a_reason_in_a_fresh_interpreter_too(way: str) -> None:
    with pytest.raises(ChildDied, match="killed by signal 9"):
        run_in_child(signal.raise_signal, (signal.SIGKILL,), 60)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(time.sleep, (600,)), (deque, (itertools.count(), 0))],
    ids=["asleep", "endless loop that never lets go of the interpreter"],
)
def test_no_answer_in_time_is_a_reason(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(ChildDied, match="no answer within 0.3 s"):
        run_in_child(function, arguments, 0.3)


@pytest.mark.usefixtures("forked")
def test_memory_beyond_the_limit_is_a_reason() -> None:
    def hungry() -> bytes:
        held = [b"x" * (20 * MB) for _ in range(20)]
        time.sleep(60)
        return held[0]

    with pytest.raises(ChildDied, match=r"used [\d,]+ bytes of memory, 300,000,000 are allowed"):
        run_in_child(hungry, (), 60, memory_bytes=300 * MB)
    assert run_in_child(bytes, (3,), 60, memory_bytes=2_000 * MB) == bytes(3)


@pytest.mark.usefixtures("forked")
def test_no_child_is_left_whatever_the_outcome() -> None:
    for function, arguments in ((bytes, (1,)), (os._exit, (1,)), (time.sleep, (600,))):
        try:
            run_in_child(function, arguments, 0.3)
        except ChildDied:
            continue
    assert child_module.multiprocessing.active_children() == []


def test_a_child_ends_with_its_parent(tmp_path: Any) -> None:
    # The parent is killed, as Spark kills a worker whose task is no longer wanted.
    program = (
        "import os, pathlib, time, sys\n"
        "from rehearsal.generate.training.child import run_in_child\n"
        "def stay(path):\n"
        "    pathlib.Path(path + '.new').write_text(str(os.getpid()))\n"
        "    os.rename(path + '.new', path)\n"
        "    time.sleep(600)\n"
        "run_in_child(stay, (sys.argv[1],), 600)\n"
    )
    told = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", program, str(told)])
    while not told.exists():
        assert parent.poll() is None
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    for _ in range(500):
        if not running(int(told.read_text())):
            return
        time.sleep(0.02)
    pytest.fail("the child outlived its parent")


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_is_forked_until_torch_and_threads_meet_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start_method() -> str:
        return child_module._context().get_start_method()  # noqa: SLF001

    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        assert start_method() == "fork"
        monkeypatch.setitem(sys.modules, "torch", None)
        assert start_method() == "spawn"
        monkeypatch.setattr(child_module, "_n_threads", lambda: 1)
        assert start_method() == "fork"
    finally:
        done.set()
        other.join()
