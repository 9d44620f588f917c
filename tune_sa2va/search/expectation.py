"""How much ASHA will let run: trials at each rung and epochs in all, from rehearsals of its own rule.

The rule decides as results come (a trial goes on when it is in the best third of those that reached the rung before
it), so early trials pass more easily than a third would say, and how many run at a time matters. We play a search
through the scheduler's own bracket with trials whose merits are in random order and the same at every rung: the best
trial is best from the first epoch on. Real curves cross, which stops a little less or more, not by much.
"""

import random
from dataclasses import dataclass
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

_REHEARSALS = 60
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Expectation:
    """Means over the rehearsals, and their 10% and 90% points.

    rungs: epoch -> trials that reach it. epochs: of all trials together. rounds: epochs that pass until the last lane
    is done, when all epochs take equally long; at least epochs / lanes.
    """

    rungs: dict[int, float]
    epochs: float
    epochs_range: tuple[int, int]
    rounds: float


def expect(*, trials: int, epochs: int, lanes: int, reduction_factor: int) -> Expectation:
    """The expectation of a search with so many lanes; its first trial, the recipe, always runs to the end."""
    played = [_rehearse(random.Random(seed), trials, epochs, lanes, reduction_factor) for seed in range(_REHEARSALS)]
    lengths = [length for lengths, _ in played for length in lengths]
    totals = sorted(sum(lengths) for lengths, _ in played)
    rungs = {
        epoch: sum(length >= epoch for length in lengths) / _REHEARSALS
        for epoch in [*_milestones(epochs, reduction_factor), epochs]
    }
    return Expectation(
        rungs=rungs,
        epochs=sum(totals) / _REHEARSALS,
        epochs_range=(totals[int(_LOW * _REHEARSALS)], totals[int(_HIGH * _REHEARSALS)]),
        rounds=sum(rounds for _, rounds in played) / _REHEARSALS,
    )


def _milestones(epochs: int, reduction_factor: int) -> list[int]:
    """Epochs at which ASHA decides: 1, 3, 9, ... below the last."""
    milestones, epoch = [], 1
    while epoch < epochs:
        milestones.append(epoch)
        epoch *= reduction_factor
    return milestones


def _rehearse(
    chance: random.Random, trials: int, epochs: int, lanes: int, reduction_factor: int
) -> tuple[list[int], int]:
    """Epochs that each trial ran, and rounds until all were done. In a round each lane runs an epoch."""
    bracket = _Bracket(1, epochs, reduction_factor, 0)
    waiting = list(range(trials))[::-1]
    running: dict[int, SimpleNamespace] = {}
    lengths, rounds = [0] * trials, 0
    while waiting or running:
        while waiting and len(running) < lanes:
            number = waiting.pop()
            running[number] = SimpleNamespace(trial_id=str(number), merit=chance.random())
        rounds += 1
        for number, trial in list(running.items()):
            lengths[number] += 1
            decision = bracket.on_result(trial, lengths[number], trial.merit)
            if lengths[number] == epochs or (decision == TrialScheduler.STOP and number > 0):
                del running[number]
    return lengths, rounds
