"""The contract of every rule that may stop a trial: what it spares, what it compares, what a restart preserves."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tune_sa2va.schedule.asha import AshaSparingTheRecipe
from tune_sa2va.schedule.asha_in_lanes import AshaInLanes
from tune_sa2va.space.rerun import RERUN_OF, RERUN_SEED

GO_ON, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
RECIPE_POINT = {"x": 0, "y": 0}
MAX_EPOCHS = 9

Make = Callable[..., AshaSparingTheRecipe]


def asha(epochs: pd.DataFrame | None = None) -> AshaSparingTheRecipe:
    return AshaSparingTheRecipe(RECIPE_POINT, epochs, **options())


def asha_in_lanes(epochs: pd.DataFrame | None = None) -> AshaInLanes:
    """`AshaInLanes` with room for every trial; `test_lane_capacity` tests which trials get a lane."""
    return AshaInLanes(RECIPE_POINT, epochs, lane_capacity=SimpleNamespace(trials=lambda: 2), **options())


def options() -> dict[str, Any]:
    return {
        "time_attr": "epoch", "metric": "val_dice", "mode": "max", "max_t": MAX_EPOCHS,
        "grace_period": 1, "reduction_factor": 3,
    }  # fmt: skip


def a_trial(number: int, **config: Any) -> Trial:
    return Trial("a", config={"x": number, "y": 1} | config, trial_name_creator=lambda _: f"{number:04d}", stub=True)


def result_of(rule: AshaSparingTheRecipe, trial: Trial, epoch: int, val_dice: float) -> str:
    return rule.on_trial_result(None, trial, {"epoch": epoch, "val_dice": val_dice})


def add(rule: AshaSparingTheRecipe, trial: Trial, epoch: int, val_dice: float) -> str:
    rule.on_trial_add(None, trial)
    return result_of(rule, trial, epoch, val_dice)


@pytest.mark.parametrize("make", [asha, asha_in_lanes])
class TestEveryRule:
    @pytest.mark.parametrize("rung", [1, 3])
    def test_the_best_third_of_those_before_goes_on(self, make: Make, rung: int) -> None:
        rule, values = make(), [0.5, 0.4, 0.6, 0.55, 0.7, 0.1, 0.65]
        for number, value in enumerate(values, start=1):
            before = values[: number - 1]
            wanted = GO_ON if not before or value >= np.percentile(before, 200 / 3) else STOP
            assert add(rule, a_trial(number), rung, value) == wanted, number

    def test_the_last_epoch_is_the_end(self, make: Make) -> None:
        rule, trial = make(), a_trial(1)
        assert add(rule, trial, MAX_EPOCHS - 1, 0.9) == GO_ON
        assert result_of(rule, trial, MAX_EPOCHS, 0.9) == STOP

    def test_the_recipe_is_spared_and_counts(self, make: Make) -> None:
        rule = make()
        add(rule, a_trial(1), 1, 0.5)
        assert add(rule, a_trial(0, **RECIPE_POINT), 1, 0.1) == GO_ON
        # Two thirds of the way from 0.1 to 0.5: a trial just above is not stopped, since the recipe counts.
        assert add(rule, a_trial(2), 1, 0.38) == GO_ON
        assert add(rule, a_trial(3), 1, 0.2) == STOP

    def test_only_the_whole_recipe_is_the_recipe(self, make: Make) -> None:
        rule = make()
        add(rule, a_trial(1), 1, 0.5)
        assert add(rule, a_trial(2, x=0), 1, 0.1) == STOP
        assert add(rule, a_trial(3, y=0), 1, 0.1) == STOP

    def test_reruns_are_never_stopped_and_count_nowhere(self, make: Make) -> None:
        rule = make()
        add(rule, a_trial(1), 1, 0.5)
        rerun = a_trial(2, **{RERUN_OF: "0001", RERUN_SEED: 1})
        assert add(rule, rerun, 1, 0.0) == GO_ON
        rule.on_trial_complete(None, rerun, {"epoch": 3, "val_dice": 0.99})
        assert add(rule, a_trial(3), 1, 0.5) == GO_ON and add(rule, a_trial(4), 1, 0.4) == STOP
        assert add(rule, a_trial(5), 3, 0.2) == GO_ON, "the first at its rung"

    def test_a_failure_has_no_epoch_and_lowers_no_cutoff(self, make: Make) -> None:
        rule = make()
        add(rule, a_trial(1), 1, 0.5)
        for number in (2, 3, 4):
            failed = a_trial(number)
            rule.on_trial_add(None, failed)
            rule.on_trial_result(None, failed, {"val_dice": 0.0, "failure": "a loss is not finite"})
            rule.on_trial_complete(None, failed, {"val_dice": 0.0, "failure": "a loss is not finite"})
        assert add(rule, a_trial(5), 1, 0.45) == STOP

    def test_a_restart_knows_what_tune_knows_of_each_trial(self, make: Make) -> None:
        """Epochs missing from Tune's state are reported again by the lane, and count only then."""
        rows = [("0001", 1, 0.5), ("0001", 2, 0.6), ("0001", 3, 0.7), ("0002", 1, 0.8), ("0002", 3, 0.9)]
        epochs = pd.DataFrame(rows[::-1], columns=["trial_id", "epoch", "val_dice"]).assign(folds_left=0)
        rule = make(epochs)
        for number, known in ((1, 3), (2, 1)):
            trial = a_trial(number)
            trial.update_last_result({"epoch": known, "val_dice": 0.0})
            rule.on_trial_add(None, trial)
        # At rung 1 both trials count (cutoff 0.7), at rung 3 only the first.
        assert add(rule, a_trial(3), 1, 0.71) == GO_ON and add(rule, a_trial(4), 1, 0.69) == STOP
        assert add(rule, a_trial(5), 3, 0.71) == GO_ON and add(rule, a_trial(6), 3, 0.69) == STOP
