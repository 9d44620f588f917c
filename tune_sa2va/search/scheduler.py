"""ASHA that lets the recipe run to its end: a baseline that was stopped early would flatter every winner."""

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler


class AshaSparingTheRecipe(ASHAScheduler):
    """ASHA, but for the trial at `recipe_point`: its results count at every rung, and it is never stopped early."""

    def __init__(self, recipe_point: Mapping[str, Any], **asha: Any) -> None:
        super().__init__(**asha)
        self._recipe_point = dict(recipe_point)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune's question after each epoch: go on or stop."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        is_recipe = all(trial.config.get(path) == value for path, value in self._recipe_point.items())
        return TrialScheduler.CONTINUE if is_recipe else decision
