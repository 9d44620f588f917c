"""Estimates when a search will end, by Monte Carlo: the rest of the search is simulated many times.

A simulation assigns the running and the future trials to the lanes. At each rung a trial goes on with the probability
that ASHA promotes an average trial (`rungs.chance_to_go_on`); an epoch takes as long as one drawn from the latest
epochs. A lane's first epoch, which compiles kernels, counts only while there are no others. A simulation ends when the
last lane is done, the test part is scored and the export checked. The median is the estimate, the outer deciles are its
range.

Not modelled: later trials may be better than earlier ones and so pass more often, and the machine may become slower.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from tune_sa2va.schedule.final_work import final_work
from tune_sa2va.schedule.rungs import chance_to_go_on, rungs
from tune_sa2va.watch.view import Epoch, Plan, TrialView, View

_PLAYS = 200
_LOW, _HIGH = 0.1, 0.9
_RECENT_EPOCHS = 24
"""The number of latest epochs from which durations are drawn: the load of a machine changes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """When the search will end, with all that follows the trials: the median, and an interval that holds 8 of 10
    simulations."""

    low: datetime
    middle: datetime
    high: datetime


def estimate_end(view: View, now: datetime, *, budget_ends_at: datetime | None = None) -> Estimate | None:
    """The end of a running search; None before its first epoch. budget_ends_at: when all trials are stopped."""
    if not view.epochs:
        return None
    training_s = _training_s(view, now)
    if budget_ends_at is not None:
        training_s = np.minimum(training_s, max((budget_ends_at - now).total_seconds(), 0.0))
    left_s = final_s(view)
    all_ended = len(view.ended) >= view.plan.trials and len(view.ended_reruns) >= view.plan.reruns
    if all_ended and view.last_event_at is not None:
        left_s = max(left_s - (now - view.last_event_at).total_seconds(), 0.0)
    low, middle, high = np.quantile(training_s, (_LOW, 0.5, _HIGH)) + left_s
    return Estimate(*(now + timedelta(seconds=float(seconds)) for seconds in (low, middle, high)))


def final_s(view: View) -> float:
    """Seconds of all that follows the trials: its processes open like a lane, train like an epoch and predict like a
    validation."""
    images, folds = view.plan.images, view.plan.folds
    work = final_work(images, epochs=view.plan.epochs, refits=view.plan.refits)
    trained = (folds - 1) * images.get("val", 0) if folds > 1 else images.get("train", 0)
    train_s = statistics.median(epoch.seconds - epoch.val_seconds for epoch in _usual_epochs(view)) / max(trained, 1)
    val_s = statistics.median(epoch.val_seconds for epoch in view.epochs) / max(images.get("val", 0), 1)
    return work.processes * _opening_s(view) + work.trained * train_s + work.predicted * val_s


def _training_s(view: View, now: datetime) -> np.ndarray:
    """Seconds from now until the last lane is done, one for each simulation."""
    chance = np.random.default_rng(0)  # the same records give the same estimate
    usual = _usual_epochs(view)
    recent = np.array([epoch.seconds for epoch in usual[-_RECENT_EPOCHS:]])
    at_rung = {
        rung: np.full(_PLAYS, sum(epoch.epoch == rung for epoch in view.epochs), dtype=float)
        for rung in rungs(
            view.plan.epochs, grace_period=view.plan.grace_period, reduction_factor=view.plan.reduction_factor
        )
    }
    between_s = _between_trials_s(view)
    lanes = np.zeros((max(view.plan.lanes, len(view.running)), _PLAYS))
    plays = np.arange(_PLAYS)
    for place, trial in enumerate(view.running):
        own = [epoch.seconds for epoch in usual if epoch.trial_id == trial.trial_id]
        epoch_s = np.full(_PLAYS, statistics.fmean(own)) if own else chance.choice(recent, _PLAYS)
        spared = trial.number == 0 or trial in view.reruns
        to_run = _epochs_to_run(chance, at_rung, view.plan, trial.epochs, spared=spared)
        under_way_s = min(_since_last_epoch_s(view, trial, now), float(epoch_s.mean()) * 0.9)
        lanes[place] = to_run * epoch_s - under_way_s
    running = [trial for trial in view.running if trial not in view.reruns]
    to_come = view.plan.trials - len(view.ended) - len(running)
    for _ in range(to_come):
        first_free = lanes.argmin(axis=0)
        to_run = _epochs_to_run(chance, at_rung, view.plan, 0, spared=False)
        lanes[first_free, plays] += between_s + to_run * chance.choice(recent, _PLAYS)
    if not view.reruns and view.plan.reruns:
        lanes[:] = lanes.max(axis=0)  # which trials are confirmed is known only when the last trial has ended
    for _ in range(view.plan.reruns - len(view.reruns)):
        lanes[lanes.argmin(axis=0), plays] += between_s + view.plan.epochs * chance.choice(recent, _PLAYS)
    return np.maximum(lanes.max(axis=0), 0.0)


def _usual_epochs(view: View) -> Sequence[Epoch]:
    """The epochs without the first of each lane; all of them if there are no others."""
    opening = {(trial.trial_id, 1) for trial in _first_of_lanes(view)}
    return [epoch for epoch in view.epochs if (epoch.trial_id, epoch.epoch) not in opening] or view.epochs


def _epochs_to_run(
    chance: np.random.Generator, at_rung: dict[int, np.ndarray], plan: Plan, done: int, *, spared: bool
) -> np.ndarray:
    """Epochs left for a trial that has done `done`, one for each simulation. Adds it to `at_rung` where it arrives."""
    goes_on = np.ones(_PLAYS, dtype=bool)
    to_run = np.full(_PLAYS, plan.epochs - done)
    for rung, recorded in at_rung.items():
        if rung <= done:
            continue
        chances = [chance_to_go_on(number, reduction_factor=plan.reduction_factor) for number in recorded]
        passes = chance.random(_PLAYS) < np.array(chances) if not spared else np.ones(_PLAYS, dtype=bool)
        to_run[goes_on & ~passes] = rung - done
        recorded += goes_on
        goes_on &= passes
    return to_run


def _since_last_epoch_s(view: View, trial: TrialView, now: datetime) -> float:
    """How long the current epoch has been running; 0 while a lane is still opening."""
    own = view.epochs_of(trial.trial_id)
    if own:
        return max((now - own[-1].ended_at).total_seconds(), 0.0)
    is_open = any(epoch.lane == trial.lane for epoch in view.epochs)
    return max((now - trial.started_at).total_seconds(), 0.0) if is_open else 0.0


def _opening_s(view: View) -> float:
    """Median seconds from a lane's start to its first step: processes, model, images that were not encoded yet."""
    found = []
    for trial in _first_of_lanes(view):
        if own := view.epochs_of(trial.trial_id):
            found.append((own[0].ended_at - trial.started_at).total_seconds() - own[0].seconds)
    return max(statistics.median(found), 0.0) if found else 0.0


def _between_trials_s(view: View) -> float:
    """Median seconds that a trial takes besides its epochs; the first of each lane, which waits for it, is left out."""
    first = {trial.trial_id for trial in _first_of_lanes(view)}
    over = [
        (trial.ended_at - trial.started_at).total_seconds() - trial.seconds
        for trial in view.ended
        if trial.ended_at is not None and trial.trial_id not in first and trial.epochs
    ]
    return max(statistics.median(over), 0.0) if over else 0.0


def _first_of_lanes(view: View) -> list[TrialView]:
    first: dict[str, TrialView] = {}
    for trial in sorted(view.trials, key=lambda trial: trial.started_at):
        first.setdefault(trial.lane, trial)
    return list(first.values())
