"""Maps the proposals of a search's sampler to recorded configurations.

The sampler is the search's own. Its proposals are not recorded, so each is replaced by the nearest recorded
configuration that the search has not used yet (`recorded.place` defines the distance), and the sampler is told the
parameters and the score of that one. So a sampler that learns can show only a part of what it can do.
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
    """A source of recorded configurations."""

    def next(self) -> int | None:
        """The next configuration; None if all are used."""

    def tell(self, configuration: int, score: float, *, epochs: int, stopped: bool) -> None:
        """A trial has ended after `epochs` epochs with `score`. stopped: whether this was before its last epoch."""


def proposals(recorded: Recorded, sampler: SamplerName, *, seed: int) -> Proposals:
    """The proposals of a search's sampler. Random ones do not depend on results, so all rules share them."""
    if sampler == "random":
        return _InOrder(_random_order(recorded, seed))
    return _Learning(recorded, sampler, seed=seed)


@lru_cache(maxsize=4096)
def _random_order(recorded: Recorded, seed: int) -> "_Drawn":
    return _Drawn(_Learning(recorded, "random", seed=seed))


class _Drawn:
    """Random proposals, drawn on first use and kept."""

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
    """The recipe first, then what the sampler proposes from the results; each configuration once."""

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
        """The next configuration; None if all are used."""
        if not self._unused:
            return None
        asked = self._study.ask(self._distributions)
        wanted = np.array(place(self._recorded.space, asked.params))
        distances = ((self._recorded.places[self._unused] - wanted) ** 2).sum(axis=1)
        configuration = self._unused.pop(int(distances.argmin()))
        self._asked[configuration] = asked
        return configuration

    def tell(self, configuration: int, score: float, *, epochs: int, stopped: bool) -> None:
        """A trial has ended. As in a search, a stopped trial is PRUNED for samplers that read pruned trials."""
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
