"""How many lanes fit on the nodes, and which trials get one if there are too few."""

from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial

from tune_sa2va.config import DataSettings, ModelSettings
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.asha_in_lanes import AshaInLanes
from tune_sa2va.schedule.lane_capacity import LaneCapacity, lanes_that_fit


def _settings(**changes: Any) -> SearchSettings:
    plain: dict[str, Any] = {
        "name": "a", "out": Path("/out"), "model": ModelSettings(model="tiny", precision="fp32"),
        "data": DataSettings(source="/data"), "space_file": Path("space.yaml"), "space": {"fixed": {}, "space": {}},
        "gpus": 0, "gpus_per_trial": 1, "lanes": 4, "cpus_per_worker": 1, "trials": 4, "epochs": 2,
        "time_budget_s": None, "sampler": "tpe", "seed": 0, "address": "h:1", "feature_cache": Path("/cache"),
        "raw_high_res": False,
    }  # fmt: skip
    return SearchSettings(**(plain | changes))


def _nodes(*resources: dict[str, float]) -> list[dict[str, Any]]:
    return [{"Resources": one} for one in resources]


def test_workers_are_not_spread_over_nodes_by_halves() -> None:
    assert lanes_that_fit(_settings(), _nodes({"CPU": 3.0}, {"CPU": 1.0}, {})) == 4
    assert lanes_that_fit(_settings(cpus_per_worker=2), _nodes({"CPU": 3.0}, {"CPU": 1.0})) == 1


def test_a_lane_on_gpus_needs_all_of_its_gpus_and_a_cpu_for_each() -> None:
    nodes = _nodes({"CPU": 64.0, "GPU": 8.0}, {"CPU": 2.0, "GPU": 8.0}, {"CPU": 64.0})
    assert lanes_that_fit(_settings(gpus=8), nodes) == 10
    assert lanes_that_fit(_settings(gpus=8, gpus_per_trial=4), nodes) == 2


class _Controller:
    """The part of Tune's controller that a scheduler sees. Like Tune, it starts every trial that is PENDING."""

    def __init__(self, trials: list[Trial]) -> None:
        self.trials = trials

    def get_trials(self) -> list[Trial]:
        return self.trials

    def _set_trial_status(self, trial: Trial, status: str) -> None:
        trial.set_status(status)

    def step(self, scheduler: AshaInLanes) -> str:
        """The trials' states after a step, by their first letters."""
        scheduler.choose_trial_to_run(self)
        states = [trial.status for trial in self.trials]
        for trial in self.trials:
            if trial.status == Trial.PENDING:
                trial.set_status(Trial.RUNNING)
        return " ".join(state[:3] for state in states)


class _Lanes:
    """A cluster with `up` lanes, each of so many seats."""

    up = 2

    def __init__(self, seats: int = 1) -> None:
        self._seats = seats

    def trials(self) -> int:
        return self.up * self._seats

    def look_again(self) -> None:
        pass


def test_a_trial_that_lost_its_node_waits_for_a_lane_and_comes_before_new_ones() -> None:
    lanes = _Lanes()
    asha = AshaInLanes({}, lane_capacity=lanes, time_attr="epoch", metric="val_dice", mode="max", max_t=9)  # type: ignore[arg-type]
    first, lost, new = (Trial("a", stub=True) for _ in range(3))
    controller = _Controller([first, lost])
    for trial in controller.trials:
        asha.on_trial_add(controller, trial)
    assert controller.step(asha) == "PEN PEN"
    lanes.up = 1
    asha.on_trial_error(controller, lost)
    lost.set_status(Trial.PENDING)  # Tune queues it again this way
    assert controller.step(asha) == controller.step(asha) == "RUN PAU"
    controller.trials.append(new)
    first.set_status(Trial.TERMINATED)
    assert controller.step(asha) == "TER PEN PAU"
    assert controller.step(asha) == "TER RUN PAU"
    lanes.up = 2
    assert controller.step(asha) == "TER RUN PEN"
    lanes.up = 0  # running trials will report their loss themselves
    assert controller.step(asha) == "TER RUN RUN"


def test_a_free_lane_is_for_a_new_trial_and_not_for_one_whose_lane_is_opening() -> None:
    asha = AshaInLanes({}, lane_capacity=_Lanes(), time_attr="epoch", metric="val_dice", mode="max", max_t=9)  # type: ignore[arg-type]
    opening, new = (Trial("a", stub=True) for _ in range(2))
    controller = _Controller([opening])
    for trial in (opening, new):
        asha.on_trial_add(controller, trial)
    assert asha.choose_trial_to_run(controller) is opening, "its lane begins to open, and it stays PENDING meanwhile"
    controller.trials.append(new)
    assert asha.choose_trial_to_run(controller) is new


def test_a_lane_takes_as_many_trials_as_it_has_seats() -> None:
    options = {"time_attr": "epoch", "metric": "val_dice", "mode": "max", "max_t": 9}
    asha = AshaInLanes({}, lane_capacity=_Lanes(seats=2), **options)  # type: ignore[arg-type]
    controller = _Controller([Trial("a", stub=True) for _ in range(5)])
    for trial in controller.trials:
        asha.on_trial_add(controller, trial)
    assert controller.step(asha) == "PEN PEN PEN PEN PAU"


def test_lanes_have_as_many_trials_as_they_say_that_they_have_seats(monkeypatch: pytest.MonkeyPatch) -> None:
    given = LaneCapacity(_settings(address=None, lanes=3, seats=2))
    assert given.trials() == 6
    measuring = LaneCapacity(_settings(address=None, lanes=3, seats=4, seats_reason="more do not end it sooner"))
    assert measuring.trials() == 3, "one until they know"
    measuring.set_seats(1, 4)
    measuring.set_seats(2, 2)
    assert measuring.trials() == 7
    monkeypatch.setattr(LaneCapacity, "__call__", lambda _: 2)
    assert measuring.trials() == 6, "a node was lost"
