"""What every worker of a lane runs: it loads the base model once, then handles one command after another.

A failure of a trial itself (an impossible config, a NaN) becomes a reply: that trial is closed, those beside it go on.
If a whole round fails (no memory left, an image that cannot be read), all trials are closed, the base model is as
before, and the lane continues. An error that may have broken the process (a CUDA error, a lost peer) is raised and ends
the lane.
"""

import gc
import logging
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed

from tune_sa2va.config import LaneSettings
from tune_sa2va.data.failure_words import FailureWords
from tune_sa2va.errors import TrialFailure
from tune_sa2va.lane.mailbox import OPENING
from tune_sa2va.lane.messages import (
    NO_SEAT,
    Command,
    EndEpoch,
    Exit,
    FilesRef,
    LeaveSeats,
    ProbeSeats,
    Reply,
    RunRound,
    SetSeats,
    StartTrial,
    pack_folder,
    unpack_folder,
)
from tune_sa2va.results.val_counts import VAL_COUNTS
from tune_sa2va.train.checkpoint import Finish
from tune_sa2va.train.epoch import run_epoch
from tune_sa2va.train.folded_trial import FoldedTrial
from tune_sa2va.train.records import EpochRecord
from tune_sa2va.train.seat_pace import measure_pace
from tune_sa2va.train.trial import Trial
from tune_sa2va.train.workbench import Workbench

_WAIT_S = 30.0
"""Longest single wait inside the mailbox. It only decides how soon a worker notices that the mailbox is gone."""

log = logging.getLogger(__name__)


class LaneAborted(RuntimeError):
    """The owner gave this worker group up."""


def work(config: dict[str, Any]) -> None:
    """The `train_loop_per_worker` of a lane's `TorchTrainer`; `config` holds `settings`, `mailbox` and `names`."""
    settings: LaneSettings = config["settings"]
    mailbox = config["mailbox"]
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(settings.cpus_per_worker)
    (names,) = ray.get(list(config["names"]))
    words = FailureWords.of(names, settings.data)
    try:
        bench = Workbench.open(settings, names, rank=rank, world_size=world_size)
    except Exception as error:
        reply = _failed(error, words)
        ray.get(mailbox.reply.remote(OPENING, rank, reply))
        # Without a cause: Ray stores what is raised, and the original error may hold names of the data set.
        raise LaneAborted(f"This lane could not be opened: {reply.failure}") from None
    ray.get(mailbox.reply.remote(OPENING, rank, Reply()))

    worker = _Worker(bench, settings, FailureWords.of(names, settings.data, bench.samples), rank)
    number = OPENING
    while True:
        try:
            found = ray.get(mailbox.command_after.remote(number, _WAIT_S))
        except ray.exceptions.RayActorError:  # the owner is gone, and its mailbox with it
            return
        if found is None:
            continue
        number, command = found
        if isinstance(command, Exit):
            worker.clear()
            if command.abort:
                raise LaneAborted("The owner of this lane gave its workers up.")
            return
        ray.get(mailbox.reply.remote(number, rank, worker.handle(command)))


class _Worker:
    """Runs the trials that sit at one worker's workbench."""

    def __init__(self, bench: Workbench, settings: LaneSettings, words: FailureWords, rank: int) -> None:
        """words: rewrites the text of failures so that it holds no name of the data set."""
        self._bench, self._settings = bench, settings
        self._words = words
        self._rank = rank
        self._trials: dict[str, Trial | FoldedTrial] = {}
        """Those that sit, by name."""

    def handle(self, command: Command) -> Reply:
        """Executes `command` and returns the reply. A failure closes the trials that it concerns and becomes the
        reply."""
        try:
            return self._execute(command)
        except torch.distributed.DistError:
            raise
        except Exception as error:
            reply = _failed(error, self._words)
            # The frames of the failed step hold activations and gradients, whose memory must be freed.
            traceback.clear_frames(error.__traceback__)
        self._close(self._trials if isinstance(command, RunRound) else [getattr(command, "trial", "")])
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a broken device raises here, which ends the worker
            torch.cuda.empty_cache()
        return reply

    def clear(self) -> None:
        """Closes all trials, which leaves the base model as it was loaded."""
        self._close(self._trials)

    def _execute(self, command: Command) -> Reply:
        match command:
            case StartTrial():
                return self._start(command)
            case RunRound():
                return self._run_round(command.trials)
            case EndEpoch():
                trial = self._trials[command.trial]
                assert isinstance(trial, FoldedTrial), "only a trial with folds can end in mid-epoch"
                ended = {command.trial: self._epoch_reply(trial, trial.record())}
                return self._with_checkpoints(ended)[command.trial]
            case LeaveSeats():
                self._close(command.trials)
                return Reply()
            case SetSeats():
                self._bench.engine.change_seats(command.seats)
                return Reply()
            case ProbeSeats():
                assert self._settings.seats_probe is not None, "this lane's seats are given"
                self._bench.engine.change_seats(command.seats)
                return Reply(pace=measure_pace(self._bench, self._settings, self._settings.seats_probe))
        raise AssertionError(f"no such command: {command}")

    def _close(self, names: Iterable[str]) -> None:
        for name in list(names):
            if (trial := self._trials.pop(name, None)) is not None:
                trial.close()

    def _start(self, command: StartTrial) -> Reply:
        assert command.trial not in self._trials, "a trial that starts again has left its seat"
        if not self._bench.engine.has_seat(command.config):
            return Reply(failure="The trial cannot sit beside those that sit now.", kind=NO_SEAT)
        if not command.checkpoint:
            self._trials[command.trial] = self._bench.trial(command.config)
            return Reply()
        with tempfile.TemporaryDirectory() as folder:
            unpack_folder(command.checkpoint, Path(folder))
            self._trials[command.trial] = self._bench.trial(command.config, resume_from=Path(folder))
        return Reply()

    def _run_round(self, names: tuple[str, ...]) -> Reply:
        outcomes = run_epoch([self._trials[name].prepared() for name in names])
        replies = {name: self._outcome(name, each) for name, each in zip(names, outcomes, strict=True)}
        return Reply(trials=self._with_checkpoints(replies))

    def _outcome(self, name: str, outcome: EpochRecord | TrialFailure) -> Reply:
        if isinstance(outcome, TrialFailure):
            return self._failed_alone(name, outcome)
        trial = self._trials[name]
        return self._epoch_reply(trial, trial.settled(outcome))

    def _failed_alone(self, name: str, error: Exception) -> Reply:
        reply = _failed(error, self._words)
        traceback.clear_frames(error.__traceback__)
        self._close([name])
        return reply

    def _epoch_reply(self, trial: Trial | FoldedTrial, record: EpochRecord | None) -> Reply:
        """The record with the counts of each validation image as plain values; in mid-epoch, the counts alone."""
        if self._rank != 0:
            return Reply()
        counts = [None if image is None else [image.tp, image.fp, image.fn, image.tn] for image in trial.val_counts]
        if record is None:
            return Reply(counts=tuple(counts))
        return Reply(record=asdict(record) | {VAL_COUNTS: counts})

    def _with_checkpoints(self, replies: Mapping[str, Reply]) -> dict[str, Reply]:
        """The replies, each record with the checkpoint after its epoch. A trial whose checkpoint cannot be written
        fails.

        They are copied one after the other, and written and packed at the same time.
        """
        completed = dict(replies)
        ended = [name for name, reply in replies.items() if reply.record is not None]
        with ThreadPoolExecutor(max(1, len(ended))) as threads:
            packing = {}
            for name in ended:
                folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
                packing[name] = threads.submit(_packed, folder, self._trials[name].begin_save(Path(folder.name)))
            for name, packed in packing.items():
                try:
                    completed[name] = replace(replies[name], checkpoint=packed.result())
                except Exception as error:
                    completed[name] = self._failed_alone(name, error)
        return completed


def _packed(folder: "tempfile.TemporaryDirectory[str]", finish: Finish) -> FilesRef:
    """The files of a checkpoint that is being written to `folder`, which is deleted."""
    with folder:
        finish()
        return pack_folder(Path(folder.name))


def _failed(error: Exception, words: FailureWords) -> Reply:
    reason, needed_gib = words.sentence(str(error)) or type(error).__name__, 0.0
    if isinstance(error, torch.OutOfMemoryError):
        reason = f"Out of memory: {reason}"
        needed_gib = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return Reply(
        failure=reason,
        traceback=words.traceback("".join(traceback.format_exception(error))),
        kind=type(error).__name__,
        needed_gib=needed_gib,
    )
