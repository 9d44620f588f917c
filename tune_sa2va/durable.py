"""Files and folders that are there whole or not at all, whenever the machine stops."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


def is_full(what: object) -> bool:
    """Whether an error, or the sentence of one that came from another process, says that a disk has no room left."""
    return any(words in str(what) for words in _FULL)


def write_whole(path: Path, content: bytes) -> None:
    """Puts a file in place so that a reader, or a kill, finds the old one or the new one and nothing between."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk should not stay so for our leavings
        raise
    temporary.replace(path)


def publish_folder(unfinished: Path, final: Path) -> None:
    """Flushes the files below `unfinished` to the disk and renames it to `final`, in place of what is there."""
    _flush_files(unfinished)
    rename_folder(unfinished, final)
    _flush_entries(final.parent)


def rename_folder(unfinished: Path, final: Path) -> None:
    """Renames `unfinished` to `final`, in place of what is there: a killed process cannot part its files, but a machine
    that stops can, before `flush_folder`."""
    if final.exists():
        shutil.rmtree(final)
    unfinished.rename(final)


def flush_folder(folder: Path) -> None:
    """Waits until the disk has the folder's files and name."""
    _flush_files(folder)
    _flush_entries(folder.parent)


def _flush_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _flush_entries(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; what goes while we look does not count, and two links to a file count once."""
    sizes = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found = (Path(place) / name).lstat()
                sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())
