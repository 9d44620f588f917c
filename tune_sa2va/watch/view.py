"""The state of a search at one moment, from its records. The live table and `tune_sa2va.status` show it."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import pandas as pd

from tune_sa2va.results.records import TrialKind, TrialState
from tune_sa2va.results.settings import GRACE_PERIOD, REDUCTION_FACTOR


@dataclass(frozen=True, slots=True)
class Plan:
    """What a search was asked for. images: part -> number of images; with folds all but those of test count as val.
    lanes: trials that run at a time, so a lane of several seats counts as several."""

    name: str
    trials: int
    epochs: int
    lanes: int
    images: dict[str, int]
    time_budget_s: float | None = None
    grace_period: int = GRACE_PERIOD
    reduction_factor: int = REDUCTION_FACTOR
    reruns: int = 0
    """Most reruns that confirm the best trials at the end."""
    run_started_at: datetime | None = None
    """When the current or last run of the search began; None if an older tune_sa2va did not record it."""
    earlier_runs_s: float = 0.0
    """Seconds that all earlier runs took, without the pauses between them."""
    folds: int = 1
    """Adapters that each trial trains."""
    refits: bool = False
    """Whether the export is trained again on all images."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """A finished epoch. seconds: its validation included."""

    trial_id: str
    epoch: int
    val_dice: float
    train_loss: float
    seconds: float
    val_seconds: float
    lane: str
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class TrialView:
    """A trial or rerun. epochs: those done so far. best_val_dice: NaN before the first epoch."""

    trial_id: str
    number: int
    state: TrialState
    lane: str
    epochs: int
    best_val_dice: float
    seconds: float
    failure: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class View:
    """The records of a search at one moment. Trials are in the order of their start, epochs in the order of their end.

    trials: those that the search proposed. reruns: of the best trials, to confirm them. epochs: of both. folds_done:
    running trial's id -> folds done in its current epoch; empty without folds.
    """

    plan: Plan
    trials: tuple[TrialView, ...]
    epochs: tuple[Epoch, ...]
    reruns: tuple[TrialView, ...] = ()
    folds_done: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, trials: pd.DataFrame, epochs: pd.DataFrame) -> "View":
        """The view of all rows of `trials.parquet` and `epochs.parquet`."""
        done = sorted((epoch_of(row) for row in epochs.to_dict("records")), key=lambda epoch: epoch.ended_at)
        return cls(
            plan,
            trials=trials_of(trials[trials["kind"] == TrialKind.SEARCH]),
            epochs=tuple(done),
            reruns=trials_of(trials[trials["kind"] == TrialKind.CONFIRMATION]),
        )

    @property
    def running(self) -> list[TrialView]:
        """Trials and reruns that have a lane now, in order of lane."""
        both = (*self.trials, *self.reruns)
        return sorted((t for t in both if t.state == TrialState.RUNNING), key=lambda trial: trial.lane)

    @property
    def ended_reruns(self) -> list[TrialView]:
        """Reruns that have ended."""
        return [t for t in self.reruns if t.state not in (TrialState.RUNNING, TrialState.WAITING)]

    @property
    def ended(self) -> list[TrialView]:
        """Trials that have ended."""
        return [t for t in self.trials if t.state not in (TrialState.RUNNING, TrialState.WAITING)]

    @cached_property
    def counts(self) -> Counter[TrialState]:
        """Number of trials in each state. Trials that are not proposed yet do not count."""
        return Counter(trial.state for trial in self.trials)

    @property
    def best(self) -> TrialView | None:
        """The best trial so far. A FAILED trial cannot win; None if no other has a score."""
        can_win = [trial for trial in self.trials if trial.state != TrialState.FAILED]
        scored = [trial for trial in can_win if not math.isnan(trial.best_val_dice)]
        return max(scored, key=lambda trial: trial.best_val_dice, default=None)

    def epochs_of(self, trial_id: str) -> list[Epoch]:
        """A trial's epochs, first to last."""
        return [epoch for epoch in self.epochs if epoch.trial_id == trial_id]

    def best_at(self, epoch: int) -> float:
        """The best Val Dice of any trial at this epoch; NaN if none has reached it."""
        return max((e.val_dice for e in self.epochs if e.epoch == epoch and e.val_dice == e.val_dice), default=math.nan)

    @property
    def started_at(self) -> datetime | None:
        """When the first trial started; None before."""
        return min((trial.started_at for trial in self.trials), default=None)

    @property
    def last_event_at(self) -> datetime | None:
        """When an epoch or a trial last ended, or a trial last started; None before the first."""
        times = [epoch.ended_at for epoch in self.epochs]
        both = (*self.trials, *self.reruns)
        times += [time for trial in both for time in (trial.started_at, trial.ended_at) if time is not None]
        return max(times, default=None)


def trials_of(table: pd.DataFrame) -> tuple[TrialView, ...]:
    """The rows of `trials.parquet`."""
    return tuple(_trial(row) for row in table.to_dict("records"))


def _trial(row: Mapping[Any, Any]) -> TrialView:
    return TrialView(
        trial_id=row["trial_id"],
        number=int(row["number"]),
        state=TrialState(row["state"]),
        lane=row["lane"] or "",
        epochs=int(row["epochs"]),
        best_val_dice=_number(row["best_val_dice"]),
        seconds=_number(row["seconds"]),
        failure=row["failure"] or "",
        started_at=row["started_at"].to_pydatetime(),
        ended_at=None if pd.isna(row["ended_at"]) else row["ended_at"].to_pydatetime(),
    )


def epoch_of(row: Mapping[Any, Any]) -> Epoch:
    """The epoch in a row of `epochs.parquet`, or in the same values before they are read back."""
    return Epoch(
        trial_id=row["trial_id"],
        epoch=int(row["epoch"]),
        val_dice=_number(row["val_dice"]),
        train_loss=_number(row["train_loss"]),
        seconds=_number(row["seconds"]),
        val_seconds=_number(row["val_seconds"]),
        lane=row["lane"] or "",
        ended_at=pd.Timestamp(row["ended_at"]).to_pydatetime(),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
