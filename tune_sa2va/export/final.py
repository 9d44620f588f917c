"""Writes the adapters of a trial in the chosen form: its only one, that of one fold, the folds' mean, all folds', or
one trained again on all images."""

import shutil
import tempfile
from pathlib import Path

from tune_sa2va.errors import UserError
from tune_sa2va.evaluate.tuned import FinalName, ensemble_folder
from tune_sa2va.export.checkpoints import ADAPTER_FILES, TrialCheckpoint, copy_checked


def write_final(checkpoint: TrialCheckpoint, final: FinalName, to: Path) -> None:
    """Writes an adapter's files into the folder `to`; for an ensemble, one folder per fold.

    Raises:
        UserError: the trial does not have this form: it has no folds, or was not trained again on all images.
        CheckpointError: the checkpoint's files are gone or damaged.
    """
    if final == "refit":
        _copy_refit(checkpoint, to)
        return
    if checkpoint.folds == 1 and final != "best-run":
        raise UserError(
            f"--final {final}: trial {checkpoint.trial_id} has no folds and only one adapter. Leave it out."
        )
    if final == "best-run":
        copy_checked(checkpoint, to, best_fold(checkpoint))
        return
    with tempfile.TemporaryDirectory(prefix=".folds-", dir=to.parent) as name:
        parent = to if final == "ensemble" else Path(name)
        members = [ensemble_folder(parent, fold) for fold in range(checkpoint.folds)]
        for fold, member in enumerate(members):
            member.mkdir()
            copy_checked(checkpoint, member, fold)
        if final == "average":
            from tune_sa2va.model.average import average_adapters

            average_adapters(members, to)


def _copy_refit(checkpoint: TrialCheckpoint, to: Path) -> None:
    adapter = checkpoint.refit_folder / "adapter"
    if not adapter.is_dir():
        raise UserError(
            f"--final refit: trial {checkpoint.trial_id} was not trained again on all images. A search with --final "
            "refit does that only for its winner; choose another form for other trials."
        )
    for name in ADAPTER_FILES:
        shutil.copyfile(adapter / name, to / name)


def best_fold(checkpoint: TrialCheckpoint) -> int:
    """The fold whose adapter has the highest Dice on its own fold's images (which may be easier); 0 without folds."""
    return max(range(checkpoint.folds), key=checkpoint.fold_dice) if checkpoint.folds > 1 else 0
