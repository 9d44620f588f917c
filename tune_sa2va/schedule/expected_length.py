"""How much ASHA is expected to let run: trials at each rung and epochs in total, simulated with its own rule.

ASHA decides as results come in: a trial continues if it is among the best third of those that reached the rung before
it. So more than a third of the early trials continue, and the number of concurrent trials matters. The simulation uses
the scheduler's own bracket. A simulated trial has one score, the same at every rung; real curves cross, which changes
the number of stopped trials only a little. The scores of the first trials are random; after that, a sampler that learns
is assumed to propose the better of two random trials. (A real search of 32 trials ran 214 epochs. Simulated without
such a sampler: 141; with it: 165, and 104 to 216 in 80% of simulations.)
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from tune_sa2va.internals.ray_private import new_bracket
from tune_sa2va.schedule.rungs import rungs

SIMULATIONS = 60
_LOW, _HIGH = 0.1, 0.9
_RANDOM_TRIALS, _BEST_OF = 10, 2
"""TPE's first ten trials are random (Optuna's n_startup_trials). How much better the later ones are is a guess."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Means over the simulations.

    rungs: epoch -> number of trials that reach it; it has all rungs and the last epoch. epochs: total over all trials.
    epochs_range: 10% and 90% points of that total. duration_in_epochs: time until the last lane is done, in units of
    one epoch, if all epochs take equally long; at least epochs / lanes.
    """

    rungs: dict[int, float]
    epochs: float
    epochs_range: tuple[int, int]
    duration_in_epochs: float


def expect(
    *, trials: int, epochs: int, lanes: int, reduction_factor: int, grace_period: int = 1, learns: bool = True
) -> Expectation:
    """The expectation for a search. Its first trial, the recipe, always runs to the end.

    learns: whether the sampler learns from results.
    """
    simulated = [
        simulate(
            seed, trials=trials, epochs=epochs, lanes=lanes,
            reduction_factor=reduction_factor, grace_period=grace_period, learns=learns,
        )
        for seed in range(SIMULATIONS)
    ]  # fmt: skip
    lengths = [length for one in simulated for length in one.lengths]
    totals = sorted(sum(one.lengths) for one in simulated)
    reached = {
        epoch: sum(length >= epoch for length in lengths) / SIMULATIONS
        for epoch in [*rungs(epochs, grace_period=grace_period, reduction_factor=reduction_factor), epochs]
    }
    return Expectation(
        rungs=reached,
        epochs=sum(totals) / SIMULATIONS,
        epochs_range=(totals[int(_LOW * SIMULATIONS)], totals[int(_HIGH * SIMULATIONS)]),
        duration_in_epochs=sum(one.end for one in simulated) / SIMULATIONS,
    )


@dataclass(frozen=True, slots=True)
class SimulatedSearch:
    """lengths: epochs that each trial ran. ends: seconds after which each lane had nothing left to do."""

    lengths: tuple[int, ...]
    ends: tuple[float, ...]

    @property
    def end(self) -> float:
        """Seconds after which the last lane was done."""
        return max(self.ends)


def _score(chance: random.Random, number: int, *, learns: bool) -> float:
    return max(chance.random() for _ in range(_BEST_OF if learns and number >= _RANDOM_TRIALS else 1))


def simulate(
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
) -> SimulatedSearch:
    """Simulates one search, result by result.

    opening_s: seconds before the first trial of a lane trains. turnaround_s: seconds before each later trial trains.
    learns: whether the sampler learns from results (`random` does not). lengths: epochs of each trial if they are
    known; None lets ASHA decide.
    """
    chance = random.Random(seed)
    bracket = new_bracket(grace_period=grace_period, max_t=epochs, reduction_factor=reduction_factor)
    contenders = [
        SimpleNamespace(trial_id=str(number), score=_score(chance, number, learns=learns)) for number in range(trials)
    ]
    waiting, ran, ends = iter(range(trials)), [0] * trials, [0.0] * lanes
    results: list[tuple[float, int, int]] = []  # time, trial, lane

    def begin(lane: int, at: float) -> None:
        ends[lane] = at
        if (number := next(waiting, None)) is not None:
            heappush(results, (at + (turnaround_s if at else opening_s) + epoch_s, number, lane))

    for lane in range(lanes):
        begin(lane, 0.0)
    while results:
        now, number, lane = heappop(results)
        ran[number] += 1
        decision = bracket.on_result(contenders[number], ran[number], contenders[number].score)
        is_stopped = ran[number] >= lengths[number] if lengths else decision == TrialScheduler.STOP and number > 0
        if ran[number] == epochs or is_stopped:
            begin(lane, now)
        else:
            heappush(results, (now + between_epochs_s + epoch_s, number, lane))
    return SimulatedSearch(tuple(ran), tuple(ends))
