"""Whatever happens to a child process, its parent gets a result or a reason.

Most functions here are the standard library's, so that they reach a fresh interpreter too.
"""

import errno
import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rehearsal.errors import ModelError
from rehearsal.generate.training import child as child_module
from rehearsal.generate.training.child import ChildDied, described, reason_of, run_in_child

MB = 1_000_000
WAYS_OUT = (
    "lower generator.batch_rows, generator.hidden or generator.max_rows, or give Python workers "
    "more memory: spark.executor.pyspark.memory where that is set, else spark.executor."
    "memoryOverhead"
)


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


def test_large_arguments_reach_the_child_whole(way: str) -> None:
    assert run_in_child(bytes.upper, (b"x" * 5 * MB,), 60) == b"X" * 5 * MB


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (os._exit, (3,), "ended with code 3 without an answer"),
        (os._exit, (0,), "ended with code 0 without an answer"),
        (sys.exit, (4,), "ended with code 4 without an answer"),
        (signal.raise_signal, (signal.SIGKILL,),
         f"killed by signal 9: most likely for want of memory; {WAYS_OUT}"),
        (signal.raise_signal, (signal.SIGTERM,), "killed by signal 15 (SIGTERM)"),
        (bytes, (2**62,), f"out of memory (MemoryError); {WAYS_OUT}"),
        (bytes.fromhex, ("no",), "ValueError: non-hexadecimal number found in fromhex() arg "),
        (int, ("7",), "TypeError: can't concat int to bytes"),
    ],
)  # fmt: skip
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


def test_a_fresh_interpreter_that_dies_before_it_reads_its_arguments_is_a_reason(
    tmp_path: Path,
) -> None:
    # It reads the program first, which is not written to be read twice.
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "from rehearsal.generate.training import child\n"
        "child._context = lambda: multiprocessing.get_context('spawn')\n"
        "try:\n"
        "    child.run_in_child(len, (bytes(5_000_000),), 60)\n"
        "except child.ChildDied as death:\n"
        "    print(death)\n"
    )
    asked = [sys.executable, str(program)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "ended with code 1 without an answer\n"


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("function", "arguments"),
    [(time.sleep, (600,)), (deque, (itertools.count(), 0))],
    ids=["asleep", "endless loop that never lets go of the interpreter"],
)
def test_no_answer_in_time_is_a_reason(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(ChildDied, match="no answer within 0.3 s, .*generator.task_minutes"):
        run_in_child(function, arguments, 0.3)


@pytest.mark.usefixtures("forked")
def test_memory_has_the_limit_of_the_parent_and_beyond_it_the_reason_says_what_to_do() -> None:
    def parent() -> bytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 500 * MB
        # As Spark limits a Python worker by spark.executor.pyspark.memory.
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        assert run_in_child(bytes, (20 * MB,), 60) == bytes(20 * MB)
        with pytest.raises(ChildDied) as death:
            run_in_child(bytes, (600 * MB,), 60)
        return death.value.reason.encode()

    assert run_in_child(parent, (), 60).decode() == f"out of memory (MemoryError); {WAYS_OUT}"


def raise_error(error: Exception) -> bytes:
    raise error


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_want_of_memory_is_known_whoever_tells_of_it_and_however_long(error: Exception) -> None:
    with pytest.raises(ChildDied) as death:
        run_in_child(raise_error, (error,), 60)
    told = f"{type(error).__name__}: {error}"
    assert death.value.reason == f"out of memory ({told}); {WAYS_OUT}"
    error.args = (f"{error}" + "x" * 10_000,)
    assert len(described(error)) < 2_000
    assert described(error).endswith(WAYS_OUT)


def test_a_child_that_cannot_be_started_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    context = child_module.multiprocessing.get_context("fork")
    monkeypatch.setattr(child_module, "_context", lambda: context)
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(ChildDied, match="no process could be started: BlockingIOError: .*unavail"):
        run_in_child(bytes, (1,), 60)


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
        # One thread is left where the other is that of Arrow's allocator.
        names = [task / "comm" for task in Path("/proc/self/task").iterdir()]
        own = Path(f"/proc/self/task/{os.getpid()}/comm")
        for name in names:
            if name != own:
                name.write_text("jemalloc_bg_thd")
        assert start_method() == "fork"
    finally:
        done.set()
        other.join()


def test_a_reason_names_what_failed_and_no_secret() -> None:
    assert reason_of(ModelError("damaged: s3a://key:secret@bucket/x")) == "damaged: s3a://bucket/x"
    assert reason_of(OSError("https://token@host/x?sig=1")) == "OSError: https://host/x"
    assert WAYS_OUT in reason_of(MemoryError())
