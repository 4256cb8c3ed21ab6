"""A function in a child process, so that its crash or hang is an outcome and not the job's end."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rehearsal.errors import RehearsalError

_DONE, _RAISED = b"\x00", b"\x01"
_LOOK_SECONDS = 0.1
_END_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_LONGEST_REASON = 2000


class ChildDied(RehearsalError):  # noqa: N818  it is not the parent that failed
    """The child process gave no result; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def run_in_child(
    function: Callable[..., bytes],
    arguments: tuple[Any, ...],
    timeout_seconds: float,
    memory_bytes: int | None = None,
) -> bytes:
    """Return what the function returns, computed in a child process of its own.

    The child is forked, and so starts at once with all modules loaded, unless the threads of this
    process might hold torch's locks (see `_context`); then function and arguments are pickled to a
    fresh interpreter. The result comes back as the bytes it is. The child ends with this process,
    whatever ends this process.

    Args:
        function: returns bytes.
        arguments: of the function.
        timeout_seconds: time for all of it; then the child is killed.
        memory_bytes: resident memory beyond which the child is killed, looked at ten times a
            second; None: no limit. Linux only.

    Raises:
        ChildDied: with the exception's text, the signal, the exit code, or the limit exceeded.
    """
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, os.getpid(), function, arguments))
    child.start()
    # Or the end of the child would not be the end of the pipe.
    sender.close()
    try:
        answer = _answer(child, receiver, timeout_seconds, memory_bytes)
    finally:
        child.kill()
        child.join()
        receiver.close()
    if answer[:1] == _RAISED:
        raise ChildDied(answer[1:].decode())
    return answer[1:]


def _context() -> ForkContext | SpawnContext:
    """Return the way to start a child that cannot hang on what this process has begun.

    Only the calling thread lives on in a fork. torch keeps pools of threads and their locks, and
    CUDA cannot be used again; so once torch is loaded, a process of one thread only is forked.
    numpy's and Arrow's threads need no such care, they see to forks themselves.
    """
    if "torch" in sys.modules and _n_threads() != 1:
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("fork")


def _n_threads() -> int:
    tasks = Path("/proc/self/task")
    return sum(1 for _ in tasks.iterdir()) if tasks.is_dir() else 0


def _child(
    sender: Connection, parent: int, function: Callable[..., bytes], arguments: tuple[Any, ...]
) -> None:
    _die_with(parent)
    try:
        answer = _DONE + function(*arguments)
    except Exception as error:  # noqa: BLE001  what it is, is the answer
        told = "out of memory" if isinstance(error, MemoryError) else f"{error}"
        answer = _RAISED + f"{type(error).__name__}: {told}"[:_LONGEST_REASON].encode()
    sender.send_bytes(answer)
    sender.close()


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the line above.
    if os.getppid() != parent:
        os._exit(1)


def _answer(
    child: BaseProcess, receiver: Connection, timeout_seconds: float, memory_bytes: int | None
) -> bytes:
    end = time.monotonic() + timeout_seconds
    look = timeout_seconds if memory_bytes is None else _LOOK_SECONDS
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise ChildDied(f"no answer within {timeout_seconds:g} s")
        if wait([receiver], min(look, left)):
            try:
                return receiver.recv_bytes()
            except (EOFError, OSError):
                raise ChildDied(_end_of(child)) from None
        used = _resident_bytes(child.pid)
        if memory_bytes is not None and used > memory_bytes:
            raise ChildDied(f"used {used:,} bytes of memory, {memory_bytes:,} are allowed")


def _end_of(child: BaseProcess) -> str:
    child.join(_END_SECONDS)
    code = child.exitcode
    if code is None:
        return "closed its end without an answer"
    if code >= 0:
        return f"ended with code {code} without an answer"
    hint = ", out of memory?" if code == -signal.SIGKILL else f" ({signal.Signals(-code).name})"
    return f"killed by signal {-code}{hint}"


def _resident_bytes(pid: int | None) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
