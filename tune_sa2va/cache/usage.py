"""Locks a folder of the cache while a process uses it. The kernel releases the lock when the process ends in any way.

Readers and writers share the lock; `cache rm` needs it exclusively. The lock file's modification time is the time when
the folder was last opened.
"""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

LOCK_NAME = "lock"


def use(folder: Path) -> BinaryIO:
    """Makes the folder if necessary and takes its shared lock. Returns the lock file; closing it releases the lock."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / LOCK_NAME).open("ab")
        except FileNotFoundError:  # `cache rm` removed the folder in between
            continue
        fcntl.flock(file, fcntl.LOCK_SH)
        if is_open_file(file, folder / LOCK_NAME):
            os.utime(file.fileno())
            return file
        file.close()


def take_alone(folder: Path) -> BinaryIO | None:
    """Takes the folder's exclusive lock. Returns the lock file, or None if a running process uses the folder."""
    file = (folder / LOCK_NAME).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_used(folder: Path) -> bool:
    """Whether a running process uses the folder."""
    held = take_alone(folder)
    if held is not None:
        held.close()
    return held is None


def last_used_s(folder: Path) -> float:
    """When the folder was last opened, in seconds since 1970."""
    return (folder / LOCK_NAME).stat().st_mtime


def is_open_file(file: BinaryIO, path: Path) -> bool:
    """Whether `path` still is the open file: nobody has renamed, replaced or removed it since."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
