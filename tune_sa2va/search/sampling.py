"""What proposes the trials: Optuna, through Tune's `OptunaSearch`, with its study in `optuna.journal`."""

import warnings
from typing import Any

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator
from ray.tune.search.optuna import OptunaSearch

from tune_sa2va.lane.trainable import INFEASIBLE_GIB
from tune_sa2va.search.lanes_up import LanesUp
from tune_sa2va.search.settings import SearchSettings

METRIC = "val_dice"
JOURNAL_FILE = "optuna.journal"


def proposals(settings: SearchSettings, lanes_up: LanesUp, *, goes_on: bool) -> "Proposals":
    """The recipe, then what the sampler makes of the results; at most as many at a time as there are lanes.

    goes_on: the study has the recipe already. OptunaSearch would put it into the journal again, as the next proposal.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = settings.search_space
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        search = OptunaWithLimits(
            space.distributions,
            metric=METRIC,
            mode="max",
            sampler=_sampler(settings),
            points_to_evaluate=None if goes_on else [space.recipe_point()],
            study_name=settings.name,
            storage=JournalStorage(JournalFileBackend(str(settings.folder / JOURNAL_FILE))),
        )
    limited = ConcurrencyLimiter(search, max_concurrent=settings.lanes)
    return Proposals(limited, lanes_up, num_trials=settings.trials)


class OptunaWithLimits(OptunaSearch):
    """OptunaSearch that tells the sampler which trials needed more memory than there is."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over: above 0 is a constraint that it broke."""
        self._ot_trials[trial_id].set_constraint("memory", 1.0 if INFEASIBLE_GIB in (result or {}) else -1.0)
        super().on_trial_complete(trial_id, result, error)


class Proposals(SearchGenerator):
    """Tune's generator of trials, which takes the number of trials from the command line when it is resumed.

    Tune keeps the number with its state, and whether it was reached; so a finished search could not be extended. Where
    a cluster has lost lanes, no trial is proposed that would only wait: a later one knows more.
    """

    def __init__(self, searcher: Searcher, lanes_up: LanesUp, *, num_trials: int) -> None:
        super().__init__(searcher)
        self._lanes_up = lanes_up
        self._num_trials = num_trials

    def next_trial(self) -> Trial | None:
        """A new trial, if there is room for one."""
        self.searcher.set_max_concurrency(self._lanes_up())
        return super().next_trial()

    def set_state(self, state: dict[str, Any]) -> None:
        """Tune's state of an earlier run, less what this run sets itself."""
        super().set_state(state | {"total_samples": self._num_trials, "finished": False})


def _sampler(settings: SearchSettings) -> BaseSampler:
    match settings.sampler:
        case "tpe":
            return TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=settings.seed,
            )
        case "gp":
            return GPSampler(seed=settings.seed)
        case "cmaes":
            return CmaEsSampler(seed=settings.seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=settings.seed)
