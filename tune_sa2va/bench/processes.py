"""Runs many small tasks side by side, in processes that share this machine's devices."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

UNCOMPILED = {"TORCHDYNAMO_DISABLE": "1"}
"""Variables with which torch.compile does nothing."""

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
    os.environ.update({} if compiled else UNCOMPILED)  # read when the processes import torch
    try:
        workers: list[BaseProcess] = [
            context.Process(target=_on_its_device, args=(number, target, (*arguments, waiting)))
            for number in range(processes)
        ]
        for worker in workers:
            worker.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    for worker in workers:
        worker.join()
    waiting.cancel_join_thread()


def _on_its_device(number: int, target: Callable[..., None], arguments: Sequence[Any]) -> None:
    """In process `number`: processes take turns in which GPU they use, if there are any."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    target(*arguments)


def tasks_of(waiting: Any) -> Iterator[Any]:
    """The tasks of a queue until it is empty."""
    while True:
        try:
            yield waiting.get(timeout=_POLL_S)
        except queue.Empty:
            return
