"""Proposals of a search's sampler, answered by recorded configurations.

The sampler is the search's own. What it proposes is not recorded, so the nearest recorded configuration that the search
has not used yet runs in its place (`recorded.place` says how distance is measured), and the sampler is told that one's
own parameters with its score. So a sampler that learns can show a part of what it can do, and no more.
"""

import warnings
from functools import lru_cache
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import TrialState

from tune_sa2va.bench.replay.recorded import Recorded, place
from tune_sa2va.propose.searcher import READS_PRUNED, make_sampler
from tune_sa2va.results.settings import SamplerName


class Proposals(Protocol):
    """Recorded configurations, one after the other."""

    def next(self) -> int | None:
        """A configuration; None when all are used."""

    def tell(self, configuration: int, score: float, *, epochs: int, stopped: bool) -> None:
        """A trial is over, after so many epochs, with the best score it had."""


def proposals(recorded: Recorded, sampler: SamplerName, *, seed: int) -> Proposals:
    """Of a search's sampler. Random ones do not depend on results, so they are drawn once for all rules."""
    if sampler == "random":
        return _InOrder(_random_order(recorded, seed))
    return _Learning(recorded, sampler, seed=seed)


@lru_cache(maxsize=4096)
def _random_order(recorded: Recorded, seed: int) -> "_Drawn":
    return _Drawn(_Learning(recorded, "random", seed=seed))


class _Drawn:
    """Random proposals, drawn when first asked for and kept."""

    def __init__(self, source: "_Learning") -> None:
        self._source = source
        self._found: list[int | None] = []

    def at(self, number: int) -> int | None:
        while len(self._found) <= number:
            self._found.append(self._source.next())
        return self._found[number]


class _InOrder:
    def __init__(self, drawn: _Drawn) -> None:
        self._drawn, self._number = drawn, -1

    def next(self) -> int | None:
        self._number += 1
        return self._drawn.at(self._number)

    def tell(self, configuration: int, score: float, *, epochs: int, stopped: bool) -> None:
        pass


class _Learning:
    """The recipe first, then whatever the sampler makes of the results; each configuration once."""

    def __init__(self, recorded: Recorded, sampler: SamplerName, *, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, seed=seed))
        self._recorded, self._sampler = recorded, sampler
        self._distributions = recorded.space.distributions
        self._unused = list(range(len(recorded.points)))
        self._asked: dict[int, optuna.Trial] = {}
        self._study.enqueue_trial(recorded.points[0])

    def next(self) -> int | None:
        """A configuration; None when all are used."""
        if not self._unused:
            return None
        asked = self._study.ask(self._distributions)
        wanted = np.array(place(self._recorded.space, asked.params))
        distances = ((self._recorded.places[self._unused] - wanted) ** 2).sum(axis=1)
        configuration = self._unused.pop(int(distances.argmin()))
        self._asked[configuration] = asked
        return configuration

    def tell(self, configuration: int, score: float, *, epochs: int, stopped: bool) -> None:
        """A trial is over. As a search does, a sampler that reads it so is told that a stopped trial was pruned."""
        is_pruned = stopped and self._sampler in READS_PRUNED
        self._study.tell(self._asked.pop(configuration), state=TrialState.FAIL)
        self._study.add_trial(
            optuna.create_trial(
                state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
                params=self._recorded.points[configuration],
                distributions=self._distributions,
                value=score,
                intermediate_values={epochs: score},
            )
        )
