"""Each private part of Ray and Optuna that we use exists and behaves as expected. A failure says so in a sentence."""

import os
import subprocess
import sys
from types import SimpleNamespace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, SearchGenerator
from ray.tune.search.optuna import OptunaSearch
from ray.tune.utils.object_cache import _ObjectCache

from tune_sa2va.internals import optuna_private, ray_private

GONE = "ray or optuna has changed a private part: see tune_sa2va/internals, and narrow the range in pyproject.toml"


@pytest.fixture(autouse=True)
def _sentence():
    """Adds the likely reason to every failure in this file."""
    try:
        yield
    except (AttributeError, ImportError, TypeError) as error:
        pytest.fail(f"{GONE} ({error})")


def _trial(name):
    return SimpleNamespace(trial_id=name, placement_group_factory="a lane")


def test_a_bracket_stops_what_is_below_its_cutoff():
    bracket = ray_private.new_bracket(grace_period=1, max_t=9, reduction_factor=3)
    decisions = [bracket.on_result(_trial(str(place)), 1, value) for place, value in enumerate((0.9, 0.8, 0.95))]
    assert decisions == [TrialScheduler.CONTINUE, TrialScheduler.STOP, TrialScheduler.CONTINUE]
    assert [epoch for epoch, _ in ray_private.rungs_of(bracket)] == [9, 3, 1]
    assert dict(ray_private.rungs_of(bracket)[-1][1]) == {"0": 0.9, "1": 0.8, "2": 0.95}


def test_a_scheduler_knows_the_bracket_of_a_trial():
    scheduler = ASHAScheduler(time_attr="epoch", metric="val_dice", mode="max", max_t=9)
    scheduler.on_trial_add(None, _trial("a"))
    scheduler.on_trial_result(None, _trial("a"), {"epoch": 1, "val_dice": 0.5})
    assert dict(ray_private.rungs_of(ray_private.bracket_of(scheduler, _trial("a")))[-1][1]) == {"a": 0.5}


@pytest.mark.parametrize("wrapped", [False, True])
def test_more_actors_are_kept(wrapped):
    controller = SimpleNamespace(_actor_cache=_ObjectCache(may_keep_one=True))
    given = SimpleNamespace(_tune_controller=controller) if wrapped else controller
    ray_private.keep_actors(given, _trial("a"), 2)
    assert controller._actor_cache.total_max_objects == 2


def test_tune_has_a_way_to_set_a_status_and_a_cache_of_actors():
    from ray.tune.execution import tune_controller

    assert callable(tune_controller.TuneController._set_trial_status), GONE
    source = tune_controller.TuneController.__init__.__code__.co_names
    assert "_actor_cache" in source, GONE


def test_the_searcher_shows_its_study(tmp_path):
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "journal")))
    search = OptunaSearch({"x": FloatDistribution(0, 1)}, metric="m", mode="max", storage=storage, study_name="s")
    search.suggest("first")
    assert ray_private.study_of(search).study_name == "s"
    assert isinstance(ray_private.optuna_trials_of(search)["first"], optuna.Trial)
    search.on_trial_complete("first", {"m": 0.5})
    assert ray_private.completed_trials_of(search) == {"first"}
    assert ray_private.optuna_storage_of(search) is storage


def test_a_journal_is_put_elsewhere(tmp_path):
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "old")))
    backend = JournalFileBackend(str(tmp_path / "new"))
    assert optuna_private.journal_backend(storage) is not backend
    optuna_private.set_journal_backend(storage, backend)
    optuna.create_study(storage=storage, study_name="moved")
    assert "moved" in (tmp_path / "new").read_text()


def test_a_generator_is_told_the_number_of_trials_and_the_folder(tmp_path):
    search = OptunaSearch({"x": FloatDistribution(0, 1)}, metric="m", mode="max")
    generator = SearchGenerator(ConcurrencyLimiter(search, max_concurrent=1))
    ray_private.set_num_trials(generator, 7)
    assert generator.total_samples == 7
    generator._experiment = SimpleNamespace(storage=SimpleNamespace(storage_fs_path="old"))
    ray_private.set_experiment_folder(generator, tmp_path)
    assert generator._experiment.storage.storage_fs_path == str(tmp_path)
    assert "experiment" in generator.get_state(), GONE


def test_the_words_of_lost_nodes_have_a_name_to_replace():
    import ray

    assert callable(ray._private.worker.print_to_stdstream), GONE


def test_a_ray_that_starts_in_the_block_has_the_loopback_address():
    import ray
    from ray._private import services

    assert ray._private.worker._global_node is None, "a Ray is up: its own address would be told"
    with ray_private.ray_on_loopback():
        assert services.get_node_ip_address() == services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    assert ray._private.ray_constants.ENABLE_RAY_CLUSTER, GONE


def test_what_ray_starts_in_the_block_is_in_a_session_of_its_own():
    from ray._private import services

    def session(popen):
        process = popen([sys.executable, "-c", "import os; print(os.getsid(0))"], stdout=subprocess.PIPE)
        return int(process.communicate()[0])

    with ray_private.ray_in_own_session():
        assert session(services.ConsolePopen) != os.getsid(0)
    assert session(services.ConsolePopen) == os.getsid(0)
    assert "ConsolePopen" in services.start_ray_process.__code__.co_names, GONE
