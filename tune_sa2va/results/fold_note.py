"""A note of how many folds of the current epoch a trial has done, beside its checkpoints, for progress displays.

Tune is told only of whole epochs, and an epoch with K folds takes K times as long. The lane writes the note after each
fold. It is not needed to resume, so it is not flushed to disk and not copied to --storage.
"""

import json
from pathlib import Path

_FILE = ".fold.part"


def note_folds_done(checkpoints: Path, trial_id: str, epoch: int, done: int) -> None:
    """Writes the note. checkpoints: folder of all trials' checkpoints. epoch: the current one. done: folds so far."""
    folder = checkpoints / trial_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _FILE).write_text(json.dumps({"epoch": epoch, "done": done}), encoding="utf-8")


def forget_folds(checkpoints: Path, trial_id: str) -> None:
    """Deletes the note, once the epoch is done."""
    (checkpoints / trial_id / _FILE).unlink(missing_ok=True)


def read_folds_done(checkpoints: Path, trial_id: str, epoch: int) -> int:
    """Folds done of the current epoch; 0 if there is no note of it or it is just being written."""
    try:
        note = json.loads((checkpoints / trial_id / _FILE).read_text(encoding="utf-8"))
        return int(note["done"]) if note["epoch"] == epoch else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0
