"""Which states of its trials a search has on the disk, while it runs or afterwards."""

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
    """A trial's state after the epoch that it counts by (`results.best`), as it lies in the results folder.

    epoch, val_dice, can_win: as the search's tables have them. config: with what the trial changed on its way (a halved
    micro-batch). can_win: of the search and not failed; reruns win by their mean (`propose.confirmation`).
    """

    folder: Path
    trial_id: str
    epoch: int
    val_dice: float
    config: TrialConfig
    can_win: bool
    folds: int = 1
    """Adapters that it has."""

    def adapter(self, fold: int = 0) -> Path:
        """The folder of one of its adapters."""
        return (self.folder / f"fold_{fold}" if self.folds > 1 else self.folder) / "adapter"

    @property
    def refit_folder(self) -> Path:
        """Where the search keeps its configuration's training on all images, if there was one: a checkpoint."""
        return self.folder.parents[3] / "refit" / f"{self.trial_id}-epoch{self.epoch}"

    def fold_dice(self, fold: int) -> float:
        """Validation Dice of one of its adapters, on the images of its own fold.

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
        """Names this state among all of its search, as `test_scores.parquet` does."""
        return f"{self.trial_id}, epoch {self.epoch}"

    def label_of(self, final: FinalName) -> str:
        """Names what is exported of it, as `test_scores.parquet` does."""
        if final == "refit":
            return f"{self.label}, trained again on all"
        return self.label if self.folds == 1 else f"{self.label}, {final} of {self.folds} folds"


def find_checkpoints(run: Path) -> list[TrialCheckpoint]:
    """The best state of every trial of the search in `run`, best validation Dice first (ties: the earlier trial).

    Which epoch that is the tables say. A checkpoint that they do not know (the time budget ended the search before Tune
    heard of it) is none, and a trial whose checkpoint is not on the disk is left out.

    Raises:
        UserError: `run` is not a results folder.
        CheckpointError: a checkpoint does not say what it is of.
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
    """Configuration and number of adapters of the checkpoint in `folder`; None where there is none, or a running search
    just replaced it."""
    path = folder / "state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return TrialConfig.model_validate(state["config"]), int(state.get("folds", {"of": 1})["of"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: damaged ({reason}). Put back a copy of it, or delete the folder {folder.name}, "
            "and that epoch is left out."
        ) from error


def best_checkpoint(run: Path, trial_id: str | None = None) -> TrialCheckpoint:
    """The best checkpoint of the search, among trials that did not fail, or of one trial.

    Of a search that chooses otherwise (by reruns, --confirm, or with folds, where the recipe may stand), the one that
    it chose, once it has.

    Raises:
        UserError: there is none, or no such trial.
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
    """As records have it: 3 is 0003, 3-seed1 is 0003-seed1."""
    place, dash, seed = given.partition("-")
    return f"{int(place):04d}{dash}{seed}" if place.isascii() and place.isdigit() and len(place) < 9 else given


def best_of_search(run: Path, checkpoints: Sequence[TrialCheckpoint]) -> TrialCheckpoint:
    """The first of `find_checkpoints` that can win: what the search chose where nothing was confirmed.

    Raises:
        ResultsError: each of them failed.
    """
    best = next((checkpoint for checkpoint in checkpoints if checkpoint.can_win), None)
    if best is None:
        raise ResultsError(
            f"{run}: each trial with a checkpoint failed later; trials.parquet has the reasons. One of them can be "
            "exported by --trial."
        )
    return best


def _chosen(run: Path) -> str | None:
    """The trial that the search exported, where the highest score alone does not decide."""
    settings = SearchSettings.load(run)
    tuned = read_tuned(run / "best_adapter") if settings.confirm or (settings.folds or 1) > 1 else None
    return None if tuned is None else tuned.trial


def copy_checked(checkpoint: TrialCheckpoint, to: Path, fold: int = 0) -> None:
    """Copy one of the checkpoint's adapters into `to`, and compare it with the checksum that the trial wrote.

    Raises:
        CheckpointError: the files are gone (a running search replaces them) or damaged.
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
