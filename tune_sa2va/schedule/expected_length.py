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
    one round (with one seat an epoch), if all take equally long; at least epochs / (lanes * seats).
    """

    rungs: dict[int, float]
    epochs: float
    epochs_range: tuple[int, int]
    duration_in_epochs: float


def expect(
    *,
    trials: int,
    epochs: int,
    lanes: int,
    reduction_factor: int,
    seats: int = 1,
    grace_period: int = 1,
    learns: bool = True,
) -> Expectation:
    """The expectation for a search. Its first trial, the recipe, always runs to the end.

    seats: of a lane. learns: whether the sampler learns from results.
    """
    simulated = [
        simulate(
            seed, trials=trials, epochs=epochs, lanes=lanes, seats=seats,
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
    """lengths: epochs that each trial ran. ends: seconds after which nobody sat in a seat any more, for each seat of
    each lane, in no order."""

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
    seats: int = 1,
    grace_period: int = 1,
    learns: bool = True,
    epoch_s: float = 1.0,
    between_epochs_s: float = 0.0,
    turnaround_s: float = 0.0,
    opening_s: float = 0.0,
    lengths: Sequence[int] | None = None,
) -> SimulatedSearch:
    """Simulates one search, round by round. A round is one epoch of all who sit in a lane; with one seat, of one trial.

    All trials are of one kind, so they can sit together. Whoever is over leaves its seat to the next trial from the
    following round on. Those that go on wait until the new ones have been seated, one after another.

    epoch_s: of a round, however many sit. between_epochs_s: between two rounds of the same trials. turnaround_s: to
    seat one trial. opening_s: seconds before the first round of a lane.
    learns: whether the sampler learns from results (`random` does not). lengths: epochs of each trial if they are
    known; None lets ASHA decide.
    """
    chance = random.Random(seed)
    bracket = new_bracket(grace_period=grace_period, max_t=epochs, reduction_factor=reduction_factor)
    contenders = [
        SimpleNamespace(trial_id=str(number), score=_score(chance, number, learns=learns)) for number in range(trials)
    ]
    waiting, ran = iter(range(trials)), [0] * trials
    seated: list[list[int]] = [[] for _ in range(lanes)]
    ends: list[float] = []
    rounds: list[tuple[float, int, int]] = []  # end, first of its trials, lane

    def give_seat(lane: int, at: float) -> None:
        if (number := next(waiting, None)) is not None:
            seated[lane].append(number)
        else:
            ends.append(at)

    def begin_round(lane: int, at: float) -> None:
        heappush(rounds, (at + epoch_s, seated[lane][0], lane))

    for _ in range(seats):  # the first trials spread over the lanes
        for lane in range(lanes):
            give_seat(lane, 0.0)
    for lane in range(min(lanes, trials)):
        begin_round(lane, opening_s)
    while rounds:
        now, _, lane = heappop(rounds)
        for number in tuple(seated[lane]):
            ran[number] += 1
            decision = bracket.on_result(contenders[number], ran[number], contenders[number].score)
            is_stopped = ran[number] >= lengths[number] if lengths else decision == TrialScheduler.STOP and number > 0
            if ran[number] == epochs or is_stopped:
                seated[lane].remove(number)
                give_seat(lane, now)
        if seated[lane]:
            num_new = sum(ran[number] == 0 for number in seated[lane])
            stays = num_new < len(seated[lane])
            begin_round(lane, now + max(num_new * turnaround_s, stays * between_epochs_s))
    return SimulatedSearch(tuple(ran), tuple(ends))
