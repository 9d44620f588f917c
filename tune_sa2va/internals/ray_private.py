"""All private parts of Ray that we use; no other file accesses any.

Tested with ray 2.60, the range in pyproject.toml. A test calls each function on Ray's own objects. So a version of Ray
that drops one of them fails there with a clear message, and not in the middle of a search.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import ray
from ray._private import ray_constants, services
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.schedulers.async_hyperband import _Bracket
from ray.tune.search import SearchGenerator
from ray.tune.search.optuna import OptunaSearch


def new_bracket(*, grace_period: int, max_t: int, reduction_factor: int) -> _Bracket:
    """ASHA's rule without a scheduler, for simulations: `on_result(trial, epoch, value)` tells if a trial continues."""
    return _Bracket(grace_period, max_t, reduction_factor, 0)


def bracket_of(scheduler: ASHAScheduler, trial: Trial) -> _Bracket:
    """The bracket in which a trial competes. ASHA forgets it when the trial ends."""
    return scheduler._trial_info[trial.trial_id]


def rungs_of(bracket: _Bracket) -> list[tuple[int, Mapping[str, float]]]:
    """The rungs of a bracket, highest epoch first: (epoch, Tune's trial id -> value) for the trials that reached it."""
    return [(int(epoch), values) for epoch, values in bracket._rungs]


def keep_actors(tune_controller: Any, trial: Trial, number: int) -> None:
    """Lets Tune keep `number` more actors without a trial; otherwise it ends all but one.

    tune_controller: what schedulers get, which may be a wrapper around the object that has the cache of actors.
    """
    controller = getattr(tune_controller, "_tune_controller", tune_controller)
    controller._actor_cache.increase_max(trial.placement_group_factory, by=number)


def set_trial_status(tune_controller: Any, trial: Trial, status: str) -> None:
    """Changes a trial's status in Tune's own way, as Ray's schedulers do."""
    tune_controller._set_trial_status(trial, status)


def study_of(search: OptunaSearch) -> optuna.Study:
    """The study behind Tune's searcher."""
    return search._ot_study


def optuna_trials_of(search: OptunaSearch) -> dict[str, optuna.Trial]:
    """Tune's trial id -> trial of the study, as the searcher keeps them."""
    return search._ot_trials


def completed_trials_of(search: OptunaSearch) -> set[str]:
    """Tune's ids of the trials whose end the study was told; part of the searcher's saved state."""
    return search._completed_trials


def optuna_storage_of(search: OptunaSearch) -> Any:
    """The storage of the study that was given to the searcher."""
    return search._storage


def set_num_trials(generator: SearchGenerator, number: int) -> None:
    """Sets how many trials the generator proposes in total; otherwise Tune takes it from an earlier run's state."""
    generator._total_samples = number


def set_experiment_folder(generator: SearchGenerator, folder: Path) -> None:
    """Sets the folder of new trials; otherwise Tune takes it from an earlier run's state, which may have moved."""
    generator._experiment.storage.storage_fs_path = str(folder)


def silence_lost_nodes() -> None:
    """Keeps Ray from printing pages of log when a node dies, which it does even with `log_to_driver=False`."""
    if not hasattr(ray._private.worker, "print_to_stdstream"):
        raise AttributeError("ray._private.worker has no print_to_stdstream any more")
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def ray_on_loopback() -> Iterator[None]:
    """Makes a Ray that starts in the block use the address 127.0.0.1, so that all its processes listen only there.

    `ray.init(_node_ip_address="127.0.0.1")` would not do: Ray replaces it with the machine's external address, unless
    clusters are disabled on this system, as they are by default on Windows and macOS.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def ray_in_own_session() -> Iterator[None]:
    """Makes processes that Ray starts in the block, and their children, run outside the terminal's session.

    A terminal sends SIGINT on Ctrl-C, and SIGHUP when it closes, to every process of its foreground group. Ray's
    processes would end before the records are saved, and end this process with them.
    """
    whole = services.ConsolePopen

    def popen(*args: Any, **options: Any) -> Any:
        return whole(*args, **options | {"start_new_session": True})

    services.ConsolePopen = popen
    try:
        yield
    finally:
        services.ConsolePopen = whole
