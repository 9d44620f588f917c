"""ASHA that lets the recipe run to its end: a baseline that was stopped early would make every winner look better."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from tune_sa2va.internals.ray_private import bracket_of, keep_actors, rungs_of
from tune_sa2va.schedule.decision import Decision, RungOutcome
from tune_sa2va.space.rerun import RERUN_OF


class AshaSparingTheRecipe(ASHAScheduler):
    """ASHA that never stops the recipe or a rerun early.

    The results of the recipe, the trial at `recipe_point`, count at every rung; those of reruns count at none.
    lanes_to_keep: how many of Tune's actors stay for reruns while the last trials of the search end; Tune would keep
        one.

    epochs: the epoch records of a search that is resumed, None for a new one. Tune does not save its scheduler, so
    after a restart the rungs would be empty. Therefore the recorded results that are in Tune's state are added again.
    """

    def __init__(
        self,
        recipe_point: Mapping[str, Any],
        epochs: pd.DataFrame | None = None,
        *,
        lanes_to_keep: int = 0,
        **asha: Any,
    ) -> None:
        super().__init__(**asha)
        self._lanes_to_keep = lanes_to_keep
        self._recipe_point = dict(recipe_point)
        self.decisions: dict[str, Decision] = {}
        """Trial id in the records -> ASHA's latest decision on that trial."""
        self._results: dict[str, list[tuple[int, float]]] = {}
        if epochs is not None:
            for row in epochs[epochs["folds_left"] == 0].sort_values("epoch").to_dict("records"):
                self._results.setdefault(row["trial_id"], []).append((row["epoch"], row["val_dice"]))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called for a new trial, and for a trial of an earlier run with its results."""
        super().on_trial_add(tune_controller, trial)
        if self._lanes_to_keep:
            keep_actors(tune_controller, trial, self._lanes_to_keep)
            self._lanes_to_keep = 0
        if RERUN_OF in trial.config:
            return
        known = trial.metric_analysis.get(self._time_attr, {}).get("max", 0)
        bracket = bracket_of(self, trial)
        for epoch, val_dice in self._results.get(str(trial), []):
            if epoch <= known:
                bracket.on_result(trial, epoch, val_dice)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Whether a trial continues or stops; Tune asks after each epoch."""
        if RERUN_OF in trial.config:
            return TrialScheduler.CONTINUE
        before = self._before(trial, result)  # Ray does not tell what it compared
        decision: str = super().on_trial_result(tune_controller, trial, result)
        is_recipe = all(trial.config.get(path) == value for path, value in self._recipe_point.items())
        if before is not None:
            below = RungOutcome.SPARED if is_recipe else RungOutcome.STOPPED
            outcome = below if decision == TrialScheduler.STOP else RungOutcome.PASSED
            self.decisions[str(trial)] = Decision(*before, outcome)
        return TrialScheduler.CONTINUE if is_recipe else decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Called when a trial is over."""
        if RERUN_OF in trial.config or result.get("folds_left"):  # a mean over some of the folds counts at no rung
            self.on_trial_remove(tune_controller, trial)
        else:
            super().on_trial_complete(tune_controller, trial, result)

    def _before(self, trial: Trial, result: dict[str, Any]) -> tuple[int, float, float | None, int] | None:
        """Rung, Val Dice, cutoff and number of other trials at the rung; None if this result reaches no rung.

        This follows Ray: the trial reaches the highest rung up to this epoch at which it is not recorded. The cutoff is
        None for the first trial at a rung.
        """
        epoch, val_dice = result.get(self._time_attr), result.get(self._metric)
        if epoch is None or val_dice is None or epoch >= self._max_t:
            return None
        bracket = bracket_of(self, trial)
        for rung, recorded in rungs_of(bracket):
            if epoch >= rung and trial.trial_id not in recorded:
                cutoff = bracket.cutoff(recorded)
                return rung, val_dice, None if cutoff is None else float(cutoff), len(recorded)
        return None
