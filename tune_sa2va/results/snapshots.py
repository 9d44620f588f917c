"""Snapshots of Tune's state. A kill at any moment leaves one that is complete and consistent with the Optuna study.

Tune writes its state as several files, one after the other, and copies them while the search runs; Optuna appends to
its journal meanwhile. A snapshot is a copy of Tune's files together with the length of the journal at that moment. It
appears by rename. A resumed search starts from the newest snapshot: Tune's files are put back and the journal is cut to
that length. So the sampler's random state, its history and its pending proposals belong together.

Snapshots also have copies of the tables, and a growing copy of the journal is kept beside them. With their checksums,
files that are damaged later can be found and replaced. Two snapshots are kept; the older one is used if the newer is
damaged.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_sa2va.durable import publish_folder, write_whole
from tune_sa2va.errors import ResultsError
from tune_sa2va.results.records import EPOCHS_FILE, FINAL_STATES, TRIALS_FILE, read_trials
from tune_sa2va.results.settings import JOURNAL_FILE

FOLDER = "ray/snapshots"
JOURNAL_COPY = f"{FOLDER}/{JOURNAL_FILE}"

_STATE_FILES = ("experiment_state-*.json", "search_gen_state-*.json", "searcher-state-*.pkl", "callback-states-*.pkl")
_TABLES = (TRIALS_FILE, EPOCHS_FILE)
_MARK = "snapshot.json"
_KEPT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """An undamaged snapshot. journal: the study's file or its copy, whose first `journal_bytes` bytes belong to it."""

    folder: Path
    journal: Path
    journal_bytes: int


class Snapshots:
    """Takes and restores the snapshots of the search in the folder `results`."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._folder = results / FOLDER
        self._journal = results / JOURNAL_FILE
        self._journal_copy = _GrowingCopy(self._journal, results / JOURNAL_COPY)
        self._last_saved_ns = 0

    def take(self, staging: Path) -> bool:
        """Takes a snapshot of Tune's files in `staging`, and returns True, if Tune has saved since the last call.

        Call it right after Tune saves, before the journal grows further.
        """
        saved_ns = max((path.stat().st_mtime_ns for path in _state_files(staging, _STATE_FILES[:1])), default=0)
        if saved_ns == self._last_saved_ns:
            return False
        number = max((int(path.name) for path in self.folders()), default=0) + 1
        unfinished = self._folder / f".{number:06d}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        tables = [self._results / name for name in _TABLES if (self._results / name).is_file()]
        for path in (*_state_files(staging, _STATE_FILES), *tables):
            shutil.copyfile(path, unfinished / path.name)
        journal_bytes, journal_sha256 = self._journal_copy.catch_up()
        mark = {"journal_bytes": journal_bytes, "journal_sha256": journal_sha256, "sha256": _checksums(unfinished)}
        (unfinished / _MARK).write_text(json.dumps(mark), encoding="utf-8")
        publish_folder(unfinished, self._folder / f"{number:06d}")
        for old in self.folders()[_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        self._last_saved_ns = saved_ns
        return True

    def restore(self, tune_folder: Path) -> bool:
        """Puts the newest undamaged snapshot's files into Tune's folder and cuts the journal. False if there is none.

        Without a snapshot Tune has recorded no trial, so the search starts from nothing and the journal is deleted.

        Raises:
            ResultsError: there are snapshots, but all are damaged.
        """
        found = self.newest()
        for path in _state_files(tune_folder, _STATE_FILES):
            path.unlink()
        for lock in self._journal.parent.glob(f"{self._journal.name}.lock*"):
            lock.unlink()  # left by a killed process: this process holds the lock of the whole search
        if found is None:
            self._journal.unlink(missing_ok=True)
            return False
        tune_folder.mkdir(parents=True, exist_ok=True)
        for path in _state_files(found.folder, _STATE_FILES):
            shutil.copyfile(path, tune_folder / path.name)
        if found.journal == self._journal:
            with self._journal.open("rb+") as journal:
                journal.truncate(found.journal_bytes)
        else:
            write_whole(self._journal, found.journal.read_bytes()[: found.journal_bytes])
        return True

    def newest(self) -> Snapshot | None:
        """The newest undamaged snapshot; None if the search has none yet.

        Raises:
            ResultsError: all snapshots, or the journal and its copy, are damaged or gone.
        """
        reasons = []
        for folder in self.folders():
            try:
                return self._checked(folder)
            except _DamagedError as error:
                reasons.append(str(error))
        if not reasons:
            if read_trials(self._results, None)["state"].isin(FINAL_STATES).any():
                reasons.append("there is none, though trials have ended")
            else:
                return None
        raise ResultsError(
            f"{self._folder}: no saved state of the search is usable ({'; '.join(reasons)}), so it cannot be resumed. "
            "The results of its trials are kept: report and export read them, and a new search can start from them "
            f"with --warm-start {self._results}."
        )

    def folders(self) -> list[Path]:
        """The folders of all snapshots, damaged or not, newest first."""
        found = self._folder.glob("[0-9]*") if self._folder.exists() else ()
        return sorted((path for path in found if path.name.isdigit()), reverse=True)

    def _checked(self, folder: Path) -> Snapshot:
        """The snapshot in `folder`, after comparing checksums. Raises _DamagedError if it is damaged."""
        mark = _read_mark(folder / _MARK)
        wanted = mark.get("sha256", {})  # missing if an older tune_sa2va took the snapshot
        damaged = [name for name in wanted if name not in _TABLES and wanted[name] != _sha256(folder / name)]
        if damaged:
            raise _DamagedError(f"{folder.name}/{damaged[0]} is damaged")
        for journal in (self._journal, self._results / JOURNAL_COPY):
            if _begins(journal, mark["journal_bytes"], mark.get("journal_sha256")):
                return Snapshot(folder=folder, journal=journal, journal_bytes=mark["journal_bytes"])
        raise _DamagedError(f"{JOURNAL_FILE} is damaged, and its copy, too")


class _DamagedError(Exception):
    """A snapshot is damaged. The message says which of its files."""


class _GrowingCopy:
    """A copy of a file to which data are only appended, brought up to date now and then."""

    def __init__(self, source: Path, copy: Path) -> None:
        self._source, self._copy = source, copy
        self._bytes: int | None = None
        self._digest = hashlib.sha256()

    def catch_up(self) -> tuple[int, str]:
        """Appends new data to the copy; the first call writes it from the start. Returns size and SHA-256."""
        with self._source.open("rb") as file:
            file.seek(self._bytes or 0)
            new = file.read()
        self._digest.update(new)
        if self._bytes is None:
            self._bytes = 0
            write_whole(self._copy, new)
        elif new:
            with self._copy.open("ab") as file:
                file.write(new)
        self._bytes += len(new)
        return self._bytes, self._digest.hexdigest()


def _read_mark(path: Path) -> dict[str, Any]:
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(mark["journal_bytes"], int) and isinstance(mark.get("sha256", {}), dict):
            return dict(mark)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise _DamagedError(f"{path.parent.name}/{path.name} is damaged")


def _checksums(folder: Path) -> dict[str, str | None]:
    return {path.name: _sha256(path) for path in sorted(folder.iterdir())}


def _sha256(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal; None if it cannot be read."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _begins(file: Path, size: int, sha256: str | None) -> bool:
    """Whether a file has at least `size` bytes, and its first `size` bytes match the checksum if there is one."""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        content = opened.read(size)
        return len(content) == size and sha256 in (None, hashlib.sha256(content).hexdigest())
    return False


def _state_files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Tune's newest file of each pattern; after a resumption there may be older ones."""
    return [max(found) for pattern in patterns if (found := list(folder.glob(pattern)))]
