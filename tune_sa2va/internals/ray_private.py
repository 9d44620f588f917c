"""What we use of Ray that Ray does not promise to keep, in one place: nothing else reaches into its private parts.

Tried with ray 2.60, the range in pyproject.toml. A test calls each function on Ray's own objects, so that a version
which drops something fails there, with a sentence, and not in the middle of somebody's search.
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
    """ASHA's rule on its own, for rehearsals: its `on_result(trial, epoch, value)` says whether a trial goes on."""
    return _Bracket(grace_period, max_t, reduction_factor, 0)


def bracket_of(scheduler: ASHAScheduler, trial: Trial) -> _Bracket:
    """The bracket in which a trial competes: ASHA forgets it when the trial ends."""
    return scheduler._trial_info[trial.trial_id]


def rungs_of(bracket: _Bracket) -> list[tuple[int, Mapping[str, float]]]:
    """Rungs, the highest epoch first, each with the value of every trial (by Tune's id) that has been there."""
    return [(int(epoch), values) for epoch, values in bracket._rungs]


def keep_actors(tune_controller: Any, trial: Trial, number: int) -> None:
    """Let Tune keep `number` more actors without a trial; it would end all but one.

    tune_controller: as schedulers get it, which may be a wrapper without the cache of actors.
    """
    controller = getattr(tune_controller, "_tune_controller", tune_controller)
    controller._actor_cache.increase_max(trial.placement_group_factory, by=number)


def set_trial_status(tune_controller: Any, trial: Trial, status: str) -> None:
    """Tune's own way to change a trial's status, which schedulers of Ray call, too."""
    tune_controller._set_trial_status(trial, status)


def study_of(search: OptunaSearch) -> optuna.Study:
    """The study behind Tune's searcher."""
    return search._ot_study


def optuna_trials_of(search: OptunaSearch) -> dict[str, optuna.Trial]:
    """The study's trials by Tune's ids, as the searcher keeps them."""
    return search._ot_trials


def completed_trials_of(search: OptunaSearch) -> set[str]:
    """Tune's ids of the trials that the study was told the end of; the searcher keeps them with its state."""
    return search._completed_trials


def optuna_storage_of(search: OptunaSearch) -> Any:
    """The storage of the study, as it was given to the searcher."""
    return search._storage


def set_num_trials(generator: SearchGenerator, number: int) -> None:
    """How many trials the generator proposes in all; Tune takes it from the state of an earlier run otherwise."""
    generator._total_samples = number


def set_experiment_folder(generator: SearchGenerator, folder: Path) -> None:
    """Where new trials lie; Tune takes it from the state of an earlier run, whose folder may have moved."""
    generator._experiment.storage.storage_fs_path = str(folder)


def silence_lost_nodes() -> None:
    """The last words of a node that dies, pages of its log, reach the driver whatever `log_to_driver` says."""
    if not hasattr(ray._private.worker, "print_to_stdstream"):
        raise AttributeError("ray._private.worker has no print_to_stdstream any more")
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


@contextlib.contextmanager
def ray_on_loopback() -> Iterator[None]:
    """A Ray that starts in the block has 127.0.0.1 for its address, so that each of its processes listens there alone.

    `ray.init(_node_ip_address="127.0.0.1")` does not do: Ray puts the machine's outer address in its place, unless it
    believes that there are no clusters on this system, as on Windows and macOS.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def ray_in_own_session() -> Iterator[None]:
    """Processes that Ray starts in the block are no part of our terminal's session, nor are their children.

    A terminal sends Ctrl-C, and the news that it was closed, to every process of its foreground group. Ray's own would
    end before we have put the records away, and take us with them.
    """
    whole = services.ConsolePopen

    def popen(*args: Any, **options: Any) -> Any:
        return whole(*args, **options | {"start_new_session": True})

    services.ConsolePopen = popen
    try:
        yield
    finally:
        services.ConsolePopen = whole
