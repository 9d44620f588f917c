"""ASHA that lets the recipe run to its end: a baseline that was stopped early would flatter every winner."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler


class AshaSparingTheRecipe(ASHAScheduler):
    """ASHA, but for the trial at `recipe_point`: its results count at every rung, and it is never stopped early.

    epochs: the records of a search that is resumed. Tune does not keep its scheduler, whose rungs would be empty after
    every restart; so the results that Tune knows of each trial are told again.
    """

    def __init__(self, recipe_point: Mapping[str, Any], epochs: pd.DataFrame | None = None, **asha: Any) -> None:
        super().__init__(**asha)
        self._recipe_point = dict(recipe_point)
        self._results: dict[str, list[tuple[int, float]]] = {}
        if epochs is not None:
            for row in epochs.sort_values("epoch").to_dict("records"):
                self._results.setdefault(row["trial_id"], []).append((row["epoch"], row["val_dice"]))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, or comes from an earlier run with the results it had."""
        super().on_trial_add(tune_controller, trial)
        known = trial.metric_analysis.get(self._time_attr, {}).get("max", 0)
        bracket = self._trial_info[trial.trial_id]
        for epoch, val_dice in self._results.get(str(trial), []):
            if epoch <= known:
                bracket.on_result(trial, epoch, val_dice)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's question after each epoch: go on or stop."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        is_recipe = all(trial.config.get(path) == value for path, value in self._recipe_point.items())
        return TrialScheduler.CONTINUE if is_recipe else decision
