"""A function in a child process, so that its crash or hang is an outcome and not the job's end."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rehearsal.errors import RehearsalError, without_secrets

_DONE, _RAISED, _RAN_OUT = b"\x00", b"\x01", b"\x02"
_END_SECONDS = 5.0
_ALLOCATOR = "jemalloc_bg_thd"
_PR_SET_PDEATHSIG = 1
_LONGEST_REASON = 1500
# What torch, the kernel and the loader of libraries say, with errors of other types.
_NO_MEMORY = ("allocate memory", "failed to map segment from shared object")
_MORE_MEMORY = (
    "lower generator.batch_rows, generator.hidden or generator.max_rows, or give Python workers "
    "more memory: spark.executor.pyspark.memory where that is set, else spark.executor."
    "memoryOverhead"
)


class ChildDied(RehearsalError):  # noqa: N818  it is not the parent that failed
    """The child process gave no result.

    Args:
        reason: why, without secrets.
        overtaxed: it may be that it had too much to do: it was killed, or ran out of time or of
            memory. A part of its work may then be done where all of it could not.
    """

    def __init__(self, reason: str, *, overtaxed: bool = False) -> None:
        self.reason, self.overtaxed = without_secrets(reason), overtaxed
        super().__init__(self.reason)


def run_in_child(
    function: Callable[..., bytes], arguments: tuple[Any, ...], timeout_seconds: float
) -> bytes:
    """Return what the function returns, computed in a child process of its own.

    The child is forked, and so starts at once with all modules loaded, unless the threads of this
    process might hold torch's locks (see `_context`); then function and arguments are pickled to a
    fresh interpreter. The result comes back as the bytes it is. The child ends with this process,
    whatever ends this process, and its memory has the limit that this process has: the one that
    Spark sets its Python workers by `spark.executor.pyspark.memory`.

    Args:
        function: returns bytes.
        arguments: of the function.
        timeout_seconds: time for all of it; then the child is killed.

    Raises:
        ChildDied: with the exception's text, the signal, the exit code, or the time exceeded.
    """
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    asked, giver = context.Pipe(duplex=False)
    forked = context.get_start_method() == "fork"
    # To a fresh interpreter by a pipe of our own: in multiprocessing's, which this process keeps
    # open at both ends, much would be written for ever if the child died before it is read.
    call = (function, arguments) if forked else (_given, (asked,))
    child = context.Process(target=_child, args=(sender, os.getpid(), *call))
    try:
        child.start()
    except OSError as error:
        raise ChildDied(f"no process could be started: {described(error)}") from error
    # Or the end of the child would not be the end of the pipes.
    sender.close()
    asked.close()
    try:
        if not forked:
            _give(giver, (function, arguments))
        answer = _answer(child, receiver, timeout_seconds)
    finally:
        child.kill()
        child.join()
        receiver.close()
        giver.close()
    if answer[:1] != _DONE:
        raise ChildDied(answer[1:].decode(), overtaxed=answer[:1] == _RAN_OUT)
    return answer[1:]


def _give(giver: Connection, call: tuple[Callable[..., bytes], tuple[Any, ...]]) -> None:
    # A child that died does not read; what it died of is told where its answer is awaited.
    with suppress(BrokenPipeError):
        giver.send(call)


def _given(asked: Connection) -> bytes:
    function, arguments = asked.recv()
    answer: bytes = function(*arguments)
    return answer


def described(error: Exception) -> str:
    """Return what an exception says of itself; of one for want of memory, what to do too."""
    told = _named(error)
    return f"out of memory ({told}); {_MORE_MEMORY}" if _wants_memory(error) else told


def reason_of(error: Exception) -> str:
    """Return why something failed, as tables tell it: an error of ours says so itself."""
    told = str(error) if isinstance(error, RehearsalError) else described(error)
    return without_secrets(told)[:_LONGEST_REASON]


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON].removesuffix(": ")


def _wants_memory(error: Exception) -> bool:
    told = _named(error)
    return isinstance(error, MemoryError) or any(sign in told for sign in _NO_MEMORY)


def _context() -> ForkContext | SpawnContext:
    """Return the way to start a child that cannot hang on what this process has begun.

    Only the calling thread lives on in a fork. torch keeps pools of threads and their locks, and
    CUDA cannot be used again; so once torch is loaded, a process of one thread only is forked.
    numpy's and Arrow's threads need no such care, they see to forks themselves, nor does that of
    Arrow's allocator, which every Python worker of Spark has.
    """
    if "torch" in sys.modules and _n_threads() != 1:
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("fork")


def _n_threads() -> int:
    """Return how many threads this process has, less the allocator's; 0: that cannot be known."""
    tasks, names = Path("/proc/self/task"), []
    for task in tasks.iterdir() if tasks.is_dir() else ():
        with suppress(OSError):  # it has just ended
            names.append((task / "comm").read_text().strip())
    return len(names) - names.count(_ALLOCATOR)


def _child(
    sender: Connection, parent: int, function: Callable[..., bytes], arguments: tuple[Any, ...]
) -> None:
    _die_with(parent)
    try:
        answer = _DONE + function(*arguments)
    except Exception as error:  # noqa: BLE001  what it is, is the answer
        answer = (_RAN_OUT if _wants_memory(error) else _RAISED) + described(error).encode()
    sender.send_bytes(answer)
    sender.close()


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the line above.
    if os.getppid() != parent:
        os._exit(1)


def _answer(child: BaseProcess, receiver: Connection, timeout_seconds: float) -> bytes:
    if not receiver.poll(timeout_seconds):
        raise ChildDied(
            f"no answer within {timeout_seconds:g} s, which generator.task_minutes allows",
            overtaxed=True,
        )
    try:
        return receiver.recv_bytes()
    except (EOFError, OSError):
        reason = _end_of(child)
        raise ChildDied(reason, overtaxed=(child.exitcode or 0) < 0) from None


def _end_of(child: BaseProcess) -> str:
    child.join(_END_SECONDS)
    code = child.exitcode
    if code is None:
        return "closed its end without an answer"
    if code >= 0:
        return f"ended with code {code} without an answer"
    if code == -signal.SIGKILL:
        return f"killed by signal 9: most likely for want of memory; {_MORE_MEMORY}"
    return f"killed by signal {-code} ({signal.Signals(-code).name})"
