"""Puts Ray, Optuna and the lanes together and runs the search: no engine of our own.

Sampler: Optuna, through Tune's `OptunaSearch`, with its study in `optuna.journal`. Scheduler: ASHA over epochs on
`val_dice`. Trials run in lanes (`tune_sa2va.lane`); what happens is recorded by `progress.Recorder`.
"""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import ray
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from tune_sa2va.errors import UserError
from tune_sa2va.lane.trainable import LANE_FAILURE, LaneTrainable
from tune_sa2va.search.preflight import check_cluster
from tune_sa2va.search.progress import Recorder
from tune_sa2va.search.records import RunRecords
from tune_sa2va.search.scheduler import AshaSparingTheRecipe
from tune_sa2va.search.settings import SearchSettings

METRIC = "val_dice"
REDUCTION_FACTOR = 3
"""ASHA keeps the best third at each rung (1, 3, 9, ... epochs)."""

LOST_LANE_RETRIES = 2
"""How often a trial may lose its workers. Trouble of its own making is never tried again."""

_DASHBOARD_PORT = 8265

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output prints tables whatever the verbosity
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard copies of our records
    "TUNE_GLOBAL_CHECKPOINT_S": "0.1",  # a trial that Tune's state on disk does not know would be proposed again
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",  # one state a checkpoint is what resuming needs
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it waits for the epochs under way, which may take minutes
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing of ours goes out
}

_RAY_HUSHED: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


def run(settings: SearchSettings, *, resume: bool) -> None:
    """Runs or resumes the search, inside `cluster`, until its trials, its time or the user ends it.

    Raises:
        KeyboardInterrupt: the user's Ctrl-C; the search can be resumed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        trainable = tune.with_parameters(
            LaneTrainable,
            settings=settings.lane,
            configure=settings.trial_config,
            storage=settings.folder / "ray" / "lanes",
        )
        if resume and tune.Tuner.can_restore(str(settings.tune_folder)):
            tuner = tune.Tuner.restore(str(settings.tune_folder), trainable=trainable, resume_errored=False)
        else:
            tuner = _new_tuner(settings, trainable)
        try:
            tuner.fit()
        except KeyboardInterrupt:
            RunRecords.open(settings.folder)  # trials that were under way WAIT now
            raise


@contextmanager
def cluster(settings: SearchSettings) -> Iterator[None]:
    """Ray, up for the length of the block: a cluster of our own, or the running one at `settings.address`.

    Raises:
        UserError: no cluster at the address, or one that is too small.
    """
    if settings.address is None:
        workers = settings.lanes * settings.lane.num_workers
        # CPUs are bookkeeping here: as many as the workers have threads, and one for the owners of the lanes.
        context = start_own_ray(num_cpus=workers * settings.cpus_per_worker + 1, num_gpus=settings.gpus)
    else:
        _knock(settings.address)
        _hush()
        context = ray.init(address=settings.address, runtime_env={"env_vars": _QUIET}, **_RAY_HUSHED)
    try:
        if settings.address is not None:
            check_cluster(settings, ray.cluster_resources())
        if context.dashboard_url:
            print(f"Ray dashboard: http://{context.dashboard_url}", flush=True)
        yield
    finally:
        ray.shutdown()


def start_own_ray(*, num_cpus: int, num_gpus: int) -> Any:
    """Starts Ray on this machine, with its dashboard on 127.0.0.1; gives back Ray's context."""
    _hush()
    port = _free_port(_DASHBOARD_PORT)
    # Ray Train's clean-up of a stopped lane asks the dashboard, and with two clusters on a host asks the wrong one.
    os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
    return ray.init(
        address="local",
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        **_RAY_HUSHED,
    )


def _hush() -> None:
    """No pages of Ray's own on a normal run. Before `ray.init`, since its processes inherit the environment."""
    os.environ.update(_QUIET)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # names failed trials, which we have recorded


def _knock(address: str) -> None:
    """Whether anything answers at HOST:PORT; Ray itself would try for minutes and then abort the process."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers there. Give HOST:PORT of its head, or auto."
        ) from error


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def _new_tuner(settings: SearchSettings, trainable: type[tune.Trainable]) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_optuna(settings),
            scheduler=AshaSparingTheRecipe(
                settings.search_space.recipe_point(),
                time_attr="epoch",  # Tune's own count starts again after a restore
                metric=METRIC,
                mode="max",
                max_t=settings.epochs,
                grace_period=1,
                reduction_factor=REDUCTION_FACTOR,
            ),
            num_samples=settings.trials,
            max_concurrent_trials=settings.lanes,
            time_budget_s=settings.time_budget_s,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=settings.tune_folder.name,
            storage_path=str(settings.tune_folder.parent),
            callbacks=[Recorder(settings)],
            stop=_StopWhenNoLaneOpens(),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=LOST_LANE_RETRIES),
            # Trials ask for each checkpoint themselves: a failed one has none to give. Kept: the best and the last.
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=1,
                checkpoint_score_attribute=METRIC,
                checkpoint_score_order="max",
                checkpoint_at_end=False,
            ),
        ),
    )


def _optuna(settings: SearchSettings) -> OptunaSearch:
    space = settings.search_space
    return OptunaSearch(
        space.distributions,
        metric=METRIC,
        mode="max",
        sampler=_sampler(settings),
        points_to_evaluate=[space.recipe_point()],
        study_name=settings.name,
        storage=JournalStorage(JournalFileBackend(str(settings.folder / "optuna.journal"))),
    )


def _sampler(settings: SearchSettings) -> BaseSampler:
    match settings.sampler:
        case "tpe":
            return TPESampler(multivariate=True, group=True, constant_liar=True, seed=settings.seed)
        case "gp":
            return GPSampler(seed=settings.seed)
        case "cmaes":
            return CmaEsSampler(seed=settings.seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=settings.seed)


def _trial_folder(trial: Any) -> str:
    return str(trial.trial_id)


class _StopWhenNoLaneOpens(tune.Stopper):
    """Ends the search when the workers cannot be opened at all: every trial would fail for the same reason."""

    def __init__(self) -> None:
        self._hopeless = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._hopeless = self._hopeless or bool(result.get(LANE_FAILURE))
        return False

    def stop_all(self) -> bool:
        return self._hopeless
