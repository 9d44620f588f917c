"""The duration of a search, from the pace of one worker and the epochs that ASHA is expected to let run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tune_sa2va.plan.pace import Pace
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.schedule.expected_length import Expectation
from tune_sa2va.schedule.final_work import final_work

LANE_START_S = 20.0
"""Starting Ray and a lane's processes with their imports: measured 15 to 24 s (on two cores and on an H200 machine)."""

PROCESS_START_S = 6.0
"""Starting one process of the end with its imports: measured 5 to 8 s on two cores."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds that the lane that ends last spends on each part of a search.

    ending: refits, test scores and the check of the export. low, high: the total at the 10% and 90% points of the
    simulated ASHA. cut_short: --time-budget ends the trials earlier.
    """

    starting: float
    training: float
    validation: float
    between_trials: float
    ending: float
    low: float
    high: float
    cut_short: bool

    @property
    def total(self) -> float:
        """Seconds from the start of the command to its end, without a time budget."""
        return self.starting + self.training + self.validation + self.between_trials + self.ending


def predict(settings: SearchSettings, images: Mapping[str, int], expected: Expectation, pace: Pace) -> Seconds:
    """The seconds that a search takes.

    images: number in each part; with folds, `val` has all images outside the test part. expected: what ASHA is
    expected to let run. pace: of one worker, with all seats of a lane taken.
    """
    workers = settings.lane.num_workers
    folds = settings.folds or 1
    searched, scored = (images["val"],) * 2 if folds > 1 else (images["train"] + images["val"], images["val"])
    trained = (folds - 1) * searched if folds > 1 else images["train"]
    encoding = searched * pace.encode_s / (settings.lanes * workers)
    starting = LANE_START_S + pace.load_s + encoding
    reruns = settings.num_reruns
    rounds = expected.duration_in_epochs + math.ceil(reruns / settings.concurrency) * settings.epochs
    training = rounds * trained * pace.train_s / workers
    validation = rounds * scored * pace.val_s / workers
    # A lane starts one trial at a time, and whoever sits there waits (`schedule.expected_length.simulate`).
    between_trials = (settings.trials + reruns) / settings.lanes * pace.start_s
    last = final_work(images, epochs=settings.epochs, refits=settings.final == "refit")
    ending = last.processes * (PROCESS_START_S + pace.load_s) + images["test"] * pace.encode_s
    ending += last.trained * pace.train_s + last.predicted * pace.val_s
    low, high = (limit / expected.epochs for limit in expected.epochs_range)
    rest, moving = starting + ending, training + validation + between_trials
    budget = settings.time_budget_s
    return Seconds(
        starting=starting,
        training=training,
        validation=validation,
        between_trials=between_trials,
        ending=ending,
        low=rest + low * moving,
        high=rest + high * moving,
        cut_short=budget is not None and starting + moving > budget,
    )
