"""The generator of all segments trained by several processes at once, as Spark tasks.

Each process reads its own share of the rows; at every step gradients are summed over all
(`models.parallel`), so all hold the same weights. How many there are is a setting and never the
cluster's size, so that the same rows and seed give the same generator anywhere.
"""

import os
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from rehearsal.errors import ModelError
from rehearsal.generate.training.checkpoint import Checkpoint
from rehearsal.generate.training.child import ChildDied, run_in_child
from rehearsal.generate.training.pack import pack, unpack
from rehearsal.generate.training.stage import Part
from rehearsal.generate.training.task import Task, train_share
from rehearsal.generate.training.torch_start import start_torch

_STEP_LIMIT = timedelta(minutes=10)
_OUTCOMES_LIMIT = timedelta(minutes=1)
_LONGEST_REASON = 2000


def fit_distributed(
    spark: SparkSession, task: Task, training: Part, validation: Part, key: str
) -> dict[str, Any]:
    """Return the fields of the generator trained by `processes` processes.

    What an attempt of `key` finished is not trained again.

    Args:
        spark: the session.
        task: what is trained.
        training: rows, shared out over the processes.
        validation: rows held out, read by all.
        key: names what is kept for a later attempt.

    Returns:
        `status` 'fitted', weights, curve, best and device; or 'failed' and the reason.
    """
    arguments = (task, training, validation, key)
    settings = task.settings

    def train() -> bytes:
        return run_processes(
            spark, settings.processes, _train_share, arguments, settings.task_minutes * 60
        )

    try:
        result = Checkpoint(task.checkpoints, key).once("all", train)
    except ModelError as error:
        return {"status": "failed", "reason": str(error)}
    fields: dict[str, Any] = unpack(result)
    return fields


def _train_share(task: Task, training: Part, validation: Part, key: str) -> bytes:
    from rehearsal.generate.models.parallel import n_processes, rank

    return train_share(task, training, validation, key, (rank(), n_processes()))


def run_processes(
    spark: SparkSession,
    n: int,
    function: Callable[..., bytes],
    arguments: tuple[Any, ...],
    timeout_seconds: float,
) -> bytes:
    """Return what the function returns in the first of n processes that run it together.

    Each has a process group: NCCL where Spark gives its tasks a GPU, else gloo and one thread.

    Args:
        spark: the session.
        n: how many processes, a Spark task each, all at once.
        function: returns bytes.
        arguments: of the function.
        timeout_seconds: after which processes end themselves.

    Raises:
        ModelError: one of them failed, with the reason of the one that failed first.
    """
    master = spark.conf.get("spark.master", "") or ""
    slots = re.fullmatch(r"local\[(\d+)(,.*)?\]|local", master)
    if slots is not None and int(slots[1] or 1) < n:
        raise ModelError(
            f"generator.processes is {n}, and {master} runs {slots[1] or 1} at once; lower it or "
            "raise spark.master"
        )
    distributor = TorchDistributor(n, local_mode=False, use_gpu=_gives_gpus(spark))
    try:
        result = distributor._run(  # noqa: SLF001  `run` takes no other way to start a process
            _member, _with_own_modules, function, arguments, timeout_seconds
        )
    except Exception as error:
        told = str(error)[-_LONGEST_REASON:]
        raise ModelError(f"training by {n} processes failed: {told}") from error
    outcome: dict[str, Any] = {"reason": "no process answered"}
    if isinstance(result, bytes):
        outcome = unpack(result)
    if "reason" in outcome:
        raise ModelError(f"training by {n} processes failed: {outcome['reason']}")
    answer: bytes = outcome["answer"]
    return answer


def _gives_gpus(spark: SparkSession) -> bool:
    # A part of a GPU is none: two processes of a group cannot share one.
    each = spark.conf.get("spark.task.resource.gpu.amount", "0") or "0"
    return each.isdecimal() and int(each) > 0


def _with_own_modules(parameters: dict[str, Any], script: str, *arguments: Any) -> None:
    """Start the processes of a task with the modules that the task itself found.

    Spark tells its Python workers, but nobody tells torchrun, of what came with --py-files.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        TorchDistributor._run_training_on_pytorch_file(  # noqa: SLF001
            parameters, script, *arguments
        )
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _member(
    function: Callable[..., bytes], arguments: tuple[Any, ...], timeout_seconds: float
) -> bytes | None:
    """Run the function as one of the group; return the leader's answer, or what went wrong.

    It runs in a child process, whose death a process of the group can tell of.
    """
    leads = os.environ["RANK"] == "0"
    try:
        answer = run_in_child(_in_group, (function, arguments), timeout_seconds)
    except ChildDied as death:
        reasons = _exchanged(death.reason)
        return pack({"reason": _first_cause(reasons)}) if leads else None
    return pack({"answer": answer}) if leads else None


def _in_group(function: Callable[..., bytes], arguments: tuple[Any, ...]) -> bytes:
    import pyarrow as pa
    import torch
    from torch import distributed

    start_torch()
    pa.set_cpu_count(1)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_STEP_LIMIT)
    try:
        return function(*arguments)
    finally:
        distributed.destroy_process_group()


def _exchanged(reason: str) -> list[str]:
    """Tell the group why this process failed; return what its processes told, in their order."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    server = TCPStore(address, port, is_master=False, timeout=_OUTCOMES_LIMIT)
    store = PrefixStore("reasons", server)
    store.set(os.environ["RANK"], reason)
    names = [str(rank) for rank in range(int(os.environ["WORLD_SIZE"]))]
    if os.environ["RANK"] == "0":
        try:
            store.wait(names, _OUTCOMES_LIMIT)
        except RuntimeError:
            names = [name for name in names if store.check([name])]
        return [store.get(name).decode() for name in names]
    return [reason]


def _first_cause(reasons: list[str]) -> str:
    """Return a reason that is not the failure of another process."""
    own = [reason for reason in reasons if not reason.startswith("PeerLostError")]
    return (own or reasons)[0]
