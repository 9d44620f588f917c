"""Finds the checkpoints of a search's trials on disk, while it runs or afterwards."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import CheckpointError, ResultsError
from tune_sa2va.evaluate.tuned import FinalName, read_tuned
from tune_sa2va.results.records import TrialKind, TrialState, read_trials
from tune_sa2va.results.settings import SearchSettings

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCheckpoint:
    """A trial's checkpoint after its best epoch (`results.best`), in the results folder.

    epoch, val_dice: the best epoch and its Dice according to the search's tables.
    config: including what changed during the trial (a halved micro-batch).
    can_win: it is a trial of the search and did not fail; reruns win by their mean (`propose.confirmation`).
    """

    folder: Path
    trial_id: str
    epoch: int
    val_dice: float
    config: TrialConfig
    can_win: bool
    folds: int = 1
    """Number of its adapters: 1 without folds."""

    def adapter(self, fold: int = 0) -> Path:
        """The folder of its adapter, or with folds of one of them, counted from 0."""
        return (self.folder / f"fold_{fold}" if self.folds > 1 else self.folder) / "adapter"

    @property
    def refit_folder(self) -> Path:
        """The checkpoint of this configuration's training on all images; it exists only if there was one."""
        return self.folder.parents[3] / "refit" / f"{self.trial_id}-epoch{self.epoch}"

    def fold_dice(self, fold: int) -> float:
        """Validation Dice of one fold's adapter, on the images of that fold.

        Raises:
            CheckpointError: the fold's state cannot be read.
        """
        path = self.folder / f"fold_{fold}" / "state.json"
        try:
            return float(json.loads(path.read_text(encoding="utf-8"))["progress"]["val_dice"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path}: damaged ({' '.join(str(error).split())}). Give another --trial.") from error

    @property
    def label(self) -> str:
        """Identifies this checkpoint within the search, as in `test_scores.parquet`."""
        return f"{self.trial_id}, epoch {self.epoch}"

    def label_of(self, final: FinalName) -> str:
        """Identifies an export of this checkpoint in the form `final`, as in `test_scores.parquet`."""
        if final == "refit":
            return f"{self.label}, trained again on all"
        return self.label if self.folds == 1 else f"{self.label}, {final} of {self.folds} folds"


def find_checkpoints(run: Path) -> list[TrialCheckpoint]:
    """The best checkpoint of every trial of the search in `run`, highest validation Dice first (ties: earlier trial).

    The tables decide which epoch is best. A checkpoint that they do not list does not count (the time budget may have
    ended the search before Tune was told of it), and a trial whose checkpoint is not on disk is left out.

    Raises:
        UserError: `run` is not a results folder.
        CheckpointError: the state of a checkpoint cannot be read.
    """
    if not (run / "search.yaml").exists():
        raise ResultsError(f"{run}: holds no search (no search.yaml). Give the folder results/NAME of a search.")
    trials = read_trials(run, kind=None)
    rows = trials[trials["best_epoch"].notna()].sort_values(["best_val_dice", "number"], ascending=[False, True])
    found = []
    for row in rows.to_dict("records"):
        trial_id, epoch = str(row["trial_id"]), int(row["best_epoch"])
        folder = run / "ray" / "checkpoints" / trial_id / f"checkpoint_{epoch:04d}"
        about = _about(folder)
        if about is not None:
            config, folds = about
            found.append(
                TrialCheckpoint(
                    folder=folder,
                    trial_id=trial_id,
                    epoch=epoch,
                    val_dice=float(row["best_val_dice"]),
                    config=config,
                    can_win=row["kind"] == TrialKind.SEARCH and row["state"] != TrialState.FAILED,
                    folds=folds,
                )
            )
    return found


def _about(folder: Path) -> tuple[TrialConfig, int] | None:
    """Configuration and number of adapters of the checkpoint in `folder`; None if there is none, or a running search
    has just replaced it."""
    path = folder / "state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return TrialConfig.model_validate(state["config"]), int(state.get("folds", {"of": 1})["of"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: damaged ({reason}). Put back a copy of it, or delete the folder {folder.name} to leave that "
            "trial out."
        ) from error


def best_checkpoint(run: Path, trial_id: str | None = None) -> TrialCheckpoint:
    """The checkpoint of the trial `trial_id`; if that is None, the one that the search chose.

    By default a search chooses the trial with the highest validation Dice that did not fail. With --confirm or folds it
    chooses at its end, by reruns or perhaps the recipe; until then the highest Dice counts.

    Raises:
        UserError: there is no checkpoint, or none of this trial.
    """
    checkpoints = find_checkpoints(run)
    if not checkpoints:
        raise ResultsError(
            f"{run}: no trial has finished an epoch yet. Wait for the first one, or look at its failures."
        )
    trial_id = _full_id(trial_id) if trial_id else _chosen(run)
    if trial_id is None:
        return best_of_search(run, checkpoints)
    own = [checkpoint for checkpoint in checkpoints if checkpoint.trial_id == trial_id]
    if not own:
        known = ", ".join(sorted({checkpoint.trial_id for checkpoint in checkpoints})[:10])
        raise ResultsError(f"--trial {trial_id}: no checkpoint of it in {run}. Trials with one: {known}.")
    return own[0]


def _full_id(given: str) -> str:
    """The id as in the records: 3 is 0003, 3-seed1 is 0003-seed1."""
    place, dash, seed = given.partition("-")
    return f"{int(place):04d}{dash}{seed}" if place.isascii() and place.isdigit() and len(place) < 9 else given


def best_of_search(run: Path, checkpoints: Sequence[TrialCheckpoint]) -> TrialCheckpoint:
    """The first of `checkpoints` (from `find_checkpoints`) that can win: the highest validation Dice.

    Raises:
        ResultsError: all of them belong to failed trials.
    """
    best = next((checkpoint for checkpoint in checkpoints if checkpoint.can_win), None)
    if best is None:
        raise ResultsError(
            f"{run}: every trial with a checkpoint failed later; trials.parquet has the reasons. Export one of them "
            "with --trial."
        )
    return best


def _chosen(run: Path) -> str | None:
    """The trial that the search exported, if it chooses by more than the highest score; otherwise None."""
    settings = SearchSettings.load(run)
    tuned = read_tuned(run / "best_adapter") if settings.confirm or (settings.folds or 1) > 1 else None
    return None if tuned is None else tuned.trial


def copy_checked(checkpoint: TrialCheckpoint, to: Path, fold: int = 0) -> None:
    """Copies one of the checkpoint's adapters into `to` and compares it with the checksum in the checkpoint.

    Raises:
        CheckpointError: the files are gone (a running search may have replaced them) or damaged.
    """
    adapter = checkpoint.adapter(fold)
    try:
        for name in ADAPTER_FILES:
            (to / name).write_bytes((adapter / name).read_bytes())
        wanted = json.loads((checkpoint.folder / "state.json").read_text(encoding="utf-8"))["sha256"]
    except OSError as error:
        raise CheckpointError(
            f"{checkpoint.folder}: the adapter cannot be copied ({error.strerror}). "
            "If the search runs, it has a better one by now: export again."
        ) from error
    tensors = ADAPTER_FILES[0]
    if (
        hashlib.sha256((to / tensors).read_bytes()).hexdigest()
        != wanted[(adapter / tensors).relative_to(checkpoint.folder).as_posix()]
    ):
        raise CheckpointError(
            f"{checkpoint.folder}: {tensors} is damaged (its checksum differs). Give another --trial, or resume."
        )
