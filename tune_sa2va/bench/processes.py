"""Runs many small tasks side by side, in processes that share one device."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

_UNCOMPILED = {"TORCHDYNAMO_DISABLE": "1"}
_POLL_S = 1.0


def work_off(
    tasks: Sequence[Any], target: Callable[..., None], arguments: Sequence[Any], *, processes: int, compiled: bool
) -> None:
    """Calls `target(*arguments, waiting)` in each process, and returns when all have ended.

    target: a function of a module; it takes its tasks from `tasks_of(waiting)`. A process that fails prints its error;
        the others go on. compiled: whether torch.compile works in them.
    """
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    waiting = context.Queue()
    for task in tasks:
        waiting.put(task)
    before = dict(os.environ)
    os.environ.update({} if compiled else _UNCOMPILED)  # read when the processes import torch
    try:
        workers: list[BaseProcess] = [
            context.Process(target=target, args=(*arguments, waiting)) for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    for worker in workers:
        worker.join()
    waiting.cancel_join_thread()


def tasks_of(waiting: Any) -> Iterator[Any]:
    """The tasks of a queue until it is empty."""
    while True:
        try:
            yield waiting.get(timeout=_POLL_S)
        except queue.Empty:
            return
