"""Proposes the trials of a search: Optuna through Tune's `OptunaSearch`, with its study in `optuna.journal`."""

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
"""Samplers that are told of stopped trials as PRUNED. TPE ranks these below all complete ones, by how far they came.
Optuna's GPSampler and CmaEsSampler ignore PRUNED trials, which are most, so they are told of them as COMPLETE."""
_TRIES = 200
"""After this many proposals that repeat an earlier search's trials, we assume that there are no new ones."""


def proposals(settings: SearchSettings, lane_capacity: LaneCapacity, *, resuming: bool) -> "Proposals":
    """The generator of trials: first the recipe, then the sampler's proposals, then reruns.

    At most as many trials run at a time as all lanes have seats. resuming: the study already has the recipe and the
    inherited trials; OptunaSearch would add the recipe to the journal again, as its next proposal.
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
    # The number of finalists is not known in advance, so with reruns `Confirming` decides when all are proposed.
    num_trials = sys.maxsize if settings.confirm else settings.trials
    limited = ConcurrencyLimiter(Confirming(search, settings), max_concurrent=settings.concurrency)
    return Proposals(limited, lane_capacity, settings.tune_folder, num_trials=num_trials)


def journal_of(folder: Path) -> JournalStorage:
    """The storage of the study in a results folder.

    It uses the lock that creates files. Optuna's other lock needs symbolic links, which some network shares lack.
    """
    file = str(folder / JOURNAL_FILE)
    return JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))


def _study_name(storage: JournalStorage) -> str | None:
    """The study's name in a journal, which stays if the folder is renamed or copied; None for an empty journal."""
    return next((study.study_name for study in storage.get_all_studies()), None)


class OptunaWithLimits(OptunaSearch):
    """OptunaSearch that reports to the study the score by which trials are ranked, and whose folder may move.

    The score after each epoch is the one that counts so far (`results.best`): the last Val Dice with one split, the
    best with folds. A trial that was stopped early is told as PRUNED to samplers that read it. A trial that ran out of
    memory or failed otherwise is told as COMPLETE with 0 and infeasible, so that it ranks below stopped trials.
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
        """Adds the trials of an earlier search to the study as evaluated, feasible points."""
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
        """Excludes the points of an earlier search, if it had the same data, base model and fixed values."""
        if inherited.same_data and inherited.same_otherwise:
            self._left_out = frozenset(_key(trial.point) for trial in inherited.trials)

    def suggest(self, trial_id: str) -> Any:
        """A point; `Searcher.FINISHED` if no new ones are found. The first is the recipe, which every search runs."""
        if not (trials := optuna_trials_of(self)) or trial_id in trials:
            return super().suggest(trial_id)
        for _ in range(_TRIES):
            point = super().suggest(trial_id)
            if _key(trials[trial_id].params) not in self._left_out:
                return point
            study_of(self).tell(trials.pop(trial_id), state=TrialState.FAIL)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Called when a trial has finished an epoch."""
        self._report(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called when a trial is over. result: its last one; None if its lane was lost for good or the time was up."""
        if trial_id in completed_trials_of(self):
            return
        result, trial = result or {}, optuna_trials_of(self)[trial_id]
        self._report(trial_id, result)
        trial.set_constraint("memory", 1.0 if INFEASIBLE_GIB in result else -1.0)  # above 0: violated
        epochs, best = self._told.get(trial_id, (0, 0.0))
        if result.get("failure"):
            if self._reads_pruned:
                trial.set_constraint("failed", 1.0)
            study_of(self).tell(trial, 0.0)
        elif error or not epochs:
            study_of(self).tell(trial, state=TrialState.FAIL)
        elif (epochs < self._epochs or result.get("folds_left")) and self._reads_pruned:
            study_of(self).tell(trial, state=TrialState.PRUNED)  # its value is the last one reported
        else:
            study_of(self).tell(trial, best)
        completed_trials_of(self).add(trial_id)

    def _report(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Reports the trial's score so far (`results.best`) to the study, once per epoch.

        The result of a failure has no epoch, and Tune repeats some results.
        """
        known, best = self._told.get(trial_id, (0, 0.0))
        if (epoch := result.get("epoch", 0)) > known:
            if result.get("folds", 1) + result.get("folds_left", 0) == 1:
                best = result[METRIC]
            else:  # the mean over some of the folds counts only if there is no other
                best = best if known and result.get("folds_left") else max(best, result[METRIC])
            self._told[trial_id] = epoch, best
            optuna_trials_of(self)[trial_id].report(best, step=epoch)

    def restore(self, checkpoint_path: str) -> None:
        """Restores the state of an earlier run with this run's journal, since the results folder may have moved."""
        journal = journal_backend(optuna_storage_of(self))
        super().restore(checkpoint_path)
        set_journal_backend(optuna_storage_of(self), journal)  # the restored study and its trials use this storage


class Proposals(SearchGenerator):
    """Tune's generator of trials, with the number of trials from the command line also after a resumption.

    Tune saves the number of trials and whether it was reached, so a finished search could not be extended. If a cluster
    has lost lanes, no trial is proposed that would only wait: a later proposal is based on more results.
    """

    def __init__(self, searcher: Searcher, lane_capacity: LaneCapacity, tune_folder: Path, *, num_trials: int) -> None:
        super().__init__(searcher)
        self._tune_folder = tune_folder
        self._lane_capacity = lane_capacity
        self._num_trials = num_trials

    def add_configurations(self, experiments: Any) -> None:
        """Tune's setup, but with our number of trials."""
        super().add_configurations(experiments)
        set_num_trials(self, self._num_trials)

    def next_trial(self) -> Trial | None:
        """A new trial; None if there is no free seat in a lane, or no trial left."""
        self.searcher.set_max_concurrency(self._lane_capacity.trials())
        return super().next_trial()

    def set_finished(self) -> None:
        """Called when Tune stops the search. Running trials are over, too; a resumed search would wait for them."""
        for trial_id in list(self.searcher.live_trials):
            self.searcher.on_trial_complete(trial_id)
        super().set_finished()

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores Tune's state of an earlier run, except for the number of trials and the results folder."""
        super().set_state(state | {"total_samples": self._num_trials, "finished": False})
        # New trials copy this path; Tune itself updates that of existing trials.
        set_experiment_folder(self, self._tune_folder.parent)


def _key(point: Mapping[str, Any]) -> str:
    """A text that is equal for equal points."""
    return json.dumps(point, sort_keys=True)


def make_sampler(name: SamplerName, *, seed: int) -> BaseSampler:
    """The Optuna sampler of this name, with the settings that all searches use."""
    match name:
        case "tpe":
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        case "gp":
            return GPSampler(seed=seed)
        case "cmaes":
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=seed)
