"""The searcher's state, saved and restored as Tune does it."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.experiment import Experiment
from ray.tune.search import ConcurrencyLimiter, Searcher

from tests.watch.runs import settings_in
from tune_sa2va.lane.trainable import INFEASIBLE_GIB, LaneTrainable
from tune_sa2va.propose.searcher import METRIC, OptunaWithLimits, Proposals, journal_of, proposals
from tune_sa2va.propose.warm_start import Inherited, InheritedTrial
from tune_sa2va.results.settings import JOURNAL_FILE

_SPACE = {"optimizer.lr": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)}


def test_a_study_goes_on_where_its_results_lie_now(tmp_path: Path) -> None:
    then, now = tmp_path / "then", tmp_path / "now"
    then.mkdir()
    search = _search(then)
    first = search.suggest("first")
    search.save(str(then / "state.pkl"))
    then.rename(now)

    moved = _search(now)
    moved.restore(str(now / "state.pkl"))
    moved.on_trial_result("first", _epoch(1, 0.5))
    moved.on_trial_complete("first", _epoch(3, 0.5))
    moved.suggest("second")
    assert not then.exists()
    trials = optuna.load_study(study_name="vessels", storage=_storage(now)).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "RUNNING"] and trials[0].params == first


def test_trials_of_a_moved_search_are_written_where_it_lies_now(tmp_path: Path) -> None:
    then = Experiment("tune", LaneTrainable, storage_path=str(tmp_path / "then"))
    proposals = Proposals(_search(tmp_path), SimpleNamespace(trials=lambda: 1), tmp_path / "now" / "tune", num_trials=4)
    proposals.set_state({"counter": 2, "total_samples": 9, "finished": True, "experiment": then})
    state = proposals.get_state()
    assert (state["counter"], state["total_samples"], state["finished"]) == (2, 4, False)
    storage = state["experiment"].spec["storage"]
    assert storage.experiment_fs_path == str(tmp_path / "now" / "tune")


def _search(
    folder: Path, *, space: dict[str, Any] = _SPACE, reads_pruned: bool = True, **more: Any
) -> OptunaWithLimits:
    """A searcher for trials of three epochs."""
    return OptunaWithLimits(
        space,
        distributions=space,
        epochs=3,
        reads_pruned=reads_pruned,
        metric=METRIC,
        mode="max",
        sampler=optuna.samplers.RandomSampler(seed=0),
        study_name="vessels",
        storage=_storage(folder),
        **more,
    )


def _storage(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))


def _epoch(number: int, val_dice: float, folds: int = 1) -> dict[str, float]:
    return {
        METRIC: val_dice,
        "epoch": number,
        "folds": folds,
        "training_iteration": 1,
    }  # Tune's count restarts after a restore


def _told(folder: Path) -> list[tuple[str, float | None, dict[int, float]]]:
    trials = optuna.load_study(study_name="vessels", storage=_storage(folder)).trials
    return [(trial.state.name, trial.value, trial.intermediate_values) for trial in trials]


@pytest.mark.parametrize(("reads_pruned", "state"), [(True, "PRUNED"), (False, "COMPLETE")])
def test_told_is_the_epoch_that_counts_and_that_a_trial_was_stopped(
    tmp_path: Path, reads_pruned: bool, state: str
) -> None:
    """With folds the best epoch counts, with one split the last."""
    search = _search(tmp_path, reads_pruned=reads_pruned)
    for folds in (5, 1):
        for trial_id, dices in {f"whole {folds}": (0.5, 0.7, 0.6), f"stopped {folds}": (0.4, 0.3)}.items():
            search.suggest(trial_id)
            for epoch, val_dice in enumerate(dices[:-1], start=1):
                search.on_trial_result(trial_id, _epoch(epoch, val_dice, folds))
            search.on_trial_complete(trial_id, _epoch(len(dices), dices[-1], folds))
    assert _told(tmp_path) == [
        ("COMPLETE", 0.7, {1: 0.5, 2: 0.7, 3: 0.7}),
        (state, 0.4, {1: 0.4, 2: 0.4}),
        ("COMPLETE", 0.6, {1: 0.5, 2: 0.7, 3: 0.6}),
        (state, 0.3, {1: 0.4, 2: 0.3}),
    ]


def test_a_failure_is_told_as_worse_than_what_was_stopped(tmp_path: Path) -> None:
    search = _search(tmp_path)
    for trial_id in ("failed", "too large", "lost", "never ran"):
        search.suggest(trial_id)
    search.on_trial_result("failed", _epoch(1, 0.9))
    search.on_trial_complete("failed", {METRIC: 0.0, "failure": "loss is not finite"})
    search.on_trial_complete("too large", {METRIC: 0.0, "failure": "no memory", INFEASIBLE_GIB: 90.0})
    search.on_trial_complete("lost", None, error=True)
    search.on_trial_complete("never ran", None)
    trials = optuna.load_study(study_name="vessels", storage=_storage(tmp_path)).trials
    assert [(t.state.name, t.value) for t in trials] == [*[("COMPLETE", 0.0)] * 2, *[("FAIL", None)] * 2]
    assert trials[0].constraints == {"memory": -1.0, "failed": 1.0} and trials[1].constraints["memory"] == 1.0


def test_what_tune_repeats_after_a_kill_is_told_once(tmp_path: Path) -> None:
    search = _search(tmp_path)
    search.suggest("again")
    for epoch, val_dice in ((1, 0.5), (2, 0.4), (2, 0.4), (3, 0.6)):
        search.on_trial_result("again", _epoch(epoch, val_dice))
    search.on_trial_complete("again", _epoch(3, 0.6))
    assert _told(tmp_path) == [("COMPLETE", 0.6, {1: 0.5, 2: 0.4, 3: 0.6})]


def test_when_the_time_is_up_the_trials_under_way_are_over_for_the_sampler_too(tmp_path: Path) -> None:
    search = _search(tmp_path)
    limiter = ConcurrencyLimiter(search, max_concurrent=2)
    proposals = Proposals(limiter, SimpleNamespace(trials=lambda: 2), tmp_path / "tune", num_trials=9)
    limiter.suggest("one")
    limiter.suggest("two")
    limiter.on_trial_result("one", _epoch(1, 0.5))
    assert limiter.suggest("three") is None
    proposals.set_finished()
    assert [state for state, *_ in _told(tmp_path)] == ["PRUNED", "FAIL"]
    assert limiter.suggest("three") is not None, "a resumed search proposes again"


def test_points_that_an_earlier_search_finished_are_not_proposed_again(tmp_path: Path) -> None:
    space = {"lora.r": optuna.distributions.CategoricalDistribution([8, 16, 32, 64])}
    trials = tuple(InheritedTrial(trial_id=str(r), point={"lora.r": r}, val_dice=0.5) for r in (8, 16, 64))
    for same_data, proposed in ((True, {32}), (False, {8, 16, 32, 64})):
        folder = tmp_path / str(same_data)
        folder.mkdir()
        search = _search(folder, space=space, points_to_evaluate=[{"lora.r": 64}])
        inherited = Inherited(source="before", same_data=same_data, differences=(), left_out=0, trials=trials)
        search.add_inherited(inherited)
        search.leave_out(inherited)
        assert search.suggest("recipe") == {"lora.r": 64}, "each search measures its own recipe"
        assert {search.suggest(f"{number}")["lora.r"] for number in range(20)} == proposed
    search = _search(tmp_path, space=space)
    search.suggest("first")
    everything = (*trials, InheritedTrial(trial_id="32", point={"lora.r": 32}, val_dice=0.5))
    search.leave_out(Inherited(source="before", same_data=True, differences=(), left_out=0, trials=everything))
    assert search.suggest("none is left") == Searcher.FINISHED


def test_a_share_without_links_takes_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("symlink", "link"):
        monkeypatch.setattr(os, name, refuse)
    optuna.create_study(study_name="vessels", storage=journal_of(tmp_path))
    assert optuna.get_all_study_names(journal_of(tmp_path)) == ["vessels"]


def test_a_folder_that_was_renamed_has_one_study_still(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    proposals(settings, lambda: 1, resuming=False)
    settings.folder.rename(tmp_path / "renamed")
    moved = settings.load(tmp_path / "renamed")
    assert moved.name == "renamed"
    proposals(moved, lambda: 1, resuming=True)
    assert optuna.get_all_study_names(journal_of(moved.folder)) == ["demo"]
