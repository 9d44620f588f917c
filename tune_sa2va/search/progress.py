"""The one listener that Tune calls: what happens in a search goes to the records and to the screen, as it happens.

Tune keeps it with its own state, pickled, so that a resumed search goes on with it. What cannot be pickled is made in
`setup`.
"""

import dataclasses
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from tune_sa2va.search.records import RunRecords, TrialState
from tune_sa2va.search.screen import Screen
from tune_sa2va.search.settings import SearchSettings
from tune_sa2va.train.records import EpochRecord

_EPOCH_FIELDS = tuple(field.name for field in dataclasses.fields(EpochRecord))


class Recorder(tune.Callback):
    """Records the trials of one search, and shows them."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._ended: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._lanes: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_settings": self._settings, "_ended": set(), "_numbers": {}, "_lanes": {}}

    def setup(self, *args: Any, **info: Any) -> None:
        """Before the first trial, of a new search or of a resumed one."""
        settings = self._settings
        self._records = RunRecords.open(settings.folder)
        self._screen = Screen(trials=settings.trials, epochs=settings.epochs, lanes=settings.lanes)
        for row in self._records.trials().to_dict("records"):
            ended = row["state"] in (TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED)
            self._numbers[row["trial_id"]] = row["number"]
            self._screen.knows(
                row["trial_id"], number=row["number"], epoch=row["epochs"], best=row["best_val_dice"], ended=ended
            )
            if ended:
                self._ended.add(row["trial_id"])

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has a lane, for the first time or again."""
        # Tune's tag starts with the trial's place among the proposed ones: the recipe is 0, whichever lane is first.
        number = self._numbers.setdefault(trial.trial_id, int(trial.experiment_tag.split("_")[0]) - 1)
        actor = str(trial.temporary_state.ray_actor)
        lane = self._lanes.setdefault(actor, f"lane {len(self._lanes) + 1}")
        self._records.trial_started(trial.trial_id, number, self._settings.trial_config(trial.config), lane)
        self._screen.started(trial.trial_id, number)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has an epoch more, or cannot go on."""
        if result["failure"]:
            self._keep_traceback(trial.trial_id, result["traceback"])
            self._end(trial.trial_id, TrialState.FAILED, result["failure"])
            return
        record = {name: result[name] for name in _EPOCH_FIELDS}
        self._records.epoch(trial.trial_id, record)
        self._screen.epoch(
            trial.trial_id,
            epoch=record["epoch"],
            val_dice=record["val_dice"],
            loss=record["train_loss"],
            seconds=record["seconds"],
            warning=record["warning"],
        )

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial is over: Tune calls it TERMINATED whether it ran all epochs or ASHA stopped it."""
        whole = (trial.last_result or {}).get("epoch", 0) >= self._settings.epochs
        self._end(trial.trial_id, TrialState.COMPLETE if whole else TrialState.STOPPED)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial lost its workers and will be tried again."""
        self._records.trial_ended(trial.trial_id, TrialState.WAITING)
        self._screen.interrupted(trial.trial_id, _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial lost its workers too often."""
        self._end(trial.trial_id, TrialState.FAILED, _reason(trial))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """What is still under way now, the time budget has stopped."""
        for trial_id in self._numbers:
            self._end(trial_id, TrialState.STOPPED)
        self._screen.close()

    def _end(self, trial_id: str, state: TrialState, failure: str = "") -> None:
        if trial_id in self._ended or trial_id not in self._numbers:
            return
        self._ended.add(trial_id)
        self._records.trial_ended(trial_id, state, failure)
        self._screen.ended(trial_id, state, failure)

    def _keep_traceback(self, trial_id: str, traceback: str) -> None:
        folder: Path = self._settings.tune_folder / trial_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.txt").write_text(traceback, encoding="utf-8")


def _reason(trial: Trial) -> str:
    """Why a lane was lost, in one line: the last of Ray's pages."""
    lines = [line.strip() for line in str(trial.get_error() or "").splitlines() if line.strip()]
    return lines[-1] if lines else "the workers died without a word"
