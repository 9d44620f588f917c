"""Claims decide which process writes a file of the cache: the first to lock its unfinished file.

No process waits for another, and a kill releases the claim.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tune_sa2va.cache.usage import is_open_file

PART_SUFFIX = ".part"


class Claim:
    """The right to write one file. `publish` or `release` it; if the process dies, it is released."""

    def __init__(self, file: BinaryIO, final: Path) -> None:
        self._file, self._final = file, final

    @classmethod
    def take(cls, final: Path, is_there: Callable[[Path], bool]) -> "Claim | None":
        """The claim on the file `final`; None if another process holds it or the file exists by now.

        is_there: whether an undamaged file is at a path.
        """
        part = _part(final)
        file = part.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        # Another process may have published or released between opening and locking. Then the open file is no longer
        # the unfinished one.
        if not is_open_file(file, part) or is_there(final):
            if is_open_file(file, part):
                part.unlink()
            file.close()
            return None
        return cls(file, final)

    def publish(self, write: Callable[[BinaryIO], None]) -> None:
        """Writes the file, flushes it to disk and puts it in place atomically, so readers never see a part of it."""
        self._file.truncate(0)  # removes what a killed process may have written
        write(self._file)
        self._file.flush()
        os.fsync(self._file.fileno())
        _part(self._final).replace(self._final)
        self._file.close()

    def release(self) -> None:
        """Gives up the claim; does nothing after `publish`."""
        if not self._file.closed:
            _part(self._final).unlink(missing_ok=True)
            self._file.close()


def _part(final: Path) -> Path:
    return final.with_name(f"{final.name}{PART_SUFFIX}")
