"""The Tune side of a lane: the actor that owns a trial, and many trials one after the other.

Tune calls `reset_config` for every trial after the first (`reuse_actors=True`), so starting a trial takes milliseconds
and not the 20 s of a worker group. The workers' CPUs and GPUs are in Ray Train's own placement group, which Tune does
not see: the searcher must not propose more trials at a time than all lanes have seats.

The lane belongs to a host. With one seat it is an object in this actor; with several, the hosts are actors that all
owners share, and each trial looks for the one that suits it best (`lane.hosts`).

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
from tune_sa2va.errors import UserError
from tune_sa2va.lane.group import LaneLostError, LaneNotOpenedError
from tune_sa2va.lane.host import DAMAGED_FEATURES, DATA_GONE, OUT_OF_MEMORY, SEAT_LOST, LaneHost
from tune_sa2va.lane.hosts import ON_THE_HEAD_NODE, Host, find_place
from tune_sa2va.lane.messages import FilesRef, Reply, pack_folder
from tune_sa2va.lane.micro_batches import halved
from tune_sa2va.lane.store import Flusher, Stored, TrialStore
from tune_sa2va.results.fold_note import forget_folds, note_folds_done
from tune_sa2va.train.step_kind import step_kind

Judge = Callable[[Mapping[str, Any], str, int, Sequence[Sequence[int] | None]], str]
Configure = Callable[[Mapping[str, Any]], TrialConfig]

LANE_FAILURE = "lane_failure"
"""Key of a result: the lane itself could not be opened, so every trial would fail."""

FAILURE_KIND = "failure_kind"
"""Key of a failed result: class name of the error. It stays the same when the wording of the sentence varies."""

INFEASIBLE_GIB = "infeasible_gib"
"""Key of a result whose trial needs more memory than the device has: a lower bound of what it needs, in GiB."""

PAUSE = "pause"
"""Key of a result after which the search should stop and be resumed later, with the reason: full disk or data gone."""

_FEATURES_AGAIN = 3
"""How often a lane is reopened within one epoch to encode damaged features again. More often means a faulty disk."""

_NOTE = "epoch.json"


class LaneTrainable(tune.Trainable):
    """The owner of one trial at a time. Built by Tune; `tune.with_parameters` passes it the arguments of `setup`."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """The owner's resources only; Ray Train requests the workers' CPUs and GPUs."""
        return tune.PlacementGroupFactory([ON_THE_HEAD_NODE])

    def setup(
        self,
        config: dict[str, Any],
        settings: LaneSettings,
        names: Names,
        configure: Configure,
        storage: Path,
        judge: Judge,
        hosts: Sequence[Host] = (),
    ) -> None:
        """Does not start the lane; the first step does. Tune may drop this actor when another lane becomes free for the
        trial. If that happened while the worker group starts, the group's CPUs and GPUs would stay reserved.

        settings: of the lane, if this actor hosts it itself.

        names: the split, for the workers.
        configure: makes a trial's configuration from Tune's `config`, a point of the search space.
        storage: a folder for checkpoints, visible from this node.
        judge: after each fold but the last, returns why the remaining folds are not worth training, or "". Called with
            Tune's `config`, the trial's name, the epoch, and VAL_COUNTS of the folds so far.
        hosts: those of all lanes, if owners share them. Empty if this actor hosts a lane of its own.
        """
        self._own_hosts = () if hosts else (LaneHost(settings, names),)
        self._hosts: Sequence[Host] = hosts or self._own_hosts
        self._host: Host | None = None
        self._configure = configure
        self._storage_folder = storage
        self._judge = judge
        self._flusher = Flusher()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes a new trial. It starts with its first step, when it is known whether it resumes."""
        self._leave()
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
            if reply.kind == DATA_GONE:
                return self._paused(reply.failure)
            if is_full(reply.failure):
                return self._paused(self._disk_is_full)
            if reply.failure:
                return self._failed(reply)
            return self._save_epoch(reply)
        except LaneNotOpenedError as error:
            if error.kind == DATA_GONE:
                return self._paused(error.reason)
            return self._failed(Reply(failure=error.reason, kind=LANE_FAILURE)) | {LANE_FAILURE: True}
        except (OSError, LaneLostError) as error:
            self._leave()  # now, because Tune ends this actor only after it has started the trial in another
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
        """Runs the next epoch. The reply has its record and the checkpoint after it.

        If memory runs out, tries again with micro-batches halved until they fit or are odd. If features in the cache
        are damaged, tries again in the lane that the host reopens for this. If the seat is lost, takes another.
        """
        opened_again = 0
        while True:
            reply = Reply() if self._is_started else self._start()
            if not reply.failure:
                reply = self._run_folds()
            if reply.kind == DAMAGED_FEATURES and opened_again < _FEATURES_AGAIN:
                opened_again += 1
                what = reply.failure.partition(". ")[0]
                self._features_warning = f"{what}, so the lane was reopened and the image encoded again"
            elif reply.kind != SEAT_LOST:
                smaller = halved(self._config) if reply.kind == OUT_OF_MEMORY else None
                if smaller is None:
                    return reply
                self._config = smaller
            self._is_started = False
            self._stored = self._store.newest()

    def _run_folds(self) -> Reply:
        """Runs the next epoch. Without folds one reply has its record; with folds there is a reply for each fold, until
        the last fold or until the judge gives the trial up. An epoch that found nothing to score is a failure."""
        assert self._host is not None, "the trial was started"
        epoch, done, name = len(self._records) + 1, 0, self.trial_name
        reply = self._host.run(name)
        while reply.counts:
            done += 1
            note_folds_done(self._checkpoints, name, epoch, done)
            reason = self._judge(self._values, name, epoch, reply.counts)
            reply = self._host.end_epoch(name) if reason else self._host.run(name)
            if reason and reply.record is not None:
                reply.record["warning"] = "; ".join(filter(None, (reply.record["warning"], reason)))
        if done:
            forget_folds(self._checkpoints, name)
        if reply.record is not None and not math.isfinite(reply.record["val_dice"]):
            reason = "val_dice is not a number: no validation image shows a vessel, and none was found."
            return Reply(failure=reason, kind="NothingToScore")
        return reply

    def _leave(self) -> None:
        """Gives the trial's place up."""
        self._is_started = False
        host, self._host = self._host, None
        if host is not None:
            host.leave(self._seated_as)

    @property
    def _checkpoints(self) -> Path:
        return self._storage_folder / "checkpoints"

    def _start(self) -> Reply:
        name = self._seated_as = self.trial_name
        # A trial that starts again stays in its lane if it can.
        if self._host is None or self._host.reserve(name, step_kind(self._config)) is None:
            self._host = find_place(self._hosts, name, self._config)
        checkpoint: FilesRef = pack_folder(self._stored.folder) if self._stored.folder is not None else ()
        reply = self._host.start(name, self._config, checkpoint)
        self._is_started = not reply.failure
        return reply

    def _save_epoch(self, reply: Reply) -> dict[str, Any]:
        """Saves an epoch that was just run in the store and returns its result."""
        assert reply.record is not None, "an epoch was run"
        record = reply.record
        warnings = (record["warning"], self._stored.warning, self._smaller_batches(), self._features_warning)
        self._features_warning = ""
        record["warning"] = "; ".join(warning for warning in warnings if warning)
        self._stored = Stored()
        self._records = (*self._records, record)
        self._store.save(self._records, reply.checkpoint)
        if self._is_last(record):
            self._leave()
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
        self._leave()
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
        """Starts the last checkpoint's flush, and closes the lane if it is this actor's own."""
        self._flusher.begin()
        self._leave()
        for host in self._own_hosts:
            host.close()
