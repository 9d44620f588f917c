"""The callback of Ray Tune: passes every event of a search to the records, the screen and the other listeners.

It also takes snapshots of Tune's state (`results.snapshots`), and deletes checkpoints once no snapshot needs them.
"""

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from tune_sa2va.durable import folder_bytes
from tune_sa2va.lane.store import prune_ended
from tune_sa2va.lane.trainable import PAUSE
from tune_sa2va.results.records import FINAL_STATES, RunRecords, TrialState
from tune_sa2va.results.seats import note_seats
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.snapshots import Snapshots
from tune_sa2va.results.val_counts import VAL_COUNTS, ValCounts
from tune_sa2va.schedule.decision import Decision
from tune_sa2va.schedule.lane_capacity import LaneCapacity
from tune_sa2va.schedule.repeated_failure import EqualFailures
from tune_sa2va.search.seating import Seating
from tune_sa2va.space.rerun import RERUN_OF, RERUN_SEED, rerun_id
from tune_sa2va.storage.mirror import Mirror
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.watch.listener import Listener
from tune_sa2va.watch.ray_metrics import SearchMetrics
from tune_sa2va.watch.screen import Screen
from tune_sa2va.watch.tensorboard import TensorBoardFiles
from tune_sa2va.watch.trial_logs import TrialLogs

_NO_LANE_S = 60.0
"""Seconds that a search waits for a node while no live node can hold a lane."""

_SEATS_S = 1.0
"""How often lanes are asked for their seats. Their hosts answer within milliseconds."""

_EPOCH_FIELDS = tuple(field.name for field in dataclasses.fields(EpochRecord))


class Recorder(tune.Callback):
    """Records the trials of one search, and shows them."""

    def __init__(
        self,
        settings: SearchSettings,
        snapshots: Snapshots,
        decisions: Mapping[str, Decision],
        lane_capacity: LaneCapacity,
        mirror: Mirror | None,
        seating: Seating,
        *,
        quiet: bool,
    ) -> None:
        """decisions: trial id -> ASHA's latest decision; the scheduler updates it. mirror: keeps the copy, None for no
        copy. seating: tells the lanes of trials. quiet: see `Screen`."""
        self.pause_reason = ""
        """Why the search has to pause and be resumed later; empty while it can run."""
        self.give_up_reason = ""
        """Why no further trial is started; empty unless several trials in a row failed alike."""
        self._failures = EqualFailures()
        self._settings = settings
        self._snapshots = snapshots
        self._decisions = decisions
        self._lane_capacity = lane_capacity
        self._mirror = mirror
        self._seating = seating
        self._lanes_known = settings.lanes
        self._lanes_changed_at_s = 0.0
        self._seats_asked_at_s = -_SEATS_S
        self._quiet = quiet
        self._is_restored = False
        self._ended: set[str] = set()
        self._to_prune: set[str] = set()
        self._staging: Path | None = None
        self._over: dict[str, int] = {}
        """Trial id -> recorded epochs, of trials that ended before a kill but after Tune last saved its state. Tune
        runs them to their end again, replaying epochs from the lane's store; their records stay unchanged."""
        self._numbers: dict[str, int] = {}
        self._lane_of: dict[str, str] = {}
        self._open: tuple[Screen | Listener, ...] = ()

    def setup(self, *args: Any, **info: Any) -> None:
        """Called before the first trial of a new or resumed search."""
        settings = self._settings
        self._records = RunRecords.open(settings.folder)
        self._val_counts = ValCounts(settings.folder)
        self._screen = Screen(settings, quiet=self._quiet)
        folder = settings.folder
        self._listeners: tuple[Listener, ...] = (TrialLogs(folder), TensorBoardFiles(folder), SearchMetrics())
        self._open = (self._screen, *self._listeners)
        if self._mirror is not None:
            self._mirror.begin()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Called before each event; the first call tells which trials of earlier runs are in Tune's state."""
        if not self._is_restored:
            self._restore(trials)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Called after each event, and after Tune has saved its state if a save was due."""
        if trials and self._snapshots.take(Path(trials[0].storage.experiment_driver_staging_path)):
            # Not earlier: after a kill, a trial whose end no snapshot contains continues, and needs its checkpoint.
            self._prune()
            if self._mirror is not None:
                self._mirror.begin()
            self._watch_disk()
        self._watch_lanes()
        self._watch_seats()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Called when a trial gets a lane, for the first time or again."""
        self._numbers.setdefault(trial_id_of(trial), _place_of(trial))
        config, actor = self._settings.trial_config(trial.config), str(trial.temporary_state.ray_actor)
        self._lane_of[trial_id_of(trial)] = self._seating.seat(trial_id_of(trial), config, actor)
        if trial_id_of(trial) not in self._over:
            self._record_start(trial)

    def _record_start(self, trial: Trial) -> None:
        number, lane = self._numbers[trial_id_of(trial)], self._lane_of[trial_id_of(trial)]
        config = self._settings.trial_config(trial.config)
        parent = trial.config.get(RERUN_OF)
        self._records.trial_started(trial_id_of(trial), number, config, lane, parent=parent)
        self._screen.started(trial_id_of(trial))
        known = int((trial.last_result or {}).get("epoch", 0))  # Tune reports all later ones again
        for listener in self._listeners:
            listener.started(trial_id_of(trial), lane, config, known)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Called when a trial has finished an epoch, has failed, or asks for a pause."""
        if result.get(PAUSE):
            self._pause(result[PAUSE])
        self._failures.note(result)
        if not result["failure"] and self._is_known(trial, result["epoch"]):
            return
        if result["failure"]:
            self.give_up_reason = self.give_up_reason or self._failures.words
            self._end(trial_id_of(trial), TrialState.FAILED, result["failure"], result["traceback"])
            return
        record = {name: result[name] for name in _EPOCH_FIELDS}
        self._records.epoch(trial_id_of(trial), record)
        self._val_counts.epoch(trial_id_of(trial), record["epoch"], result[VAL_COUNTS])
        lane, decision = self._lane_of[trial_id_of(trial)], self._decisions.get(trial_id_of(trial))
        self._screen.epoch(trial_id_of(trial), lane, record)
        new_decision = decision if decision is not None and decision.rung == record["epoch"] else None
        for listener in self._listeners:
            listener.epoch(trial_id_of(trial), lane, record, new_decision)

    def _is_known(self, trial: Trial, epoch: int) -> bool:
        """Whether the epoch is a replay of a trial in `_over`. A later epoch is new, and the trial runs again."""
        known = self._over.get(trial_id_of(trial))
        if known is None:
            return False
        if epoch > known:
            del self._over[trial_id_of(trial)]
            self._record_start(trial)
        return epoch <= known

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Called when a trial is over. Tune calls it TERMINATED whether it ran all epochs or was stopped."""
        last = trial.last_result or {}
        whole = last.get("epoch", 0) >= self._settings.epochs and not last.get("folds_left")
        self._end(trial_id_of(trial), TrialState.COMPLETE if whole else TrialState.STOPPED)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Called when a trial lost its workers and will be retried."""
        self._seating.leave(trial_id_of(trial))
        if trial_id_of(trial) not in self._numbers or trial_id_of(trial) in self._over:
            return  # its lane never came up, or its epochs are only replayed
        self._records.trial_ended(trial_id_of(trial), TrialState.WAITING)
        self._screen.interrupted(trial_id_of(trial), _reason(trial))
        for listener in self._listeners:
            listener.interrupted(trial_id_of(trial), self._lane_of[trial_id_of(trial)], _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Called when a trial lost its workers too often."""
        self._end(trial_id_of(trial), TrialState.FAILED, _reason(trial), str(trial.get_error() or ""))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Called at the end. Trials that are still running were stopped by the time budget."""
        if sys.exception() is None:  # Tune calls this after an exception, too; then the trials must stay resumable
            self._staging = Path(trials[0].storage.experiment_driver_staging_path) if trials else None
            if not self._is_restored:
                self._restore(trials)
            for trial_id in self._numbers:
                self._end(trial_id, TrialState.STOPPED)
        self.close()

    def close(self) -> None:
        """Closes all listeners, however the search ends. Does nothing before `setup` and the second time."""
        for listener in self._open:
            listener.close()
        self._open = ()

    def finish(self) -> None:
        """Takes a last snapshot and deletes what it makes unneeded, once Tune is done and no lane is left."""
        if self._staging is not None:
            self._snapshots.take(self._staging)
            self._prune()

    def _prune(self) -> None:
        """Deletes unneeded checkpoints of trials that have ended, and that the newest snapshot records as ended."""
        bests = self._records.best_epochs()
        for trial_id in self._to_prune:
            if (best := bests.get(trial_id)) is not None:
                prune_ended(self._settings.checkpoints / trial_id, best)
        self._to_prune.clear()

    def _restore(self, trials: list[Trial]) -> None:
        """Aligns the records with Tune's restored state. A trial missing there is proposed again: its rows go."""
        self._is_restored = True
        self._records.keep_only({trial_id_of(trial) for trial in trials})
        self._ended = {trial_id_of(trial) for trial in trials if trial.is_finished()}
        for row in self._records.trials().to_dict("records"):
            trial_id = row["trial_id"]
            self._numbers[trial_id] = row["number"]
            if row["state"] in FINAL_STATES and trial_id not in self._ended:
                self._over[trial_id] = int(row["epochs"])

    def _pause(self, reason: str) -> None:
        """Leaves Tune as Ctrl-C does: running trials stay so in Tune's state, and a resumed search continues them."""
        self.pause_reason = reason
        raise KeyboardInterrupt

    def _watch_disk(self) -> None:
        limit_gib = self._settings.max_disk_gib
        if limit_gib is None:
            return
        used_gib = folder_bytes(self._settings.folder) / 2**30
        if used_gib > limit_gib:
            self._pause(
                f"{self._settings.folder} takes {used_gib:.2f} GiB, and --max-disk allows {limit_gib:g}. Raise it."
            )

    def _watch_lanes(self) -> None:
        lanes = self._lane_capacity()
        if lanes != self._lanes_known:
            self._screen.lanes(lanes, before=self._lanes_known)
            self._lanes_known, self._lanes_changed_at_s = lanes, time.monotonic()
        if not lanes and time.monotonic() - self._lanes_changed_at_s > _NO_LANE_S:
            self._pause("No node left in the cluster has room for a lane. Bring nodes back.")

    def _watch_seats(self) -> None:
        if time.monotonic() - self._seats_asked_at_s < _SEATS_S:
            return
        self._seats_asked_at_s = time.monotonic()
        for number, news in self._seating.news():
            lane = f"lane {number + 1}"
            self._lane_capacity.set_seats(number, news.seats)
            if said := (*news.notes, *news.warnings):
                note_seats(self._settings.folder, lane, news.seats, said, news.paces)
                self._screen.seats(lane, news.notes, news.warnings)

    def _end(self, trial_id: str, state: TrialState, failure: str = "", traceback: str = "") -> None:
        self._seating.leave(trial_id)
        if trial_id in self._ended or trial_id not in self._numbers:
            return
        self._ended.add(trial_id)
        self._to_prune.add(trial_id)
        if self._over.pop(trial_id, None) is not None:
            return  # records and listeners already have this end
        self._records.trial_ended(trial_id, state, failure)
        self._screen.ended(trial_id, state, failure)
        for listener in self._listeners:
            listener.ended(trial_id, self._lane_of.get(trial_id, ""), state, failure, traceback)


def trial_id_of(trial: Trial) -> str:
    """The trial's id in the records: its place among the proposed trials, "0000" for the recipe.

    The id of a rerun is that of its trial with the seed, "0003-seed1".

    Tune's own id is random and would not do: a trial that is proposed again after a kill, because no snapshot contains
    it, has the same place and so finds its checkpoints.
    """
    if RERUN_OF in trial.config:
        return rerun_id(trial.config[RERUN_OF], trial.config[RERUN_SEED])
    return f"{_place_of(trial):04d}"


def _place_of(trial: Trial) -> int:
    """The trial's place among the proposed trials, from 0. Tune's tag starts with the place, from 1."""
    return int(trial.experiment_tag.split("_")[0]) - 1


def _reason(trial: Trial) -> str:
    """Why a lane was lost: the last line of Ray's error."""
    lines = [line.strip() for line in str(trial.get_error() or "").splitlines() if line.strip()]
    return lines[-1] if lines else "the workers died without an error message"
