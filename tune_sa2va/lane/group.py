"""A lane: one long-lived Ray Train worker group with the base model loaded, run in a thread of its owner."""

import os
import tempfile
import threading
import time
import uuid
from typing import Any

import ray
import ray.train
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_sa2va.config import LaneSettings
from tune_sa2va.data.split_file import Names
from tune_sa2va.lane.mailbox import OPENING, Mailbox
from tune_sa2va.lane.messages import Command, Exit, Reply


class _WithoutProcessGroup(TorchConfig):
    """For a lane of one worker, which reduces gradients with nobody: torch's store would listen on every interface."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Ray Train's own backend, which sets nothing up."""
        return Backend


_POLL_S = 1.0
"""How often a waiting owner checks that the worker group still lives. Answers wake it at once."""

_PEER_GRACE_S = 30.0
"""How long the other workers may take to answer once one of them has failed; then they hang in a collective."""

_CLOSE_S = 8.0
"""How long an orderly end may take. Tune kills an owner 10 s after it asked it to stop."""

_TRAIN_ENVIRONMENT = {
    # Ray Train looks after its workers every 2 s by default; a start and an end of a lane wait for it several times.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # One process less for each lane. Ours would not use the warning: every epoch has a checkpoint.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # The first worker of a node imports torch and transformers from a cold disk, maybe beside seven others.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}


def _work(config: dict[str, Any]) -> None:
    """What each worker runs. Imported there alone: the model's modules take seconds, and owner and controller, which
    start before the workers, need none of them."""
    from tune_sa2va.lane.worker import work

    work(config)


class LaneLostError(RuntimeError):
    """The worker group is gone; its trial can go on in a new one, from its last checkpoint."""


class LaneNotOpenedError(RuntimeError):
    """The workers cannot be opened with these settings, so no trial can run. kind: the class of what they met."""

    def __init__(self, reason: str, kind: str = "") -> None:
        super().__init__(reason, kind)
        self.reason, self.kind = reason, kind

    def __str__(self) -> str:
        return self.reason


class Lane:
    """Starts on construction; `ask` waits until the workers are open. `close` it, or Ray prints pages of tracebacks.

    names: the split, which travels to the workers: they may sit on nodes that do not see the results folder.
    """

    def __init__(self, settings: LaneSettings, names: Names) -> None:
        os.environ.update(_TRAIN_ENVIRONMENT)  # read here by Ray Train, which hands it to its controller
        self._num_workers = settings.num_workers
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_concurrency=settings.num_workers + 4, scheduling_strategy=here)(Mailbox)
        self._mailbox = actor.remote()
        per_worker: dict[str, float] = {"CPU": settings.cpus_per_worker}
        if settings.use_gpu:
            per_worker["GPU"] = 1
        # Ray Train's own files, some hundred bytes. Its controller runs on our node, and workers report nothing to it,
        # so nobody looks for them elsewhere.
        self._folder = tempfile.TemporaryDirectory(prefix="tune_sa2va-lane-", ignore_cleanup_errors=True)
        self._trainer = TorchTrainer(
            _work,
            # By reference: Ray Train shows this config in its dashboard, and names may be patients'.
            train_loop_config={"settings": settings, "mailbox": self._mailbox, "names": (ray.put(names),)},
            scaling_config=ray.train.ScalingConfig(
                num_workers=settings.num_workers, use_gpu=settings.use_gpu, resources_per_worker=per_worker
            ),
            torch_config=TorchConfig() if settings.num_workers > 1 else _WithoutProcessGroup(),
            run_config=ray.train.RunConfig(
                name=f"lane-{uuid.uuid4().hex[:12]}",  # two lanes of one name would share a folder
                storage_path=self._folder.name,
                failure_config=ray.train.FailureConfig(max_failures=0),  # Tune retries; both would multiply
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
        """Gives `command` to all workers and waits. The answer of rank 0, or of the first rank that failed.

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
            answers: dict[int, Reply] = ray.get(self._mailbox.answers.remote(number, self._num_workers, _POLL_S))
            failures = [answers[rank] for rank in sorted(answers) if answers[rank].failure]
            if len(answers) == self._num_workers:
                return failures[0] if failures else answers[0]
            if not self.alive:
                # Even where a worker gave a reason: that the connection to a dead one broke says nothing of the trial.
                raise LaneLostError(f"The workers of a lane died: {self._end or 'they left without a word'}")
            if failures:
                failed_at_s = failed_at_s or time.monotonic()
                if time.monotonic() - failed_at_s > _PEER_GRACE_S:
                    self.close(abort=True)
                    return failures[0]

    def close(self, *, abort: bool = False) -> None:
        """Asks the workers to leave and waits until Ray Train has put everything away."""
        if self.alive:
            ray.get(self._mailbox.post.remote(Exit(abort=abort)))
            self._thread.join(_CLOSE_S)
        self._folder.cleanup()
