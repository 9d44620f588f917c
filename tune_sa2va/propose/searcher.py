"""What proposes the trials: Optuna, through Tune's `OptunaSearch`, with its study in `optuna.journal`."""

import sys
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator
from ray.tune.search.optuna import OptunaSearch

from tune_sa2va.engine.optuna_private import journal_backend, set_journal_backend
from tune_sa2va.engine.ray_private import (
    optuna_storage_of,
    optuna_trial_of,
    set_experiment_folder,
    set_num_trials,
    study_of,
)
from tune_sa2va.lane.trainable import INFEASIBLE_GIB
from tune_sa2va.propose.rerun_searcher import Confirming
from tune_sa2va.propose.warm_start import Inherited, read_inherited
from tune_sa2va.results.settings import JOURNAL_FILE, SearchSettings
from tune_sa2va.schedule.lane_capacity import LaneCapacity

METRIC = "val_dice"


def proposals(settings: SearchSettings, lane_capacity: LaneCapacity, *, resuming: bool) -> "Proposals":
    """The recipe, what the sampler makes of the results, reruns; at most as many at a time as there are lanes.

    resuming: the study has the recipe already, and what was inherited. OptunaSearch would put the recipe into the
    journal again, as the next proposal.
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
            points_to_evaluate=None if resuming else [space.recipe_point()],
            study_name=settings.name,
            storage=JournalStorage(JournalFileBackend(str(settings.folder / JOURNAL_FILE))),
        )
        if not resuming and (inherited := read_inherited(settings.folder)) is not None:
            search.add_inherited(inherited)
    # How many finalists there will be is not known before; with reruns `Confirming` says when all is done.
    num_trials = sys.maxsize if settings.confirm else settings.trials
    limited = ConcurrencyLimiter(Confirming(search, settings), max_concurrent=settings.lanes)
    return Proposals(limited, lane_capacity, settings.tune_folder, num_trials=num_trials)


class OptunaWithLimits(OptunaSearch):
    """OptunaSearch that tells the sampler which trials needed more memory than there is, and whose folder may move."""

    def add_inherited(self, inherited: Inherited) -> None:
        """Trials of an earlier search, as evaluated points; they had the memory that they needed."""
        for trial in inherited.trials:
            study_of(self).add_trial(
                optuna.trial.create_trial(
                    value=trial.val_dice,
                    params=trial.point,
                    distributions=self._space,
                    constraints={"memory": -1.0},
                    user_attrs={"inherited_from": f"{inherited.source}, trial {trial.trial_id}"},
                )
            )

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over: above 0 is a constraint that it broke."""
        optuna_trial_of(self, trial_id).set_constraint("memory", 1.0 if INFEASIBLE_GIB in (result or {}) else -1.0)
        super().on_trial_complete(trial_id, result, error)

    def restore(self, checkpoint_path: str) -> None:
        """An earlier run's state, with the journal of this one: the results may lie elsewhere than they did then."""
        journal = journal_backend(optuna_storage_of(self))
        super().restore(checkpoint_path)
        set_journal_backend(optuna_storage_of(self), journal)  # the restored study and its trials hold this storage


class Proposals(SearchGenerator):
    """Tune's generator of trials, which takes the number of trials from the command line when it is resumed.

    Tune keeps the number with its state, and whether it was reached; so a finished search could not be extended. Where
    a cluster has lost lanes, no trial is proposed that would only wait: a later one knows more.
    """

    def __init__(self, searcher: Searcher, lane_capacity: LaneCapacity, tune_folder: Path, *, num_trials: int) -> None:
        super().__init__(searcher)
        self._tune_folder = tune_folder
        self._lane_capacity = lane_capacity
        self._num_trials = num_trials

    def add_configurations(self, experiments: Any) -> None:
        """Tune's setting up, less its number of trials."""
        super().add_configurations(experiments)
        set_num_trials(self, self._num_trials)

    def next_trial(self) -> Trial | None:
        """A new trial, if there is room for one."""
        self.searcher.set_max_concurrency(self._lane_capacity())
        return super().next_trial()

    def set_state(self, state: dict[str, Any]) -> None:
        """Tune's state of an earlier run, less what this run sets itself: how many trials, and where results lie."""
        super().set_state(state | {"total_samples": self._num_trials, "finished": False})
        # New trials get a copy of this; of those that were there, Tune takes care itself.
        set_experiment_folder(self, self._tune_folder.parent)


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
