"""Who uses a folder of the cache: a lock that the kernel lets go with the process, however that ends.

Readers and writers share the lock; `cache rm` wants it alone. The lock file's time is when the folder was last opened.
"""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

LOCK_NAME = "lock"


def use(folder: Path) -> BinaryIO:
    """Make the folder if need be and hold its lock until the file that this gives is closed or garbage."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / LOCK_NAME).open("ab")
        except FileNotFoundError:  # `cache rm` was at work between the two lines
            continue
        fcntl.flock(file, fcntl.LOCK_SH)
        if is_open_file(file, folder / LOCK_NAME):
            os.utime(file.fileno())
            return file
        file.close()


def take_alone(folder: Path) -> BinaryIO | None:
    """The folder's lock for us alone, or None where a living process uses the folder."""
    file = (folder / LOCK_NAME).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_used(folder: Path) -> bool:
    """Whether a living process has the folder open."""
    held = take_alone(folder)
    if held is not None:
        held.close()
    return held is None


def last_used_s(folder: Path) -> float:
    """When the folder was last opened, in seconds since 1970."""
    return (folder / LOCK_NAME).stat().st_mtime


def is_open_file(file: BinaryIO, path: Path) -> bool:
    """Whether `path` still names the file that is open: nobody renamed or removed it since."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
