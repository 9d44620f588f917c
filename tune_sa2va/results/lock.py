"""The lock of a results folder, so that only one process runs a search.

The lock is a flock, which the kernel releases when the process ends in any way, so there are no stale locks. The file's
content says which process holds it, for the error message and for `python -m tune_sa2va.status`.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from tune_sa2va.errors import ResultsError
from tune_sa2va.results.records import read_epochs, read_trials

FILE_NAME = "lock.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a results folder inside the block.

    Raises:
        UserError: another running process holds it.
    """
    with (folder / FILE_NAME).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResultsError(
                f"{folder}: {_owner(folder)} is running this search. Wait for it, stop it, or choose another --name."
            ) from None
        owner: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
        owner |= {"started_at": datetime.now(UTC).isoformat(), "earlier_runs_s": _used_s(folder)}
        file.truncate(0)
        file.write(json.dumps(owner) + "\n")
        file.flush()
        yield


def note_end(folder: Path) -> None:
    """Notes in the lock file that the search has reached its end. The caller must hold the lock; its next holder erases
    the note."""
    file = folder / FILE_NAME
    owner = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(owner | {"ended_at": datetime.now(UTC).isoformat()}) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class RunTimes:
    """started_at: start of the run that holds the lock or held it last. earlier_s: seconds of all runs before it."""

    started_at: datetime
    earlier_s: float


def run_times(folder: Path) -> RunTimes | None:
    """The times in a results folder's lock; None if no search has held it, or only one of an older tune_sa2va."""
    try:
        owner = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return RunTimes(datetime.fromisoformat(owner["started_at"]), float(owner["earlier_runs_s"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _used_s(folder: Path) -> float:
    """Seconds of all runs so far, each from its start to its last record: a killed run does not record its end.

    If a table is damaged (it is rebuilt only under this lock), the last run's seconds are unknown and not counted.
    """
    before = run_times(folder)
    if before is None:
        return 0.0
    try:
        trials, epochs = read_trials(folder, None), read_epochs(folder, None)
    except ResultsError:
        return before.earlier_s
    recorded = pd.concat([trials["started_at"], trials["ended_at"], epochs["ended_at"]]).dropna()
    last = recorded.max().to_pydatetime() if len(recorded) else before.started_at
    return before.earlier_s + max((last - before.started_at).total_seconds(), 0.0)


def is_locked(folder: Path) -> bool:
    """Whether a running process holds the lock of a results folder."""
    try:
        with (folder / FILE_NAME).open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']} (since {owner['started_at'][:19]} UTC)"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
