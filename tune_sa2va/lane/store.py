"""A trial's checkpoints and epoch records, kept by us and not by Tune.

Tune saves its own state now and then; what a kill takes of it must not cost an epoch. So each epoch is kept before Tune
hears of it: the checkpoint and the records of all epochs up to it, in one folder that appears whole. A trial that Tune
takes up from an older state is told the epochs it has missed from here, without running them again.

The disk is waited for while the next epoch trains. Should the machine stop before, checksums tell, and the checkpoint
before serves, which the disk has: that costs the last epoch, as its loss in mid-epoch would.
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
    """The newest sound state of a trial.

    epoch: finished epochs, 0 for a trial with none. folder: the checkpoint after it. records: of epochs 1..epoch.
    warning: what was found damaged and passed over; empty when all is well.
    """

    epoch: int = 0
    folder: Path | None = None
    records: tuple[dict[str, Any], ...] = ()
    warning: str = ""


class Flusher:
    """Brings one checkpoint at a time to the disk, in a thread: a lane's last one, whichever trial's it is.

    It also takes away those that are not needed any more: to delete 0.5 GB that were just written takes 0.4 s.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._next: Callable[[], None] | None = None
        self._flushed: Future[None] | None = None

    def note(self, folder: Path, epoch: int, kept: set[int]) -> None:
        """The checkpoint after `epoch` of the trial in `folder` comes next, and all but `kept` go. `settle` before."""

        def flush() -> None:
            flush_folder(_path(folder, epoch))
            _keep(folder, kept)

        self._next = flush

    def begin(self) -> None:
        """Begins with what was noted; call it when training goes on. Tables that the search flushes before would wait
        for this checkpoint, too."""
        flush, self._next = self._next, None
        if flush is not None:
            self._flushed = self._thread.submit(flush)

    def settle(self) -> None:
        """Wait until what was begun is done.

        Raises:
            OSError: it has no room, or cannot be written.
        """
        flushed, self._flushed = self._flushed, None
        if flushed is not None:
            with contextlib.suppress(FileNotFoundError):  # its trial is over, and what is not needed any more has gone
                flushed.result()


class TrialStore:
    """The checkpoints of one trial, in a folder of its own."""

    def __init__(self, folder: Path, config: TrialConfig, flusher: Flusher) -> None:
        self._folder, self._config, self._flusher = folder, config, flusher

    def save(self, records: tuple[dict[str, Any], ...], checkpoint: FilesRef) -> None:
        """Keep the state after the last epoch of `records`; older ones go but for the best and the one before.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        epoch = records[-1]["epoch"]
        unfinished = self._folder / f".checkpoint_{epoch:04d}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._flusher.settle()  # first: what it takes away is room for this one
        try:
            unpack_folder(checkpoint, unfinished)
            (unfinished / RECORDS_FILE).write_text(json.dumps(records), encoding="utf-8")
            rename_folder(unfinished, _path(self._folder, epoch))
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)  # a full disk should not stay so for our leavings
            raise
        # The best of those before: where the time budget ends the search now, Tune never hears of this epoch, and the
        # tables name that one. If this epoch is the best, it is the last, too.
        best = best_epoch(records[:-1])
        self._flusher.note(self._folder, epoch, {epoch, epoch - 1} | ({best} if best is not None else set()))

    def newest(self) -> Stored:
        """The last epoch whose checkpoint is whole; earlier ones where a later one is damaged."""
        warning = ""
        for folder in _checkpoints(self._folder):
            try:
                state = read_state(folder)
                records = tuple(json.loads((folder / RECORDS_FILE).read_text(encoding="utf-8")))
            except (CheckpointError, OSError, ValueError, RecursionError) as error:
                warning = f"the checkpoint {folder.name} is damaged, so the one before it was used ({error})"
                continue
            if objective(TrialConfig.model_validate(state["config"])) != objective(self._config):
                shutil.rmtree(self._folder)  # proposed, not recorded by Tune, and proposed otherwise after a kill
                return Stored()
            return Stored(epoch=len(records), folder=folder, records=records, warning=warning)
        return Stored(warning=warning)


def prune_ended(folder: Path, best: int) -> None:
    """Of a trial that is over, keep the adapter of the epoch that it counts by; nobody will train it further.

    best: as the search's tables have it. An epoch that they never heard of goes, however good it was; without the one
    that they name, everything stays.
    """
    if not _path(folder, best).exists():
        return
    for file in _path(folder, best).rglob(OPTIMIZER_FILE):  # of every fold
        file.unlink()
    flush_folder(_path(folder, best))  # its lane may still wait for the disk, and soon no other is there to serve
    _keep(folder, {best})


def _keep(folder: Path, epochs: set[int]) -> None:
    kept = {_path(folder, epoch) for epoch in epochs}
    for checkpoint in _checkpoints(folder):
        if checkpoint not in kept:
            shutil.rmtree(checkpoint, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    """The last epoch's first."""
    return sorted(folder.glob("checkpoint_*"), reverse=True)


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"checkpoint_{epoch:04d}"
