"""A search from Python, in this process: the command's flags are keywords, its errors are exceptions."""

import inspect
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tune_sa2va.errors import DataError, UserError
from tune_sa2va.interruption import INTERRUPTED
from tune_sa2va.preflight.data import examine_data, with_folds
from tune_sa2va.preflight.flags import Flags
from tune_sa2va.preflight.lane_memory import fit_memory
from tune_sa2va.preflight.settings import resolve_settings
from tune_sa2va.preflight.targets import examine_targets
from tune_sa2va.results.load import Results, load_results
from tune_sa2va.search import job
from tune_sa2va.search.__main__ import CHANGED_BY_RESUME, changed_settings, kept_by_resume
from tune_sa2va.search.__main__ import main as command
from tune_sa2va.watch.trackers import Outlets

_DEFAULTS = {
    name: parameter.default for name, parameter in inspect.signature(command).parameters.items() if name != "context"
}
"""Every parameter of the command and its default. They are declared once, there."""

_TEXTS = ("data", "model", "space", "folds", "confirm", "resume", "storage", "trials_per_gpu")
"""Settings that the command takes as text. From Python they may also be given as a path or a number."""


def search(**settings: Any) -> Results:
    """Runs a search, or resumes one if `resume` is given, and returns its results. Prints what the command prints.

    settings: as `python -m tune_sa2va.search --help` lists them, with units in the names: data, model, space, trials,
    epochs, folds, time_budget_min, sampler, seed, gpus, lanes, out, name, storage, max_disk_gib, confirm, seeds,
    warm_start, resume ...

    Raises:
        TypeError: there is no such setting.
        UserError: wherever the command prints one sentence and exits with 1, 2 or 75.
        KeyboardInterrupt: the kernel was interrupted; the search can be resumed.
        SystemExit: a signal asked the process to end; the search can be resumed.
    """
    for name in settings.keys() - _DEFAULTS.keys():
        near = get_close_matches(name, _DEFAULTS, n=1, cutoff=0.0)[0]
        raise TypeError(f"search() has no setting {name!r}. The nearest one is {near!r}.")
    given = {name: _plain(name, value) for name, value in settings.items()}
    flags = Flags.of(_DEFAULTS | given)
    outlets = Outlets(**{name: given.get(name, _DEFAULTS[name]) for name in ("quiet", "mlflow", "wandb", "report")})
    outlets.check()
    if (run := given.get("resume")) is not None:
        changes = {name: given[name] for name in CHANGED_BY_RESUME if name in given}
        kept = [name for name in kept_by_resume(run) if name in given]
        changed = changed_settings(flags, run, kept, changes, trust=given.get("trust", False))
        return _results(job.resume(changed, outlets), changed.folder)
    planned = resolve_settings(flags)
    examine_targets(planned)
    report, samples = examine_data(planned)
    if not samples:
        first = f"first {report.errors[0].file}: {report.errors[0].message}" if report.errors else "no image"
        raise DataError(
            f"{planned.data.source}: {len(report.errors)} faults, {first}. See all: python -m tune_sa2va.data check"
        )
    planned = fit_memory(with_folds(planned, samples), flags.memory, report.sizes_px)
    return _results(job.start(planned, samples, outlets), planned.folder)


def _plain(name: str, value: Any) -> Any:
    """The value in the type that the command takes: a path, a text, or as it is."""
    if name in ("out", "warm_start") and value is not None:
        return Path(value)
    return str(value) if name in _TEXTS and value is not None else value


def _results(code: int, folder: Path) -> Results:
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code >= 128:  # a signal asked the whole process to end
        raise SystemExit(code)
    if code == job.PAUSED:
        raise UserError(f"{folder}: paused, for the reason printed above. Fix that, then resume={str(folder)!r}.")
    results = load_results(folder)
    if code == job.NOTHING_SUCCEEDED and results.epochs.empty:
        raise UserError(f"{folder}: no trial finished an epoch. Its trials.parquet has the reasons.")
    if code == job.INCOMPLETE:
        raise UserError(
            f"{folder}: {job.missing_words(results.settings)}, for the reason printed above. The results so far can be "
            f"loaded (load_results). Fix that, then resume={str(folder)!r}."
        )
    return results
