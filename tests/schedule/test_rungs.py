"""ASHA's rungs and chances, against Ray's own bracket."""

import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from tune_sa2va.schedule.rungs import REDUCTION_FACTOR, chance_to_go_on, rungs


@pytest.mark.parametrize("epochs", [1, 2, 3, 6, 9, 10, 15, 27, 28, 100])
def test_the_rungs_are_those_of_ray(epochs: int) -> None:
    bracket = _Bracket(1, epochs, REDUCTION_FACTOR, 0)
    assert rungs(epochs) == tuple(sorted(rung for rung, _ in bracket._rungs if rung < epochs))


@pytest.mark.parametrize("recorded", [0, 1, 2, 3, 7, 20])
def test_the_chance_to_go_on_is_that_of_rays_rule(recorded: int) -> None:
    chance, times, passed = random.Random(0), 4_000, 0
    for _ in range(times):
        bracket = _Bracket(1, 9, REDUCTION_FACTOR, 0)
        bracket._rungs[-1][1].update({str(number): chance.random() for number in range(recorded)})
        decision = bracket.on_result(SimpleNamespace(trial_id="new"), 1, chance.random())
        passed += decision == TrialScheduler.CONTINUE
    assert passed / times == pytest.approx(chance_to_go_on(recorded), abs=0.03)
