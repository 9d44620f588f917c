"""Reads the view of a search from its results folder."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tune_sa2va.errors import ResultsError
from tune_sa2va.results.fold_note import read_folds_done
from tune_sa2va.results.lock import run_times
from tune_sa2va.results.records import read_epochs, read_trials
from tune_sa2va.results.seats import trials_at_a_time
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.watch.view import Plan, View


def plan_of(settings: SearchSettings) -> Plan:
    """The plan of a search, with the times of its runs."""
    times = run_times(settings.folder)
    return Plan(
        name=settings.name,
        trials=settings.trials,
        epochs=settings.epochs,
        lanes=trials_at_a_time(settings),
        images=_images(settings.folder),
        time_budget_s=settings.time_budget_s,
        grace_period=settings.grace_period,
        reduction_factor=settings.reduction_factor,
        reruns=settings.num_reruns,
        run_started_at=None if times is None else times.started_at,
        earlier_runs_s=0.0 if times is None else times.earlier_s,
        folds=settings.folds or 1,
        refits=settings.final == "refit",
    )


def read_view(folder: Path) -> View:
    """The current view of the search in `folder`.

    Raises:
        UserError: not a results folder, or a file was written by another version.
    """
    settings = SearchSettings.load(folder)
    view = View.of(plan_of(settings), read_trials(folder, None), read_epochs(folder, None))
    return with_folds_done(view, settings.checkpoints)


def with_folds_done(view: View, checkpoints: Path) -> View:
    """The view, with the number of folds that each running trial has done in its current epoch."""
    if view.plan.folds == 1:
        return view
    done = {trial.trial_id: read_folds_done(checkpoints, trial.trial_id, trial.epochs + 1) for trial in view.running}
    return replace(view, folds_done=done)


def _images(folder: Path) -> dict[str, int]:
    file = folder / "split.parquet"
    try:
        table = pq.read_table(file)
        rows = table.select(["split", *(name for name in ("fold",) if name in table.column_names)]).to_pylist()
    except FileNotFoundError:
        return {}
    except (pa.ArrowException, KeyError, OSError, UnicodeDecodeError) as error:
        raise ResultsError(
            f"{file}: damaged or not readable ({str(error).splitlines()[0]}). Put back a copy."
        ) from error
    parts = ["val" if row.get("fold") is not None else row["split"] for row in rows]
    return {part: parts.count(part) for part in set(parts)}
