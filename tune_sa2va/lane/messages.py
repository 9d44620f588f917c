"""What passes between the owner of a lane and its workers: one command to all of them, one answer from each.

A trial's checkpoint travels as arrays of bytes, file by file, because the two may sit on different nodes. The arrays
go through Ray's object store; messages hold a reference to them, in a tuple, which keeps Ray from resolving it early.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
from jaxtyping import UInt8

from tune_sa2va.config import TrialConfig

Files = Mapping[str, UInt8[np.ndarray, " bytes"]]
"""Path within a folder -> its bytes."""

FilesRef = tuple[ray.ObjectRef, ...]
"""Holds at most one reference to `Files`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartTrial:
    """A new trial in place of the one before; `checkpoint` is empty for one that starts afresh."""

    config: TrialConfig
    checkpoint: FilesRef = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEpoch:
    """The next epoch of the current trial; of a trial with folds, the next fold of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndEpoch:
    """No more folds of the epoch under way: its record by those that are done, and the trial ends with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SaveTrial:
    """The current trial's checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """Leave the loop. `abort`: by an exception, so that Ray Train also ends a worker that hangs in a collective."""

    abort: bool = False


Command = StartTrial | RunEpoch | EndEpoch | SaveTrial | Exit


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What one worker says when it is done with a command.

    failure: why the trial cannot go on, one sentence; empty when all went well. traceback: where, for the records.
    kind: the class of the error, which is the same however the sentence differs. needed_gib: of an out-of-memory error,
    the most that the device held of the trial; 0 elsewhere.
    record: the epoch's record as plain values, with VAL_COUNTS, from rank 0; None when folds of it are to come, or the
    trial has no epoch left. counts: VAL_COUNTS of the folds so far, where more of them are to come.
    checkpoint: the files that `SaveTrial` asked for, from rank 0.
    """

    failure: str = ""
    traceback: str = ""
    kind: str = ""
    needed_gib: float = 0.0
    record: dict[str, Any] | None = None
    counts: tuple[list[int] | None, ...] = ()
    checkpoint: FilesRef = field(default=())


def pack_folder(folder: Path) -> FilesRef:
    """The files of `folder`, put into the object store."""
    return (ray.put(read_files(folder)),)


def unpack_folder(checkpoint: FilesRef, folder: Path) -> None:
    """Writes the files of `pack_folder` below `folder`."""
    (reference,) = checkpoint
    write_files(ray.get(reference), folder)


def read_files(folder: Path) -> Files:
    """The files of `folder`. Mapped: reading 0.5 GB takes 1.2 s more than Ray's copy from the page cache."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _mapped(path) for path in paths}


def write_files(files: Files, folder: Path) -> None:
    """Writes the files of `read_files` below `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.data)  # numpy's tofile does not say that the disk is full


def _mapped(path: Path) -> UInt8[np.ndarray, " bytes"]:
    if not path.stat().st_size:  # cannot be mapped
        return np.empty(0, dtype=np.uint8)
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
