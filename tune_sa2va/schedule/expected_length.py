"""How much ASHA will let run: trials at each rung and epochs in all, from rehearsals of its own rule.

The rule decides as results come (a trial goes on when it is in the best third of those that reached the rung before
it), so early trials pass more easily than a third would say, and how many run at a time matters. We play a search
through the scheduler's own bracket with trials whose merits are the same at every rung: the best trial is best from the
first epoch on. Real curves cross, which stops a little less or more, not by much. The first trials' merits are random;
then a sampler that learns has something to learn from, and each trial is the better of two random ones. (A search of 32
trials ran 214 epochs: 141 are expected without that, 165 with it, 104 to 216.)
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from tune_sa2va.engine.ray_private import new_bracket
from tune_sa2va.schedule.rungs import rungs

REHEARSALS = 60
_LOW, _HIGH = 0.1, 0.9
_UNGUIDED, _DRAWS = 10, 2
"""TPE's first ten trials are random (Optuna's n_startup_trials); how much better the later ones are is our guess."""


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


def expect(
    *, trials: int, epochs: int, lanes: int, reduction_factor: int, grace_period: int = 1, learns: bool = True
) -> Expectation:
    """The expectation of a search with so many lanes; its first trial, the recipe, always runs to the end."""
    played = [
        rehearse(
            seed, trials=trials, epochs=epochs, lanes=lanes,
            reduction_factor=reduction_factor, grace_period=grace_period, learns=learns,
        )
        for seed in range(REHEARSALS)
    ]  # fmt: skip
    lengths = [length for one in played for length in one.lengths]
    totals = sorted(sum(one.lengths) for one in played)
    reached = {
        epoch: sum(length >= epoch for length in lengths) / REHEARSALS
        for epoch in [*rungs(epochs, grace_period=grace_period, reduction_factor=reduction_factor), epochs]
    }
    return Expectation(
        rungs=reached,
        epochs=sum(totals) / REHEARSALS,
        epochs_range=(totals[int(_LOW * REHEARSALS)], totals[int(_HIGH * REHEARSALS)]),
        rounds=sum(one.end for one in played) / REHEARSALS,
    )


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """lengths: epochs that each trial ran. ends: when each lane had nothing left to do."""

    lengths: tuple[int, ...]
    ends: tuple[float, ...]

    @property
    def end(self) -> float:
        """When the last lane was done."""
        return max(self.ends)


def _merit(chance: random.Random, number: int, *, learns: bool) -> float:
    return max(chance.random() for _ in range(_DRAWS if learns and number >= _UNGUIDED else 1))


def rehearse(
    seed: int,
    *,
    trials: int,
    epochs: int,
    lanes: int,
    reduction_factor: int,
    grace_period: int = 1,
    learns: bool = True,
    epoch_s: float = 1.0,
    between_epochs_s: float = 0.0,
    turnaround_s: float = 0.0,
    opening_s: float = 0.0,
    lengths: Sequence[int] | None = None,
) -> Rehearsal:
    """One search, result by result. opening_s: what a lane's first trial takes besides; turnaround_s: each later one.

    learns: the sampler does; a random one does not. lengths: of the trials, where they are known; ASHA decides them
    otherwise.
    """
    chance = random.Random(seed)
    bracket = new_bracket(grace_period=grace_period, max_t=epochs, reduction_factor=reduction_factor)
    contenders = [
        SimpleNamespace(trial_id=str(number), merit=_merit(chance, number, learns=learns)) for number in range(trials)
    ]
    waiting, ran, ends = iter(range(trials)), [0] * trials, [0.0] * lanes
    results: list[tuple[float, int, int]] = []  # when, which trial's, in which lane

    def begin(lane: int, at: float) -> None:
        ends[lane] = at
        if (number := next(waiting, None)) is not None:
            heappush(results, (at + (turnaround_s if at else opening_s) + epoch_s, number, lane))

    for lane in range(lanes):
        begin(lane, 0.0)
    while results:
        now, number, lane = heappop(results)
        ran[number] += 1
        decision = bracket.on_result(contenders[number], ran[number], contenders[number].merit)
        is_stopped = ran[number] >= lengths[number] if lengths else decision == TrialScheduler.STOP and number > 0
        if ran[number] == epochs or is_stopped:
            begin(lane, now)
        else:
            heappush(results, (now + between_epochs_s + epoch_s, number, lane))
    return Rehearsal(tuple(ran), tuple(ends))
