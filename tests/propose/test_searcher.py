"""The sampler's state, saved and restored as Tune does it."""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.experiment import Experiment

from tune_sa2va.lane.trainable import LaneTrainable
from tune_sa2va.propose.searcher import METRIC, OptunaWithLimits, Proposals
from tune_sa2va.results.settings import JOURNAL_FILE


def test_a_study_goes_on_where_its_results_lie_now(tmp_path: Path) -> None:
    then, now = tmp_path / "then", tmp_path / "now"
    then.mkdir()
    search = _search(then)
    first = search.suggest("first")
    search.save(str(then / "state.pkl"))
    then.rename(now)

    moved = _search(now)
    moved.restore(str(now / "state.pkl"))
    moved.on_trial_result("first", {METRIC: 0.5, "training_iteration": 1})
    moved.on_trial_complete("first", {METRIC: 0.5, "training_iteration": 1})
    moved.suggest("second")
    assert not then.exists()
    trials = optuna.load_study(study_name="vessels", storage=_storage(now)).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "RUNNING"] and trials[0].params == first


def test_trials_of_a_moved_search_are_written_where_it_lies_now(tmp_path: Path) -> None:
    then = Experiment("tune", LaneTrainable, storage_path=str(tmp_path / "then"))
    proposals = Proposals(_search(tmp_path), lambda: 1, tmp_path / "now" / "tune", num_trials=4)
    proposals.set_state({"counter": 2, "total_samples": 9, "finished": True, "experiment": then})
    state = proposals.get_state()
    assert (state["counter"], state["total_samples"], state["finished"]) == (2, 4, False)
    storage = state["experiment"].spec["storage"]
    assert storage.experiment_fs_path == str(tmp_path / "now" / "tune")


def _search(folder: Path) -> OptunaWithLimits:
    space = {"optimizer.lr": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)}
    return OptunaWithLimits(space, metric=METRIC, mode="max", study_name="vessels", storage=_storage(folder))


def _storage(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))
