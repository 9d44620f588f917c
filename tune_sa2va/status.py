"""`python -m tune_sa2va.status results/NAME` shows the state of a search, read from its files alone.

Exit codes: 0 running or ended; 3 killed or interrupted, so it can be resumed; 2 wrong use.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tune_sa2va.watch.search_status import SearchStatus
    from tune_sa2va.watch.view import View

app = typer.Typer(add_completion=False)

_WATCH_S = 2.0
_NOT_RUNNING = 3


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="Results folder of a search.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Update the table every 2 s until the search ends.")] = False,
) -> None:
    """Show the state of a search: its lanes, its best trial, how many trials were stopped or failed, when it will end.

    Only the files of the results folder are read, so it works from another shell, from another machine that sees the
    folder, and after the search has ended.
    """
    import json

    from rich.console import Console
    from rich.live import Live

    from tune_sa2va.watch.search_status import Life

    view, pulse, picture = _look(run)
    if as_json:
        typer.echo(json.dumps(as_values(view, pulse, datetime.now(UTC)), indent=2))
    elif not watch:
        Console(highlight=False).print(picture)
    else:
        with Live(picture, console=Console(highlight=False), auto_refresh=False) as live:
            while pulse.life == Life.RUNNING:
                time.sleep(_WATCH_S)
                view, pulse, picture = _look(run)
                live.update(picture, refresh=True)
    raise typer.Exit(_NOT_RUNNING if pulse.life == Life.INTERRUPTED else 0)


def as_values(view: "View", pulse: "SearchStatus", now: datetime) -> dict[str, Any]:
    """What --json prints, as plain values; times in ISO 8601, UTC.

    `ends_at` is the estimate of the end (low, middle, high), or None where the search does not run or has no epoch yet;
    `best` is None before the first score.
    """
    from tune_sa2va.watch.estimate import estimate_end
    from tune_sa2va.watch.search_status import Life

    estimate = estimate_end(view, now) if pulse.life == Life.RUNNING else None
    best = view.best
    return {
        "name": view.plan.name,
        "state": str(pulse.life),
        "trials": view.plan.trials,
        "epochs": view.plan.epochs,
        "folds": view.plan.folds,
        "counts": {str(state).lower(): number for state, number in sorted(view.counts.items())},
        "best": {"trial": best.trial_id, "val_dice": best.best_val_dice} if best else None,
        "reruns": {"at_most": view.plan.reruns, "ended": len(view.ended_reruns)},
        "running": [
            {
                "lane": trial.lane,
                "trial": trial.trial_id,
                "epochs": trial.epochs,
                "folds_done": view.folds_done.get(trial.trial_id, 0),
            }
            for trial in view.running
        ],
        "started_at": view.started_at.isoformat() if view.started_at else None,
        "last_event_at": view.last_event_at.isoformat() if view.last_event_at else None,
        "ends_at": [time.isoformat() for time in (estimate.low, estimate.middle, estimate.high)] if estimate else None,
    }


def _look(run: Path) -> "tuple[View, SearchStatus, Any]":
    from tune_sa2va.watch.estimate import estimate_end
    from tune_sa2va.watch.live_table import show
    from tune_sa2va.watch.read import read_view
    from tune_sa2va.watch.search_status import Life, pulse

    view, now = read_view(run), datetime.now(UTC)
    beat = pulse(run, view, now)
    runs = beat.life == Life.RUNNING
    estimate = estimate_end(view, now) if runs else None
    then = now if runs else view.last_event_at or now
    return view, beat, show(view, then, estimate, (), beat.words, runs=runs)


if __name__ == "__main__":
    from tune_sa2va.cli import run

    run(app)
