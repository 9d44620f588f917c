"""How many folds of its epoch a trial has done: a note beside its checkpoints, for those who watch the search.

Tune hears of whole epochs alone, and an epoch of several folds takes as many times as long. The lane that trains
writes the note after each fold. Nothing is resumed from it, so the disk is not waited for, and copies at --storage
leave it out.
"""

import json
from pathlib import Path

_FILE = ".fold.part"


def note_folds_done(checkpoints: Path, trial_id: str, epoch: int, done: int) -> None:
    """checkpoints: the folder of all trials' checkpoints. epoch: the one under way. done: its folds so far."""
    folder = checkpoints / trial_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILE).write_text(json.dumps({"epoch": epoch, "done": done}), encoding="utf-8")


def forget_folds(checkpoints: Path, trial_id: str) -> None:
    """The epoch is over."""
    (checkpoints / trial_id / _FILE).unlink(missing_ok=True)


def read_folds_done(checkpoints: Path, trial_id: str, epoch: int) -> int:
    """Folds that are done of the epoch under way; 0 where there is no note of it, or it is just being written."""
    try:
        note = json.loads((checkpoints / trial_id / _FILE).read_text(encoding="utf-8"))
        return int(note["done"]) if note["epoch"] == epoch else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0
