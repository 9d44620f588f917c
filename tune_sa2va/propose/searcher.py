"""What proposes the trials: Optuna, through Tune's `OptunaSearch`, with its study in `optuna.journal`."""

import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator
from ray.tune.search.optuna import OptunaSearch

from tune_sa2va.internals.optuna_private import journal_backend, set_journal_backend
from tune_sa2va.internals.ray_private import (
    completed_trials_of,
    optuna_storage_of,
    optuna_trials_of,
    set_experiment_folder,
    set_num_trials,
    study_of,
)
from tune_sa2va.lane.trainable import INFEASIBLE_GIB
from tune_sa2va.propose.rerun_searcher import Confirming
from tune_sa2va.propose.warm_start import Inherited, read_inherited
from tune_sa2va.results.settings import JOURNAL_FILE, SamplerName, SearchSettings
from tune_sa2va.schedule.lane_capacity import LaneCapacity

METRIC = "val_dice"
READS_PRUNED = ("tpe", "random")
"""Samplers that are told of stopped trials as PRUNED. TPE ranks them below all that ran to the end, by how far they
came; Optuna's GPSampler and CmaEsSampler would leave them out, and those are most trials."""
_TRIES = 200
"""Proposals that may repeat an earlier search's trials before we believe that there are no others."""


def proposals(settings: SearchSettings, lane_capacity: LaneCapacity, *, resuming: bool) -> "Proposals":
    """The recipe, what the sampler makes of the results, reruns; at most as many at a time as there are lanes.

    resuming: the study has the recipe already, and what was inherited. OptunaSearch would put the recipe into the
    journal again, as the next proposal.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, storage = settings.search_space, journal_of(settings.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        search = OptunaWithLimits(
            space.suggest if space.conditional else space.distributions,
            distributions=space.distributions,
            epochs=settings.epochs,
            reads_pruned=settings.sampler in READS_PRUNED,
            metric=METRIC,
            mode="max",
            sampler=make_sampler(settings.sampler, seed=settings.seed),
            points_to_evaluate=None if resuming else [space.recipe_point()],
            study_name=_study_name(storage) or settings.name,
            storage=storage,
        )
        if (inherited := read_inherited(settings.folder)) is not None:
            if not resuming:
                search.add_inherited(inherited)
            search.leave_out(inherited)
    # How many finalists there will be is not known before; with reruns `Confirming` says when all is done.
    num_trials = sys.maxsize if settings.confirm else settings.trials
    limited = ConcurrencyLimiter(Confirming(search, settings), max_concurrent=settings.lanes)
    return Proposals(limited, lane_capacity, settings.tune_folder, num_trials=num_trials)


def journal_of(folder: Path) -> JournalStorage:
    """The study's storage in a results folder.

    With the lock that opens files: Optuna's other one needs symbolic links, which some shares do not have.
    """
    file = str(folder / JOURNAL_FILE)
    return JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))


def _study_name(storage: JournalStorage) -> str | None:
    """The first study's name: a folder that was renamed or copied goes on with the study that it has."""
    return next((study.study_name for study in storage.get_all_studies()), None)


class OptunaWithLimits(OptunaSearch):
    """OptunaSearch that tells the study what trials are ranked by, and whose folder may move.

    Told is the best Val Dice so far, after each epoch and at the end (OptunaSearch tells the last), under the number
    of the epoch; a trial that was stopped early is PRUNED for samplers that read it so. A trial that needed more memory
    than there is, or failed otherwise, is COMPLETE with 0, and infeasible: what failed is worse than what was stopped.
    """

    def __init__(
        self,
        *args: Any,
        distributions: dict[str, BaseDistribution],
        epochs: int,
        reads_pruned: bool,
        **optuna_search: Any,
    ) -> None:
        super().__init__(*args, **optuna_search)
        self._distributions = distributions
        self._epochs = epochs
        self._reads_pruned = reads_pruned
        self._told: dict[str, tuple[int, float]] = {}
        self._left_out: frozenset[str] = frozenset()

    def add_inherited(self, inherited: Inherited) -> None:
        """Trials of an earlier search, as evaluated points; they had the memory that they needed."""
        for trial in inherited.trials:
            is_pruned = trial.stopped_after is not None and self._reads_pruned
            study_of(self).add_trial(
                optuna.trial.create_trial(
                    state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
                    value=trial.val_dice,
                    params=trial.point,
                    distributions={path: self._distributions[path] for path in trial.point},
                    intermediate_values={} if trial.stopped_after is None else {trial.stopped_after: trial.val_dice},
                    constraints={"memory": -1.0},
                    user_attrs={"inherited_from": f"{inherited.source}, trial {trial.trial_id}"},
                )
            )

    def leave_out(self, inherited: Inherited) -> None:
        """What the earlier search knows already is not proposed again: its points on the same data."""
        if inherited.same_data and inherited.same_otherwise:
            self._left_out = frozenset(_key(trial.point) for trial in inherited.trials)

    def suggest(self, trial_id: str) -> Any:
        """A point, or that there are none left. The first is the recipe, which each search measures itself."""
        if not (trials := optuna_trials_of(self)) or trial_id in trials:
            return super().suggest(trial_id)
        for _ in range(_TRIES):
            point = super().suggest(trial_id)
            if _key(trials[trial_id].params) not in self._left_out:
                return point
            study_of(self).tell(trials.pop(trial_id), state=TrialState.FAIL)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial has an epoch more."""
        self._report(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over. result: its last one; none where its lane was lost for good, or the time was up."""
        if trial_id in completed_trials_of(self):
            return
        result, trial = result or {}, optuna_trials_of(self)[trial_id]
        self._report(trial_id, result)
        trial.set_constraint("memory", 1.0 if INFEASIBLE_GIB in result else -1.0)  # above 0: it broke it
        epochs, best = self._told.get(trial_id, (0, 0.0))
        if result.get("failure"):
            if self._reads_pruned:
                trial.set_constraint("failed", 1.0)
            study_of(self).tell(trial, 0.0)
        elif error or not epochs:
            study_of(self).tell(trial, state=TrialState.FAIL)
        elif (epochs < self._epochs or result.get("folds_left")) and self._reads_pruned:
            study_of(self).tell(trial, state=TrialState.PRUNED)  # with the value that was reported last
        else:
            study_of(self).tell(trial, best)
        completed_trials_of(self).add(trial_id)

    def _report(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """What the trial counts by so far (`results.best`), once an epoch: the result of a failure has none, and Tune
        repeats some."""
        known, best = self._told.get(trial_id, (0, 0.0))
        if (epoch := result.get("epoch", 0)) > known:
            if result.get("folds", 1) + result.get("folds_left", 0) == 1:
                best = result[METRIC]
            else:  # the mean of some folds is told only where there is no other
                best = best if known and result.get("folds_left") else max(best, result[METRIC])
            self._told[trial_id] = epoch, best
            optuna_trials_of(self)[trial_id].report(best, step=epoch)

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

    def set_finished(self) -> None:
        """Tune stops all: the trials under way are over, too, or a resumed search would wait for them for ever."""
        for trial_id in list(self.searcher.live_trials):
            self.searcher.on_trial_complete(trial_id)
        super().set_finished()

    def set_state(self, state: dict[str, Any]) -> None:
        """Tune's state of an earlier run, less what this run sets itself: how many trials, and where results lie."""
        super().set_state(state | {"total_samples": self._num_trials, "finished": False})
        # New trials get a copy of this; of those that were there, Tune takes care itself.
        set_experiment_folder(self, self._tune_folder.parent)


def _key(point: Mapping[str, Any]) -> str:
    """The same for equal points."""
    return json.dumps(point, sort_keys=True)


def make_sampler(name: SamplerName, *, seed: int) -> BaseSampler:
    """The sampler of a search, as every one sets it."""
    match name:
        case "tpe":
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        case "gp":
            return GPSampler(seed=seed)
        case "cmaes":
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=seed)
