"""ASHA's rungs and the chance to pass one, compared with Ray's own bracket."""

import random
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from tune_sa2va.schedule.rungs import chance_to_go_on, rungs


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("grace_period", [1, 2, 4])
@pytest.mark.parametrize("epochs", [4, 6, 9, 10, 15, 27, 28, 100])
def test_the_rungs_are_those_of_ray(epochs: int, grace_period: int, factor: int) -> None:
    bracket = _Bracket(grace_period, epochs, factor, 0)
    assert rungs(epochs, grace_period=grace_period, reduction_factor=factor) == tuple(
        sorted(rung for rung, _ in bracket._rungs if rung < epochs)
    )


def test_a_search_of_one_epoch_has_no_rung() -> None:
    assert rungs(1, grace_period=1, reduction_factor=3) == ()


@pytest.mark.parametrize(("recorded", "factor"), [(0, 3), (1, 3), (2, 2), (3, 3), (7, 4), (20, 3)])
def test_the_chance_to_go_on_is_that_of_rays_rule(recorded: int, factor: int) -> None:
    chance, times, passed = random.Random(0), 4_000, 0
    for _ in range(times):
        bracket = _Bracket(1, 9, factor, 0)
        bracket._rungs[-1][1].update({str(number): chance.random() for number in range(recorded)})
        decision = bracket.on_result(SimpleNamespace(trial_id="new"), 1, chance.random())
        passed += decision == TrialScheduler.CONTINUE
    assert passed / times == pytest.approx(chance_to_go_on(recorded, reduction_factor=factor), abs=0.03)
