"""Puts Optuna, ASHA and the lanes together, and lets Ray Tune run the search.

Trials run in lanes (`tune_sa2va.lane`); `search.recorder.Recorder` records what happens. This uses `tune.run`, because
`tune.Tuner` reads the searcher and the number of trials of a resumed search from a pickle, and so would ignore
`--resume --trials N`.
"""

import warnings
from dataclasses import dataclass

import optuna
from ray import tune
from ray.tune.stopper import CombinedStopper

from tune_sa2va.data.split_file import Names, read_names
from tune_sa2va.lane.hosts import HostActor
from tune_sa2va.lane.trainable import LaneTrainable
from tune_sa2va.propose.searcher import METRIC, proposals
from tune_sa2va.results.records import RunRecords, read_epochs
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.snapshots import Snapshots
from tune_sa2va.schedule.asha_in_lanes import AshaInLanes
from tune_sa2va.schedule.fold_judge import FoldJudge
from tune_sa2va.schedule.lane_capacity import LaneCapacity
from tune_sa2va.schedule.repeated_failure import StopOnRepeatedFailure
from tune_sa2va.schedule.time_budget import TimeBudget
from tune_sa2va.search.recorder import Recorder, trial_id_of
from tune_sa2va.search.seating import Seating
from tune_sa2va.storage.mirror import Mirror
from tune_sa2va.watch.trackers import Outlets


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """Why a search ended before its last trial; both are empty if all trials ran or the time budget was spent.

    pause_reason: what to fix before the search is resumed (a full disk, lost nodes). give_up_reason: why every further
    trial would fail as the last ones did.
    """

    pause_reason: str
    give_up_reason: str


LOST_LANE_RETRIES = 2
"""How often a trial that lost its workers is retried. Tune never retries a trial that failed by itself."""


def run(settings: SearchSettings, outlets: Outlets, mirror: Mirror | None, *, resume: bool) -> Ending:
    """Runs or resumes the search until its trials are done, its time is spent or the user interrupts it.

    Call it inside `search.cluster.cluster`. mirror: is told when there is a new state to copy; None for no copy.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C; the search can be resumed.
    """
    snapshots = Snapshots(settings.folder)
    resuming = resume and snapshots.restore(settings.tune_folder)
    lane_capacity = LaneCapacity(settings)
    scheduler = _scheduler(settings, lane_capacity, resuming=resuming)
    names = read_names(settings.folder)
    hosts = [HostActor(settings.lane, settings.folder) for _ in range(settings.lanes)] if settings.seats > 1 else []
    seating = Seating(hosts)
    recorder = Recorder(settings, snapshots, scheduler.decisions, lane_capacity, mirror, seating, quiet=outlets.quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            callbacks = [recorder, *outlets.callbacks(settings.name)]
            try:
                _run(settings, names, hosts, lane_capacity, scheduler, callbacks, resuming=resuming)
            finally:
                HostActor.close_all(hosts)
        except KeyboardInterrupt:
            RunRecords.open(settings.folder)  # opening sets RUNNING to WAITING
            if not recorder.pause_reason:
                raise
        else:
            recorder.finish()
        finally:
            recorder.close()  # restores the terminal before more is printed; after Ctrl-C Tune does not call us
    return Ending(pause_reason=recorder.pause_reason, give_up_reason=recorder.give_up_reason)


def _scheduler(settings: SearchSettings, lane_capacity: LaneCapacity, *, resuming: bool) -> AshaInLanes:
    return AshaInLanes(
        settings.search_space.recipe_point(),
        read_epochs(settings.folder) if resuming else None,
        lanes_to_keep=settings.concurrency if settings.confirm else 0,  # reruns follow, and need open lanes
        lane_capacity=lane_capacity,
        time_attr="epoch",  # Tune's own count restarts after a restore
        metric=METRIC,
        mode="max",
        max_t=settings.epochs,
        grace_period=settings.grace_period,
        reduction_factor=settings.reduction_factor,
    )


def _stopper(settings: SearchSettings) -> tune.Stopper:
    limits = [] if settings.time_budget_s is None else [TimeBudget(settings.time_budget_s)]
    return CombinedStopper(StopOnRepeatedFailure(), *limits)


def _run(
    settings: SearchSettings,
    names: Names,
    hosts: list[HostActor],
    lane_capacity: LaneCapacity,
    scheduler: AshaInLanes,
    callbacks: list[tune.Callback],
    *,
    resuming: bool,
) -> None:
    trainable = tune.with_parameters(
        LaneTrainable,
        settings=settings.lane,
        names=names,
        configure=settings.trial_config,
        storage=settings.folder / "ray",
        judge=FoldJudge.of(settings.folder, settings.search_space.recipe_point(), names),
        hosts=hosts,
    )
    tune.run(
        trainable,
        name=settings.tune_folder.name,
        storage_path=str(settings.tune_folder.parent),
        num_samples=settings.trials,
        search_alg=proposals(settings, lane_capacity, resuming=resuming),
        scheduler=scheduler,
        stop=_stopper(settings),
        reuse_actors=True,
        resume=resuming,
        max_failures=LOST_LANE_RETRIES,
        raise_on_failed_trial=False,
        # Trials ask for each checkpoint themselves. To Tune it is a note of a few bytes: see `lane.store`.
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        trial_name_creator=trial_id_of,
        trial_dirname_creator=trial_id_of,
        callbacks=callbacks,
        verbose=0,
    )
