"""Which trials get a seat in a lane: the longest-waiting first, and never more than the live nodes can hold.

Tune does not know what a lane takes (its workers are in a placement group of Ray Train) and starts every trial that is
PENDING. After the loss of a node it would open a lane that no node can hold, and the trial in it would hang while
others come and go. So a trial without room is PAUSED here until a lane is free or a node has come back.

A lane that becomes free takes a new trial, not one for which a lane is already opening. Otherwise Tune would drop the
opening lane and start another for the next trial, and with short trials no further lane would ever be ready.
"""

from typing import Any

from ray.tune.experiment import Trial

from tune_sa2va.internals.ray_private import set_trial_status
from tune_sa2va.schedule.asha import AshaSparingTheRecipe
from tune_sa2va.schedule.lane_capacity import LaneCapacity


class AshaInLanes(AshaSparingTheRecipe):
    """ASHA that also decides which trials may start. Takes `lane_capacity`, and what `AshaSparingTheRecipe` takes."""

    def __init__(self, *args: Any, lane_capacity: LaneCapacity, **asha: Any) -> None:
        super().__init__(*args, **asha)
        self._lane_capacity = lane_capacity
        self._let_in: set[Trial] = set()
        self._opening: set[Trial] = set()

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Called when a trial lost its lane, maybe with the node. The trial queues again."""
        super().on_trial_error(tune_controller, trial)
        self._let_in.discard(trial)
        self._lane_capacity.look_again()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The next trial for a lane; Tune asks before each event, and then starts every trial that is PENDING."""
        trials = tune_controller.get_trials()
        inside = {trial for trial in trials if trial.status == Trial.RUNNING}
        inside |= {trial for trial in self._let_in if trial.status == Trial.PENDING}
        queue = [trial for trial in trials if trial.status in (Trial.PENDING, Trial.PAUSED) and trial not in inside]
        room = max(0, self._lane_capacity.trials() - len(inside))
        for place, trial in enumerate(queue):
            status = Trial.PENDING if place < room else Trial.PAUSED
            if trial.status != status:
                set_trial_status(tune_controller, trial, status)
        self._let_in = inside | set(queue[:room])
        pending = [trial for trial in trials if trial.status == Trial.PENDING]
        new = [trial for trial in pending if trial not in self._opening]
        self._opening = set(pending)  # after this call Tune assigns each of them a free or opening lane
        return next(iter([*new, *pending]), None)
