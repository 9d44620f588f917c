"""Messages between the host of a lane and its workers: one command to all workers, one reply from each.

A trial's checkpoint is sent as arrays of bytes, one per file, because host and workers may run on different nodes. The
arrays go through Ray's object store. A message holds a reference to them, in a tuple so that Ray does not resolve it
early.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
from jaxtyping import UInt8

from tune_sa2va.config import TrialConfig
from tune_sa2va.train.records import SeatPace

Files = Mapping[str, UInt8[np.ndarray, " bytes"]]
"""Path within a folder -> its bytes."""

FilesRef = tuple[ray.ObjectRef, ...]
"""Holds at most one reference to `Files`."""

NO_SEAT = "NoSeat"
"""Kind of the reply to a trial that must wait until others leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartTrial:
    """Seats a trial under a name. `checkpoint` is empty for one that starts from scratch.

    The reply's kind is NO_SEAT if it cannot sit beside those that sit now.
    """

    trial: str
    config: TrialConfig
    checkpoint: FilesRef = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRound:
    """Runs the next epoch of each of these seated trials, all in the same steps; of a trial with folds, the next fold.

    The reply has one for each trial in `trials`, with the checkpoint after an epoch that is complete. If it is itself a
    failure, none of them could go on and all seats are empty.
    """

    trials: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EndEpoch:
    """Ends a trial's current epoch without its remaining folds, and the trial with it. The record and the checkpoint
    cover the folds done."""

    trial: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaveSeats:
    """Closes trials. Those that failed or never sat are closed already."""

    trials: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SetSeats:
    """Changes the number of seats, while nobody sits."""

    seats: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSeats:
    """Changes the number of seats, while nobody sits, and measures the pace with the lane's `seats_probe` in each."""

    seats: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """Leave the loop. abort: by an exception, so that Ray Train also ends workers that hang in a collective."""

    abort: bool = False


Command = StartTrial | RunRound | EndEpoch | LeaveSeats | SetSeats | ProbeSeats | Exit


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What one worker returns when it is done with a command.

    trials: the reply to each trial of a round.
    failure: why the trial cannot continue, in one sentence; empty on success.
    traceback: that of the failure, for the records.
    kind: class name of the error. It stays the same when the wording of `failure` varies.
    needed_gib: for an out-of-memory error, the peak of memory allocated on the device in GiB; 0 otherwise.
    record: the epoch's record as plain values, with VAL_COUNTS; from rank 0 only. None while the epoch has folds left.
    counts: VAL_COUNTS of the folds done so far, while the epoch has folds left; from rank 0 only.
    checkpoint: the files of the state after the epoch of `record`; from rank 0 only.
    pace: what `ProbeSeats` measured.
    """

    trials: "Mapping[str, Reply]" = field(default_factory=dict)
    failure: str = ""
    traceback: str = ""
    kind: str = ""
    needed_gib: float = 0.0
    record: dict[str, Any] | None = None
    counts: tuple[list[int] | None, ...] = ()
    checkpoint: FilesRef = field(default=())
    pace: SeatPace | None = None


def pack_folder(folder: Path) -> FilesRef:
    """Puts the files of `folder` into the object store and returns a reference to them."""
    return (ray.put(read_files(folder)),)


def unpack_folder(checkpoint: FilesRef, folder: Path) -> None:
    """Writes the files that `pack_folder` stored below `folder`."""
    (reference,) = checkpoint
    write_files(ray.get(reference), folder)


def read_files(folder: Path) -> Files:
    """The files of `folder`, memory-mapped: reading 0.5 GB takes 1.2 s more than Ray's copy from the page cache."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _mapped(path) for path in paths}


def write_files(files: Files, folder: Path) -> None:
    """Writes the files that `read_files` returned below `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.data)  # numpy's tofile does not report a full disk


def _mapped(path: Path) -> UInt8[np.ndarray, " bytes"]:
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype=np.uint8)
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
