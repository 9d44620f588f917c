"""One search, one process: the lock of a results folder.

The kernel holds the lock (flock) and lets it go with the process, however that ends, so that a stale one cannot be. The
file says who holds it, for the message and for `python -m tune_sa2va.status`.
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
    """Holds the lock of a results folder for the length of the block.

    Raises:
        UserError: a process that runs holds it.
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
    """Notes in the lock, which the caller holds, that the search has come to its end; the next holder erases it."""
    file = folder / FILE_NAME
    owner = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(owner | {"ended_at": datetime.now(UTC).isoformat()}) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class RunTimes:
    """When the run of a search that holds the lock now, or held it last, began; and the seconds of all before it."""

    started_at: datetime
    earlier_s: float


def run_times(folder: Path) -> RunTimes | None:
    """None where no search has held the lock, or one of an older tune_sa2va."""
    try:
        owner = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return RunTimes(datetime.fromisoformat(owner["started_at"]), float(owner["earlier_runs_s"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _used_s(folder: Path) -> float:
    """Seconds of all runs so far, each from its start to what it recorded last: a kill leaves no other sign.

    Where a table is damaged, which is mended under this lock, the last run's are not known and not counted.
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
