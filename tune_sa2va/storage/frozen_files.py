"""Freezes the files of a results folder at one moment, so that they can be copied while the search goes on.

Files of a results folder are replaced by rename, only grow, or are deleted. A hard link preserves the content of a file
that is replaced or deleted meanwhile; of a file that grows, the first `size` bytes count. This takes milliseconds, so
the process that drives the search does it right after a snapshot of Tune's state. Then no record is older than the
snapshot, and no checkpoint (lanes write them independently) is older than the records.
"""

import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.results.settings import JOURNAL_FILE
from tune_sa2va.results.snapshots import JOURNAL_COPY
from tune_sa2va.storage.manifest import FOLDER

FROZEN = "ray/.copying"
SNAPSHOTS = "ray/snapshots/"
KNOWN_FILE = "ray/copy.json"
_CHECKPOINTS = "ray/checkpoints"
_TUNE = "ray/tune"
"""Files directly in it are left out: Tune may be writing them. The snapshots hold consistent sets of them."""
_LEFT_OUT = (FOLDER, KNOWN_FILE, FROZEN, JOURNAL_COPY)
"""The copy of the journal is left out, since the journal itself is stored with a checksum."""
_TRIES = 20

Signature = tuple[int, int, int]
"""(inode, bytes, time of modification in ns): equal as long as a file is unchanged."""


@dataclass(frozen=True, slots=True)
class FrozenFile:
    """A file of the results. path: relative to their folder. content: the link; None if the file is in the copy."""

    path: str
    signature: Signature
    content: Path | None

    @property
    def size(self) -> int:
        """Bytes at the moment of freezing."""
        return self.signature[1]


def freeze_files(results: Path, copied: Mapping[str, Signature]) -> list[FrozenFile]:
    """Freezes all files below `results` except temporary ones. The links are in `FROZEN`, which the caller deletes.

    copied: path -> signature of files that are in the copy; they get no link as long as they are unchanged.

    Raises:
        OSError: a link cannot be made.
    """
    links = results / FROZEN
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir(parents=True)
    freezer = _Freezer(results, links, copied)
    frozen = [freezer.freeze(path) for path in _files(results, ".", without={*_LEFT_OUT, _CHECKPOINTS})]
    for trial in sorted((results / _CHECKPOINTS).glob("*/")):
        frozen += _freeze_trial(trial, freezer)
    return [frozen_file for frozen_file in frozen if frozen_file is not None]


class _Freezer:
    def __init__(self, results: Path, links: Path, copied: Mapping[str, Signature]) -> None:
        self.results, self._links, self._copied = results, links, copied
        self._count = 0

    def freeze(self, path: str) -> FrozenFile | None:
        """Freezes one file; None if it is no longer there."""
        self._count += 1
        file, link = self.results / path, self._links / str(self._count)
        try:
            before = _signature(file)
            if self._copied.get(path) == before:
                return FrozenFile(path, before, None)
            try:
                os.link(file, link)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links
                shutil.copyfile(file, link)
                return FrozenFile(path, (before[0], link.stat().st_size, before[2]), link)
            return FrozenFile(path, _signature(link), link)
        except FileNotFoundError:
            return None


def _freeze_trial(trial: Path, freezer: _Freezer) -> list[FrozenFile | None]:
    """Freezes one trial's checkpoints at one moment. Its lane renames a new one into place, then deletes old ones."""
    for _ in range(_TRIES):
        before = _entries(trial)
        frozen = [
            freezer.freeze(path) for path in _files(freezer.results, f"{_CHECKPOINTS}/{trial.name}", without=_LEFT_OUT)
        ]
        if None not in frozen and _entries(trial) == before:
            return frozen
    raise OSError(f"{trial} changes faster than it can be listed")


def _files(results: Path, below: str, *, without: Collection[str]) -> Iterator[str]:
    """Paths of regular files, without temporary ones. without: paths to leave out, with everything below them."""
    for place, folders, names in os.walk(results / below):
        here = Path(place).relative_to(results)
        folders[:] = sorted(name for name in folders if _is_kept((here / name).as_posix(), without))
        for name in sorted(names):
            path = (here / name).as_posix()
            if here.as_posix() != _TUNE and _is_kept(path, without) and _is_regular(results / path):
                yield path


def _is_kept(path: str, without: Collection[str]) -> bool:
    is_temporary = path.endswith(".part") or path.startswith(f"{JOURNAL_FILE}.lock")
    return path not in without and not is_temporary


def _is_regular(file: Path) -> bool:
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except FileNotFoundError:
        return False


def _entries(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("checkpoint_*")}


def _signature(path: Path) -> Signature:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
