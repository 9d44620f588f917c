"""A lane: one long-lived Ray Train worker group with the base model loaded, run in a thread of its owner."""

import os
import tempfile
import threading
import time
import uuid
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_sa2va.config import LaneSettings
from tune_sa2va.data.split_file import Names
from tune_sa2va.lane.mailbox import OPENING, Mailbox
from tune_sa2va.lane.messages import Command, Exit, Reply
from tune_sa2va.lane.process_group import torch_config

_POLL_S = 1.0
"""How often a waiting owner checks that the worker group is alive. Replies wake it at once."""

_PEER_GRACE_S = 30.0
"""How long the other workers may take to reply after one has failed. Later than that, they hang in a collective."""

_CLOSE_S = 8.0
"""How long an orderly shutdown may take. Tune kills an owner 10 s after asking it to stop."""

_TRAIN_ENVIRONMENT = {
    # Ray Train checks its workers every 2 s by default; starting and ending a lane wait for several such checks.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # Saves one process a lane. Its warning would be of no use: every epoch has a checkpoint.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # The first worker on a node imports torch and transformers from a cold disk, perhaps alongside seven others.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}


def _work(config: dict[str, Any]) -> None:
    """What each worker runs. The import is inside the function because the model's modules take seconds to load, and
    the owner and Ray Train's controller, which start first, do not need them."""
    from tune_sa2va.lane.worker import work

    work(config)


class LaneLostError(RuntimeError):
    """The worker group is gone. Its trial can continue in a new one, from its last checkpoint."""


class LaneNotOpenedError(RuntimeError):
    """The workers cannot be opened with these settings, so no trial can run. kind: class name of the workers' error."""

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason, kind)
        self.reason, self.kind = reason, kind

    def __str__(self) -> str:
        return self.reason


class Lane:
    """Starts on construction; `ask` waits until the workers are open. `close` it, or Ray prints pages of tracebacks.

    names: the split. It is sent to the workers because they may run on nodes that do not see the results folder.
    """

    def __init__(self, settings: LaneSettings, names: Names) -> None:
        os.environ.update(_TRAIN_ENVIRONMENT)  # Ray Train reads it here and passes it to its controller
        self._num_workers = settings.num_workers
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_concurrency=settings.num_workers + 4, scheduling_strategy=here)(Mailbox)
        self._mailbox = actor.remote()
        per_worker: dict[str, float] = {"CPU": settings.cpus_per_worker}
        if settings.use_gpu:
            per_worker["GPU"] = 1
        # For Ray Train's own files, a few hundred bytes. A local folder is enough: its controller runs on this node,
        # and workers report nothing through it.
        self._folder = tempfile.TemporaryDirectory(prefix="tune_sa2va-lane-", ignore_cleanup_errors=True)
        self._trainer = TorchTrainer(
            _work,
            # Names go by reference: Ray Train shows this config in its dashboard, and they may identify patients.
            train_loop_config={"settings": settings, "mailbox": self._mailbox, "names": (ray.put(names),)},
            scaling_config=ray.train.ScalingConfig(
                num_workers=settings.num_workers, use_gpu=settings.use_gpu, resources_per_worker=per_worker
            ),
            torch_config=torch_config(settings.num_workers),
            run_config=ray.train.RunConfig(
                name=f"lane-{uuid.uuid4().hex[:12]}",  # two lanes of one name would share a folder
                storage_path=self._folder.name,
                failure_config=ray.train.FailureConfig(max_failures=0),  # Tune retries; retries of both would multiply
            ),
        )
        self._end: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)
        self._thread.start()
        self._is_open = False

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self._end = error

    @property
    def alive(self) -> bool:
        """Whether the worker group may still take commands."""
        return self._thread.is_alive()

    def ask(self, command: Command) -> Reply:
        """Sends `command` to all workers and waits. Returns the reply of rank 0, or of the lowest rank that failed.

        Raises:
            LaneNotOpenedError: the workers cannot be opened with these settings.
            LaneLostError: the worker group died.
        """
        if not self._is_open:
            opening = self._wait_for(OPENING)
            if opening.failure:
                raise LaneNotOpenedError(opening.failure, opening.kind)
            self._is_open = True
        return self._wait_for(ray.get(self._mailbox.post.remote(command)))

    def _wait_for(self, number: int) -> Reply:
        failed_at_s: float | None = None
        while True:
            replies: dict[int, Reply] = ray.get(self._mailbox.replies.remote(number, self._num_workers, _POLL_S))
            failures = [replies[rank] for rank in sorted(replies) if replies[rank].failure]
            if len(replies) == self._num_workers:
                return failures[0] if failures else replies[0]
            if not self.alive:
                # Even if a worker reported a failure: a broken connection to a dead peer is not the trial's fault.
                raise LaneLostError(f"The workers of a lane died: {self._end or 'they ended without an error'}")
            if failures:
                failed_at_s = failed_at_s or time.monotonic()
                if time.monotonic() - failed_at_s > _PEER_GRACE_S:
                    self.close(abort=True)
                    return failures[0]

    def close(self, *, abort: bool = False) -> None:
        """Asks the workers to exit and waits, at most `_CLOSE_S`, until Ray Train has cleaned up."""
        if self.alive:
            ray.get(self._mailbox.post.remote(Exit(abort=abort)))
            self._thread.join(_CLOSE_S)
        self._folder.cleanup()
