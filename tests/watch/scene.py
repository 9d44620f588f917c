"""Searches built from rows, for the tests of `watch`: the clock starts at noon, and an epoch takes 10 s."""

import math
from datetime import UTC, datetime, timedelta

from tune_sa2va.results.records import TrialState
from tune_sa2va.watch.view import Epoch, Plan, TrialView, View

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def a_trial(number: int, state: str, dices: list[float], *, start: float = 0.0, lane: str = "lane 1") -> TrialView:
    ended = state not in ("RUNNING", "WAITING")
    return TrialView(
        trial_id=f"{number:04d}",
        number=number,
        state=TrialState(state),
        lane=lane,
        epochs=len(dices),
        best_val_dice=max(dices, default=math.nan),
        seconds=10.0 * len(dices),
        failure="",
        started_at=NOON + seconds(start),
        ended_at=NOON + seconds(start + 10 * len(dices)) if ended else None,
    )


def the_epochs(trial: TrialView, dices: list[float]) -> list[Epoch]:
    return [
        Epoch(trial.trial_id, at, dice, 1.0, 10.0, 1.0, trial.lane, trial.started_at + seconds(10 * at))
        for at, dice in enumerate(dices, start=1)
    ]


def a_view(*rows: tuple[TrialView, list[float]], trials: int = 4, epochs: int = 9, lanes: int = 1) -> View:
    done = sorted((e for trial, dices in rows for e in the_epochs(trial, dices)), key=lambda epoch: epoch.ended_at)
    plan = Plan("demo", trials, epochs, lanes, {"train": 20, "val": 10, "test": 10})
    return View(plan, tuple(trial for trial, _ in rows), tuple(done))
