"""The Tune side of a lane: one actor, one worker group, many trials.

Tune calls `reset_config` for every trial after the first (`reuse_actors=True`), so starting a trial takes milliseconds
and not the 20 s of a worker group. The workers' CPUs and GPUs are in Ray Train's own placement group, which Tune does
not see: the searcher must not propose more trials at a time than there are lanes.

A trial that fails for a reason of its own reports `val_dice` 0 with the reason and is done. A lost worker group raises,
and Tune runs the trial again in a new actor. Tune's checkpoint is only a note of the epoch; the real one is in
`TrialStore`, complete before Tune is told of the epoch.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE, RESULT_DUPLICATE, SHOULD_CHECKPOINT

from tune_sa2va.config import LaneSettings, TrialConfig
from tune_sa2va.data.split_file import Names
from tune_sa2va.durable import is_full
from tune_sa2va.errors import DamagedFeaturesError, DataGoneError, UserError
from tune_sa2va.lane.group import Lane, LaneLostError, LaneNotOpenedError
from tune_sa2va.lane.messages import Command, EndEpoch, FilesRef, Reply, RunEpoch, SaveTrial, StartTrial, pack_folder
from tune_sa2va.lane.micro_batches import halved
from tune_sa2va.lane.store import Flusher, Stored, TrialStore
from tune_sa2va.results.fold_note import forget_folds, note_folds_done

Judge = Callable[[Mapping[str, Any], str, int, Sequence[Sequence[int] | None]], str]
Configure = Callable[[Mapping[str, Any]], TrialConfig]

_ON_THE_HEAD_NODE = {"node:__internal_head__": 0.001}
"""The resources of an owner: a share of a resource that only Ray's head node has. Owners run there so that they survive
the loss of any other node. They reserve no CPU, as they sleep while the workers work."""

LANE_FAILURE = "lane_failure"
"""Key of a result: the lane itself could not be opened, so every trial would fail."""

FAILURE_KIND = "failure_kind"
"""Key of a failed result: class name of the error. It stays the same when the wording of the sentence varies."""

INFEASIBLE_GIB = "infeasible_gib"
"""Key of a result whose trial needs more memory than the device has: a lower bound of what it needs, in GiB."""

PAUSE = "pause"
"""Key of a result after which the search should stop and be resumed later, with the reason: full disk or data gone."""

DATA_GONE, DAMAGED_FEATURES = DataGoneError.__name__, DamagedFeaturesError.__name__
"""Kinds of failure that are not the trial's fault."""

_FEATURES_AGAIN = 3
"""How often a lane is reopened within one epoch to encode damaged features again. More often means a faulty disk."""

OUT_OF_MEMORY = "OutOfMemoryError"
_NOTE = "epoch.json"


class LaneTrainable(tune.Trainable):
    """The owner of one lane. Built by Tune; `tune.with_parameters` passes it the arguments of `setup`."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The owner's resources only; Ray Train requests the workers' CPUs and GPUs."""
        return tune.PlacementGroupFactory([_ON_THE_HEAD_NODE])

    def setup(
        self,
        config: dict[str, Any],
        settings: LaneSettings,
        names: Names,
        configure: Configure,
        storage: Path,
        judge: Judge,
    ) -> None:
        """Does not start the lane; the first step does. Tune may drop this actor when another lane becomes free for the
        trial. If that happened while the worker group starts, the group's CPUs and GPUs would stay reserved.

        names: the split, for the workers.
        configure: makes a trial's configuration from Tune's `config`, a point of the search space.
        storage: a folder for checkpoints, visible from this node.
        judge: after each fold but the last, returns why the remaining folds are not worth training, or "". Called with
            Tune's `config`, the trial's name, the epoch, and VAL_COUNTS of the folds so far.
        """
        self._settings, self._names = settings, names
        self._configure = configure
        self._storage_folder = storage
        self._judge = judge
        self._flusher = Flusher()
        self._lane: Lane | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes a new trial into the same lane. It starts with its first step, when it is known whether it resumes."""
        self._values = dict(new_config)
        self._known_epochs = 0
        self._features_warning = ""
        self._is_restored = False
        self._is_started = False
        return True

    def step(self) -> dict[str, Any]:
        """The result of the next epoch: of one that is run, or one from the store that Tune's state lacks."""
        self._flusher.begin()
        if not self._is_restored and (problem := self._restore()):
            return self._failed(problem)
        try:
            if self._epochs_tune_lacks:
                return self._result(self._epochs_tune_lacks.popleft())
            if self._records and self._is_last(self._records[-1]):
                # A kill came after the last epoch's checkpoint and before Tune saved the trial's end: the last result
                # stands.
                return {RESULT_DUPLICATE: True, DONE: True}
            reply = self._run_epoch()
            if reply.failure:
                return self._paused(reply.failure) if reply.kind == DATA_GONE else self._failed(reply)
            assert reply.record is not None, "a trial with epochs left has run one"
            return self._save_epoch(reply.record)
        except LaneNotOpenedError as error:
            if error.kind == DATA_GONE:
                return self._paused(error.reason)
            return self._failed(Reply(failure=error.reason, kind=LANE_FAILURE)) | {LANE_FAILURE: True}
        except (OSError, LaneLostError) as error:
            if not is_full(error):
                raise
            return self._paused(self._disk_is_full)

    def _restore(self) -> Reply | None:
        """Finds the trial's newest state. Returns a failure if the sampled point is not a valid configuration."""
        try:
            self._config = self._configure(self._values)
        except (ValueError, UserError) as error:
            return Reply(failure=str(error), kind=type(error).__name__)
        self._store = TrialStore(self._checkpoints / self.trial_name, self._config, self._flusher)
        self._stored = self._store.newest()
        self._records = self._stored.records
        self._epochs_tune_lacks = deque(self._records[self._known_epochs :])
        self._is_restored = True
        return None

    def _run_epoch(self) -> Reply:
        """Runs the next epoch. If memory runs out, tries again with micro-batches halved until they fit or are odd.

        If features in the cache are damaged, reopens the lane and tries again: an open lane has released its encoders,
        and opening one encodes missing features.
        """
        opened_again = 0
        while True:
            reply = self._start() if not self._is_started else Reply()
            if not reply.failure:
                reply = self._run_folds()
            if reply.kind == DAMAGED_FEATURES and opened_again < _FEATURES_AGAIN:
                opened_again += 1
                what = reply.failure.partition(". ")[0]
                self._features_warning = f"{what}, so the lane was reopened and the image encoded again"
                self._end_lane()
                continue
            smaller = halved(self._config) if reply.kind == OUT_OF_MEMORY else None
            if smaller is None:
                return reply
            self._config = smaller
            self._is_started = False
            self._stored = self._store.newest()

    def _run_folds(self) -> Reply:
        """Runs the next epoch. Without folds one reply has its record; with folds there is a reply for each fold, until
        the last fold or until the judge gives the trial up."""
        epoch, done = len(self._records) + 1, 0
        reply = self._ask(RunEpoch())
        while reply.counts:
            done += 1
            note_folds_done(self._checkpoints, self.trial_name, epoch, done)
            reason = self._judge(self._values, self.trial_name, epoch, reply.counts)
            reply = self._ask(EndEpoch() if reason else RunEpoch())
            if reason and reply.record is not None:
                reply.record["warning"] = "; ".join(filter(None, (reply.record["warning"], reason)))
        if done:
            forget_folds(self._checkpoints, self.trial_name)
        return reply

    def _end_lane(self) -> None:
        """Closes the lane; the trial continues in a new one, from its last checkpoint."""
        assert self._lane is not None, "it has just replied"
        self._lane.close()
        self._lane = None
        self._is_started = False
        self._stored = self._store.newest()

    @property
    def _checkpoints(self) -> Path:
        return self._storage_folder / "checkpoints"

    def _start(self) -> Reply:
        if self._lane is None or not self._lane.alive:
            self._lane = Lane(self._settings, self._names)
        checkpoint: FilesRef = pack_folder(self._stored.folder) if self._stored.folder is not None else ()
        reply = self._ask(StartTrial(config=self._config, checkpoint=checkpoint))
        self._is_started = not reply.failure
        return reply

    def _ask(self, command: Command) -> Reply:
        assert self._lane is not None, "`_start` was called before"
        return self._lane.ask(command)

    def _save_epoch(self, record: dict[str, Any]) -> dict[str, Any]:
        """Saves an epoch that was just run in the store and returns its result."""
        if not math.isfinite(record["val_dice"]):
            reason = "val_dice is not a number: no validation image shows a vessel, and none was found."
            return self._failed(Reply(failure=reason, kind="NothingToScore"))
        warnings = (record["warning"], self._stored.warning, self._smaller_batches(), self._features_warning)
        self._features_warning = ""
        record["warning"] = "; ".join(warning for warning in warnings if warning)
        self._stored = Stored()
        saved = self._ask(SaveTrial())
        if is_full(saved.failure):
            return self._paused(self._disk_is_full)
        if saved.failure:
            return self._failed(saved)
        self._records = (*self._records, record)
        self._store.save(self._records, saved.checkpoint)
        return self._result(record)

    def _smaller_batches(self) -> str:
        asked = self._configure(self._values).train.micro_batch_size
        got = self._config.train.micro_batch_size
        return "" if asked == got else f"memory ran out with micro-batches of {asked}, so they are of {got} now"

    def _result(self, record: dict[str, Any]) -> dict[str, Any]:
        return record | {"failure": "", SHOULD_CHECKPOINT: True, DONE: self._is_last(record)}

    def _is_last(self, record: dict[str, Any]) -> bool:
        """Whether the trial ends with this epoch."""
        return bool(record["epoch"] >= self._config.train.epochs or record["folds_left"])

    @property
    def _disk_is_full(self) -> str:
        return f"The disk of {self._storage_folder} is full (or the one for temporary files). Free some space."

    def _paused(self, reason: str) -> dict[str, Any]:
        """A result that pauses the search. The trial itself is sound; it continues once the cause has been removed."""
        return {"val_dice": 0.0, "failure": "", PAUSE: reason, DONE: False}

    def _failed(self, reply: Reply) -> dict[str, Any]:
        """The last result of a trial that cannot continue.

        Its value is finite: with NaN or no value, the Optuna trial would stay RUNNING for ever. It has no epoch, so
        ASHA does not count it at any rung.
        """
        self._is_started = False
        result = {
            "val_dice": 0.0,
            "failure": reply.failure,
            "traceback": reply.traceback,
            FAILURE_KIND: reply.kind,
            DONE: True,
        }
        return result | ({INFEASIBLE_GIB: reply.needed_gib} if reply.kind == OUT_OF_MEMORY else {})

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes a note of the last epoch that Tune was told."""
        epochs = len(self._records) - len(self._epochs_tune_lacks)
        (Path(checkpoint_dir) / _NOTE).write_text(json.dumps({"epoch": epochs}), encoding="utf-8")

    def load_checkpoint(self, checkpoint: str) -> None:
        """Reads the note; the state itself is read from the store in the first step.

        If the note cannot be read, Tune is told every epoch again, which does no harm.
        """
        try:
            note = json.loads((Path(checkpoint) / _NOTE).read_text(encoding="utf-8"))
            self._known_epochs = int(note["epoch"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self._known_epochs = 0

    def cleanup(self) -> None:
        """Starts the last checkpoint's flush and closes the lane."""
        self._flusher.begin()
        if self._lane is not None:
            self._lane.close()
