"""A trial's checkpoints and epoch records, stored independently of Tune.

Tune saves its own state only now and then, and a kill must not cost the epochs since. So each epoch is stored before
Tune is told of it: its checkpoint and the records of all epochs so far, in one folder that appears atomically. When
Tune restores a trial from an older state, it is told the missed epochs from this store, and they are not run again.

The checkpoint is flushed to disk while the next epoch trains. If the machine stops before the flush is done, checksums
reveal the damaged checkpoint and the previous one, already on disk, is used. This costs one epoch at most.
"""

import contextlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_sa2va.config import TrialConfig
from tune_sa2va.durable import flush_folder, rename_folder
from tune_sa2va.errors import CheckpointError
from tune_sa2va.lane.messages import FilesRef, unpack_folder
from tune_sa2va.results.best import best_epoch
from tune_sa2va.results.val_counts import RECORDS_FILE
from tune_sa2va.train.checkpoint_state import OPTIMIZER_FILE, objective, read_state


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """The newest undamaged state of a trial.

    folder: the checkpoint after the last finished epoch; None if there is none.
    records: those of all finished epochs.
    warning: which checkpoint was found damaged and skipped; empty if none was.
    """

    folder: Path | None = None
    records: tuple[dict[str, Any], ...] = ()
    warning: str = ""


class Flusher:
    """Flushes a lane's latest checkpoint to disk in a background thread, one at a time, whichever trial it belongs to.

    It also deletes checkpoints that are no longer needed: deleting 0.5 GB that were just written takes 0.4 s.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._next: Callable[[], None] | None = None
        self._flushed: Future[None] | None = None

    def note(self, folder: Path, epoch: int, kept: set[int]) -> None:
        """Schedules the flush of the checkpoint after `epoch` of the trial in `folder`, and the deletion of all its
        checkpoints but those after the epochs in `kept`. Call `settle` first."""

        def flush() -> None:
            flush_folder(_path(folder, epoch))
            _keep(folder, kept)

        self._next = flush

    def begin(self) -> None:
        """Starts what was noted. Call it when training continues: if it ran earlier, the tables that the search flushes
        after an epoch would wait for this checkpoint, too."""
        flush, self._next = self._next, None
        if flush is not None:
            self._flushed = self._thread.submit(flush)

    def settle(self) -> None:
        """Waits until the flush that `begin` started is done.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        flushed, self._flushed = self._flushed, None
        if flushed is not None:
            with contextlib.suppress(FileNotFoundError):  # the trial has ended, and its checkpoint was deleted since
                flushed.result()


class TrialStore:
    """The checkpoints of one trial, in a folder of its own."""

    def __init__(self, folder: Path, config: TrialConfig, flusher: Flusher) -> None:
        self._folder, self._config, self._flusher = folder, config, flusher

    def save(self, records: tuple[dict[str, Any], ...], checkpoint: FilesRef) -> None:
        """Stores the state after the last epoch of `records`. Older checkpoints will be deleted, except for the best
        one and the previous one.

        checkpoint: the files of the state, from `pack_folder`.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        epoch = records[-1]["epoch"]
        unfinished = self._folder / f".checkpoint_{epoch:04d}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._flusher.settle()  # first: the checkpoints that it deletes make room for this one
        try:
            unpack_folder(checkpoint, unfinished)
            (unfinished / RECORDS_FILE).write_text(json.dumps(records), encoding="utf-8")
            rename_folder(unfinished, _path(self._folder, epoch))
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)  # leave no unfinished files on a full disk
            raise
        # The best among the earlier epochs: if the time budget ends the search now, Tune is never told of this epoch,
        # and the tables name that one. This epoch's own checkpoint is kept in any case.
        best = best_epoch(records[:-1])
        self._flusher.note(self._folder, epoch, {epoch, epoch - 1} | ({best} if best is not None else set()))

    def newest(self) -> Stored:
        """The state after the last epoch with an undamaged checkpoint; `Stored()` if there is none.

        Deletes the folder if its checkpoints belong to another configuration.
        """
        warning = ""
        for folder in _checkpoints(self._folder):
            try:
                state = read_state(folder)
                records = tuple(json.loads((folder / RECORDS_FILE).read_text(encoding="utf-8")))
            except (CheckpointError, OSError, ValueError, RecursionError) as error:
                warning = f"the checkpoint {folder.name} is damaged, so the one before it was used ({error})"
                continue
            if objective(TrialConfig.model_validate(state["config"])) != objective(self._config):
                # A kill came before Tune recorded that trial; the resumed search proposed another one under its name.
                shutil.rmtree(self._folder)
                return Stored()
            return Stored(folder=folder, records=records, warning=warning)
        return Stored(warning=warning)


def prune_ended(folder: Path, best: int) -> None:
    """Deletes what an ended trial no longer needs: all checkpoints but one, and the optimizer state of that one.

    best: the trial's best epoch according to the search's tables. A better epoch that the tables do not have is
        deleted, too. If there is no checkpoint of `best`, nothing is deleted.
    """
    if not _path(folder, best).exists():
        return
    for file in _path(folder, best).rglob(OPTIMIZER_FILE):  # of every fold
        file.unlink()
    flush_folder(_path(folder, best))  # the lane may not have flushed it yet, and soon it is the only one left
    _keep(folder, {best})


def _keep(folder: Path, epochs: set[int]) -> None:
    kept = {_path(folder, epoch) for epoch in epochs}
    for checkpoint in _checkpoints(folder):
        if checkpoint not in kept:
            shutil.rmtree(checkpoint, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    """All checkpoints in `folder`, latest epoch first."""
    return sorted(folder.glob("checkpoint_*"), reverse=True)


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"checkpoint_{epoch:04d}"
