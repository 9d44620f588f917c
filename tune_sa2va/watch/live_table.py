"""Renders a view of a search with rich, within 80 columns: a line per lane, with totals above and below.

"best there" is the best Val Dice of any trial at the epoch that this trial has reached, which ASHA compares at a rung.
With folds, "fold" is the one that is being trained.
"""

import math
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune_sa2va.results.records import TrialState
from tune_sa2va.watch.estimate import Estimate
from tune_sa2va.watch.gpus import Gpu
from tune_sa2va.watch.view import TrialView, View
from tune_sa2va.words import count

_BAR_CELLS, _BAR_CELLS_WITH_FOLDS = 10, 4


def show(
    view: View, now: datetime, estimate: Estimate | None, gpus: tuple[Gpu, ...], state: str, *, runs: bool
) -> RenderableType:
    """The whole picture. state: what the search does, in words. runs: whether to show lanes and the estimated end."""
    lines: list[RenderableType] = [Text(f"{view.plan.name}: {state}", style="bold"), Text(summary(view))]
    if runs:
        lines.append(_lanes(view, now))
    lines += [Text(gpu.words) for gpu in gpus]
    lines.append(Text(times(view, now, estimate) if runs else f"time used {_used(view, now)}"))
    return Group(*lines)


def summary(view: View) -> str:
    """The best trial so far, and how many trials are in each state."""
    counts, best = view.counts, view.best
    to_come = view.plan.trials - len(view.trials) + counts[TrialState.WAITING]
    found = f"best Val Dice {best.best_val_dice:.4f} (trial {best.trial_id})" if best else "no epoch yet"
    return (
        f"{found}; of {count(view.plan.trials, 'trial')}{_folds(view)} {counts[TrialState.COMPLETE]} complete, "
        f"{counts[TrialState.STOPPED]} stopped, {counts[TrialState.FAILED]} failed, "
        f"{counts[TrialState.RUNNING]} running, {max(to_come, 0)} to come{_confirmation(view)}"
    )


def _folds(view: View) -> str:
    return f" of {view.plan.folds} folds" if view.plan.folds > 1 else ""


def _confirmation(view: View) -> str:
    if not view.plan.reruns:
        return ""
    return f"; confirmation: {len(view.ended_reruns)} of at most {view.plan.reruns} reruns ended"


def times(view: View, now: datetime, estimate: Estimate | None) -> str:
    """The time used, and when the search will end."""
    return f"time used {_used(view, now)}; {end_words(estimate)}"


def _used(view: View, now: datetime) -> str:
    """Time of all runs of the search, without the pauses between them."""
    started_at = view.plan.run_started_at or view.started_at
    if started_at is None:
        return "0:00"
    return words_for(timedelta(seconds=view.plan.earlier_runs_s) + max(now - started_at, timedelta()))


def end_words(estimate: Estimate | None) -> str:
    """The estimated end, scoring included, in local time."""
    if estimate is None:
        return "end not known before the first epoch (the model loads, and images are encoded once)"
    low, middle, high = (
        time.astimezone().strftime("%H:%M:%S") for time in (estimate.low, estimate.middle, estimate.high)
    )
    return f"ends about {middle}" + (f" (8 in 10: {low} to {high})" if low != high else "")


def words_for(time: timedelta) -> str:
    """`1:02:03` or `2:03`."""
    minutes, seconds = divmod(max(int(time.total_seconds()), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _lanes(view: View, now: datetime) -> Table:
    table, has_folds = Table(), view.plan.folds > 1
    for header in (
        "lane",
        "trial",
        "epochs",
        "",
        *(["fold"] if has_folds else []),
        "Val Dice",
        "best there",
        "s/epoch",
    ):
        table.add_column(header, justify="left" if header in ("lane", "epochs") else "right", no_wrap=True)
    for trial in view.running:
        lane_trial_epochs, rest = [trial.lane, *_epochs(view, trial)], _scores(view, trial, now)
        fold = [f"{view.folds_done.get(trial.trial_id, 0) + 1}/{view.plan.folds}"] if has_folds else []
        table.add_row(*lane_trial_epochs, *fold, *rest)
    return table


def _epochs(view: View, trial: TrialView) -> list[RenderableType]:
    cells = _BAR_CELLS if view.plan.folds == 1 else _BAR_CELLS_WITH_FOLDS
    bar = ProgressBar(total=view.plan.epochs, completed=trial.epochs, width=cells)
    return [trial.trial_id, bar, f"{trial.epochs}/{view.plan.epochs}"]


def _scores(view: View, trial: TrialView, now: datetime) -> list[RenderableType]:
    own = view.epochs_of(trial.trial_id)
    if not own:
        return ["", "", f"(for {words_for(now - trial.started_at)})"]
    last = own[-1]
    seconds = math.fsum(epoch.seconds for epoch in own) / len(own)
    return [f"{last.val_dice:.4f}", f"{view.best_at(last.epoch):.4f}", f"{seconds:.1f}"]
