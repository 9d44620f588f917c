"""Who writes a file of the cache: the first to lock its unfinished form. Nobody waits, and a kill frees the claim."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tune_sa2va.cache.usage import is_open_file

PART_SUFFIX = ".part"


class Claim:
    """The right to write one file. Publish or release it; a process that dies releases it too."""

    def __init__(self, file: BinaryIO, final: Path) -> None:
        self._file, self._final = file, final

    @classmethod
    def take(cls, final: Path, is_there: Callable[[Path], bool]) -> "Claim | None":
        """The claim, or None where another process holds it or the file turned up meanwhile (`is_there`)."""
        part = _part(final)
        file = part.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        # Between opening and locking, another process may have finished: then ours is the finished file, or nothing.
        if not is_open_file(file, part) or is_there(final):
            if is_open_file(file, part):
                part.unlink()
            file.close()
            return None
        return cls(file, final)

    def publish(self, write: Callable[[BinaryIO], None]) -> None:
        """Put the file in place, whole and on the disk; a reader finds the old one or the new one."""
        self._file.truncate(0)  # what a killed process left
        write(self._file)
        self._file.flush()
        os.fsync(self._file.fileno())
        _part(self._final).replace(self._final)
        self._file.close()

    def release(self) -> None:
        """Give up; a no-op after `publish`."""
        if not self._file.closed:
            _part(self._final).unlink(missing_ok=True)
            self._file.close()


def _part(final: Path) -> Path:
    return final.with_name(f"{final.name}{PART_SUFFIX}")
