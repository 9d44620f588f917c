"""The Tune side of a lane: one actor, one worker group, many trials.

Tune calls `reset_config` for every trial after the first (`reuse_actors=True`), so that a trial costs milliseconds to
start and not the 20 s of a worker group. The workers' CPUs and GPUs are Ray Train's own placement group, which Tune
does not see: `max_concurrent_trials` must be the number of lanes.

A trial that fails on its own account reports `val_dice` 0 with the reason and is done; a lost worker group raises, and
Tune runs the trial again in a new actor, from its last checkpoint.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE, RESULT_DUPLICATE, SHOULD_CHECKPOINT

from tune_sa2va.config import LaneSettings, TrialConfig
from tune_sa2va.errors import UserError
from tune_sa2va.lane.group import Lane, LaneNotOpenedError
from tune_sa2va.lane.messages import Answer, FilesRef, RunEpoch, SaveTrial, StartTrial, pack_folder, unpack_folder

Configure = Callable[[Mapping[str, Any]], TrialConfig]

OWNER_CPUS = 0.01
"""What an owner asks Tune for. It sleeps while its workers work."""

LANE_FAILURE = "lane_failure"
"""Key of a result whose failure would be every other trial's too."""


class LaneTrainable(tune.Trainable):
    """One lane. Built by Tune; `tune.with_parameters` hands it the arguments of `setup`."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """A small share of a CPU: whole ones can deadlock two lanes on two CPUs."""
        return tune.PlacementGroupFactory([{"CPU": OWNER_CPUS}])

    def setup(self, config: dict[str, Any], settings: LaneSettings, configure: Configure, storage: Path) -> None:
        """Starts the lane; it opens while Tune goes on.

        configure: makes a trial's configuration of Tune's `config`, a point of the search space.
        storage: a folder for Ray Train's own files, seen by all nodes.
        """
        self._settings = settings
        self._configure = configure
        self._storage_folder = storage
        self._lane = Lane(settings, storage)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """A new trial in the same lane. It starts with its first step, when we know whether it resumes."""
        self._values = dict(new_config)
        self._checkpoint: FilesRef = ()
        self._is_started = False
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            answer = self._run_epoch()
        except LaneNotOpenedError as error:
            return self._failed(str(error)) | {LANE_FAILURE: True}
        if answer.failure:
            return self._failed(answer.failure, answer.traceback)
        if answer.record is None:
            # Killed after the last epoch's checkpoint and before Tune wrote the end: the last result stands.
            return {RESULT_DUPLICATE: True, DONE: True}
        record = answer.record
        if not math.isfinite(record["val_dice"]):
            return self._failed("val_dice is not a number: no validation image shows a vessel, and none was found.")
        return record | {"failure": "", SHOULD_CHECKPOINT: True, DONE: record["epoch"] >= self._config.train.epochs}

    def _run_epoch(self) -> Answer:
        if not self._is_started:
            try:
                self._config = self._configure(self._values)
            except (ValueError, UserError) as error:
                return Answer(failure=str(error))
            if not self._lane.alive:
                self._lane = Lane(self._settings, self._storage_folder)
            started = self._lane.ask(StartTrial(config=self._config, checkpoint=self._checkpoint))
            self._checkpoint = ()
            if started.failure:
                return started
            self._is_started = True
        return self._lane.ask(RunEpoch())

    def _failed(self, reason: str, traceback: str = "") -> dict[str, Any]:
        """The last result of a trial that cannot go on.

        Its value is finite: with NaN or none the Optuna trial would stay RUNNING for ever. It has no epoch, so that
        ASHA leaves it out where it takes the measure of the others.
        """
        self._is_started = False
        return {"val_dice": 0.0, "failure": reason, "traceback": traceback, DONE: True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the trial's checkpoint, fetched from its worker."""
        answer = self._lane.ask(SaveTrial())
        if answer.failure:
            raise RuntimeError(f"The trial's checkpoint cannot be saved: {answer.failure}")
        unpack_folder(answer.checkpoint, Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:
        """Keeps a trial's checkpoint for its first step."""
        self._checkpoint = pack_folder(Path(checkpoint))

    def cleanup(self) -> None:
        """Asks the workers to leave, waits, and only then lets go of them."""
        self._lane.close()
