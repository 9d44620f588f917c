"""Tune's state, kept so that a kill at any moment leaves one that is whole and fits the Optuna study beside it.

Tune writes its state as several files, one after the other, and copies them while the search goes on; Optuna appends
to its journal meanwhile. A snapshot is a copy of Tune's files with the length of the journal at that moment. It
appears by rename, and a resumed search starts from the newest: Tune's files put back, the journal cut to that length.
So the sampler has the random numbers, the history and the pending proposals that belong together.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tune_sa2va.durable import publish_folder

_STATE_FILES = ("experiment_state-*.json", "search_gen_state-*.json", "searcher-state-*.pkl", "callback-states-*.pkl")
_MARK = "snapshot.json"
_KEPT = 2


class Snapshots:
    """The snapshots of one search, in `folder`; `journal` is its Optuna study."""

    def __init__(self, folder: Path, journal: Path) -> None:
        self._folder = folder
        self._journal = journal
        self._last_saved_ns = 0

    def take(self, staging: Path) -> bool:
        """Copies Tune's files from its staging folder, if it has saved since the last call. Call it right after."""
        saved_ns = max((path.stat().st_mtime_ns for path in _state_files(staging, _STATE_FILES[:1])), default=0)
        if saved_ns == self._last_saved_ns:
            return False
        number = max((int(path.name) for path in self._whole()), default=0) + 1
        unfinished = self._folder / f".{number:06d}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for path in _state_files(staging, _STATE_FILES):
            shutil.copyfile(path, unfinished / path.name)
        (unfinished / _MARK).write_text(json.dumps({"journal_bytes": self._journal.stat().st_size}), encoding="utf-8")
        publish_folder(unfinished, self._folder / f"{number:06d}")
        for old in self._whole()[_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        self._last_saved_ns = saved_ns
        return True

    def restore(self, tune_folder: Path) -> bool:
        """Puts the newest snapshot's files into Tune's folder and cuts the journal. False where there is none.

        Without one no trial was recorded by Tune, so the search starts from nothing: the journal goes, too.
        """
        for path in _state_files(tune_folder, _STATE_FILES):
            path.unlink()
        for lock in self._journal.parent.glob(f"{self._journal.name}.lock*"):
            lock.unlink()  # of the process that was killed; we hold the lock of the whole search
        newest = next(iter(self._whole()), None)
        if newest is None:
            self._journal.unlink(missing_ok=True)
            return False
        tune_folder.mkdir(parents=True, exist_ok=True)
        for path in _state_files(newest, _STATE_FILES):
            shutil.copyfile(path, tune_folder / path.name)
        with self._journal.open("rb+") as journal:
            journal.truncate(json.loads((newest / _MARK).read_text(encoding="utf-8"))["journal_bytes"])
        return True

    def _whole(self) -> list[Path]:
        """The newest first."""
        return sorted(self._folder.glob("[0-9]*"), reverse=True) if self._folder.exists() else []


def _state_files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Tune's files, of each kind the newest: a resumed search brings older ones along."""
    return [max(found) for pattern in patterns if (found := list(folder.glob(pattern)))]
