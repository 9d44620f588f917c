"""Writes files and folders so that they are complete or absent, whenever the process or the machine stops."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


def is_full(what: object) -> bool:
    """Whether an error says that a disk is full. Its text is searched, since it may come from another process."""
    return any(words in str(what) for words in _FULL)


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file atomically: a reader sees the old content or the new one, also after a kill.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk, give the space back
        raise
    temporary.replace(path)


def publish_folder(unfinished: Path, final: Path) -> None:
    """Flushes the files below `unfinished` to the disk and renames it to `final`, replacing what is there."""
    _flush_files(unfinished)
    rename_folder(unfinished, final)
    _flush_entries(final.parent)


def rename_folder(unfinished: Path, final: Path) -> None:
    """Renames `unfinished` to `final`, replacing what is there. This does not wait for the disk.

    The folder is complete even if the process is killed. If the machine stops before `flush_folder`, it may not be.
    """
    if final.exists():
        shutil.rmtree(final)
    unfinished.rename(final)


def flush_folder(folder: Path) -> None:
    """Waits until the folder's files and its name are on the disk."""
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
    """Bytes of all files below a folder. Hard links to one file count once; files deleted meanwhile do not count."""
    sizes = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found = (Path(place) / name).lstat()
                sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())
