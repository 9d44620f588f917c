"""Which states of its trials a search has on the disk, while it runs or afterwards."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tune_sa2va.config import TrialConfig
from tune_sa2va.errors import CheckpointError, ResultsError
from tune_sa2va.evaluate.tuned import read_tuned
from tune_sa2va.results.settings import SearchSettings

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCheckpoint:
    """A trial's state after one epoch, as it lies in the results folder."""

    folder: Path
    trial_id: str
    epoch: int
    val_dice: float
    config: TrialConfig

    @property
    def label(self) -> str:
        """Names this state among all of its search, as `test_scores.parquet` does."""
        return f"{self.trial_id}, epoch {self.epoch}"


def find_checkpoints(run: Path) -> list[TrialCheckpoint]:
    """Every readable checkpoint of the search in `run`, best validation Dice first (ties: the earlier epoch first).

    Raises:
        UserError: `run` is not a results folder.
        CheckpointError: a checkpoint does not say what it is of, so that the best one is not known.
    """
    if not (run / "search.yaml").exists():
        raise ResultsError(f"{run}: holds no search (no search.yaml). Give the folder results/NAME of a search.")
    found = []
    for path in (run / "ray").glob("*/*/checkpoint_*/state.json"):
        try:
            state = json.loads(path.read_text())
            found.append(
                TrialCheckpoint(
                    folder=path.parent,
                    trial_id=path.parents[1].name,
                    epoch=state["progress"]["epoch"],
                    val_dice=state["progress"]["val_dice"],
                    config=TrialConfig.model_validate(state["config"]),
                )
            )
        except FileNotFoundError:
            continue  # replaced by the running search between the listing and the reading
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{path}: damaged ({reason}). Put back a copy of it, or delete the folder {path.parent.name}, "
                "and that epoch is left out."
            ) from error
    return sorted(found, key=lambda checkpoint: (-checkpoint.val_dice, checkpoint.epoch))


def best_checkpoint(run: Path, trial_id: str | None = None) -> TrialCheckpoint:
    """The checkpoint with the highest validation Dice of the search, or of one trial.

    Of a search whose best were run again to confirm them (--confirm), the one that it chose, once it has.

    Raises:
        UserError: there is none, or no such trial.
    """
    checkpoints = find_checkpoints(run)
    if not checkpoints:
        raise ResultsError(
            f"{run}: no trial has finished an epoch yet. Wait for the first one, or look at its failures."
        )
    trial_id = trial_id or _confirmed(run)
    if trial_id is None:
        return checkpoints[0]
    own = [checkpoint for checkpoint in checkpoints if checkpoint.trial_id == trial_id]
    if not own:
        known = ", ".join(sorted({checkpoint.trial_id for checkpoint in checkpoints})[:10])
        raise ResultsError(f"--trial {trial_id}: no checkpoint of it in {run}. Trials with one: {known}.")
    return own[0]


def _confirmed(run: Path) -> str | None:
    """The trial that the search exported, where the highest score did not decide."""
    tuned = read_tuned(run / "best_adapter") if SearchSettings.load(run).confirm else None
    return None if tuned is None else tuned.trial


def copy_checked(checkpoint: TrialCheckpoint, to: Path) -> None:
    """Copy the checkpoint's adapter into `to`, and compare it with the checksum that the trial wrote.

    Raises:
        CheckpointError: the files are gone (a running search replaces them) or damaged.
    """
    try:
        for name in ADAPTER_FILES:
            (to / name).write_bytes((checkpoint.folder / "adapter" / name).read_bytes())
        wanted = json.loads((checkpoint.folder / "state.json").read_text())["sha256"]
    except OSError as error:
        raise CheckpointError(
            f"{checkpoint.folder}: the adapter cannot be copied ({error.strerror}). "
            "If the search runs, it has a better one by now: export again."
        ) from error
    tensors = ADAPTER_FILES[0]
    if hashlib.sha256((to / tensors).read_bytes()).hexdigest() != wanted[f"adapter/{tensors}"]:
        raise CheckpointError(
            f"{checkpoint.folder}: {tensors} is damaged (its checksum differs). Give another --trial, or resume."
        )
