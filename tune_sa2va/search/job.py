"""A search from the command to its exit code: run it or go on with it, then have `score.finish` export the winner."""

import contextlib
import io
import shlex
from collections.abc import Iterator

import typer

from tune_sa2va.data import Sample
from tune_sa2va.data.failure_words import FailureWords
from tune_sa2va.data.split_file import read_names
from tune_sa2va.durable import is_full
from tune_sa2va.errors import DataGoneError
from tune_sa2va.interruption import Interruptions, signals_as_interrupts
from tune_sa2va.preflight.results_folder import make_results_folder
from tune_sa2va.printable import printable
from tune_sa2va.propose.confirmation import read_confirmation
from tune_sa2va.propose.warm_start import read_inherited
from tune_sa2va.report.__main__ import write_report
from tune_sa2va.report.stale import FILE_NAME as REPORT_FILE
from tune_sa2va.report.stale import mark_as_older
from tune_sa2va.results.lock import locked, note_end
from tune_sa2va.results.mending import find_mends
from tune_sa2va.results.records import read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.score.finish import finish
from tune_sa2va.search import tuner
from tune_sa2va.search.cluster import cluster
from tune_sa2va.storage.mirror import Mirror
from tune_sa2va.storage.place import Place, join
from tune_sa2va.storage.results_copy import ResultsCopy
from tune_sa2va.watch.trackers import Outlets

DONE, NOTHING_SUCCEEDED, PAUSED = 0, 1, 75
"""Exit codes; 75 is sysexits' EX_TEMPFAIL: try again later. And those of `interruption`, where a signal ended it."""
INCOMPLETE = 1
"""Trials that were asked for did not run. What the others found is exported and scored all the same."""


def start(settings: SearchSettings, samples: tuple[Sample, ...], outlets: Outlets) -> int:
    """A new search on `samples`; gives back the exit code.

    Raises:
        UserError: the results folder or the cluster cannot be had.
    """
    with signals_as_interrupts() as interruptions, cluster(settings):
        interruptions.take()  # Ray has its own handlers, which end the process on the spot
        make_results_folder(settings, samples)
        with locked(settings.folder):
            return _run_and_copy(settings, outlets, interruptions, resuming=False)


def resume(settings: SearchSettings, outlets: Outlets) -> int:
    """Goes on with a search where it was; gives back the exit code.

    Raises:
        UserError: another process runs it, its folder has no state that is whole (`preflight.resumption` asks that
            before), or the cluster cannot be had.
    """
    with signals_as_interrupts() as interruptions, locked(settings.folder):
        for mend in find_mends(settings):
            typer.echo(printable(mend.words), err=True)
            mend.make()
        with cluster(settings):
            interruptions.take()  # Ray has its own handlers, which end the process on the spot
            settings.save(settings.folder)
            return _run_and_copy(settings, outlets, interruptions, resuming=True)


def _run_and_copy(settings: SearchSettings, outlets: Outlets, interruptions: Interruptions, *, resuming: bool) -> int:
    """Runs the search and, however it ends, brings its copy up to date; gives back the exit code."""
    mirror = None if settings.storage is None else _mirror(settings, settings.storage)
    fault = ""
    try:
        with _interruptions_as_codes(settings, interruptions) as code:
            code.append(_run(settings, outlets, mirror, resuming=resuming))
    finally:
        if mirror is not None and (fault := mirror.end()):
            typer.echo(
                f"--storage {settings.storage}: the copy of {settings.folder} is not complete ({fault}). Cure that. "
                f"{_resume_hint(settings)}",
                err=True,
            )
    return PAUSED if fault and code[-1] == DONE else code[-1]


def _mirror(settings: SearchSettings, storage: str) -> Mirror:
    place = Place.open("--storage", join(storage, settings.name))
    return Mirror(ResultsCopy(settings.folder, place))


def _run(settings: SearchSettings, outlets: Outlets, mirror: Mirror | None, *, resuming: bool) -> int:
    typer.echo(f"Results: {settings.folder}")
    if resuming:
        mark_as_older(settings.folder)
    if (inherited := read_inherited(settings.folder)) is not None:
        typer.echo(inherited.words)
    if resuming and settings.time_budget_s is not None:
        typer.echo(f"The time budget of {settings.time_budget_s / 60:g} min counts anew from now.")
    ending = tuner.run(settings, outlets, mirror, resume=resuming)
    if ending.pause_reason:
        typer.echo(f"Paused: {printable(ending.pause_reason)} {_resume_hint(settings)}", err=True)
        return PAUSED
    if not any(settings.checkpoints.glob("*/checkpoint_*")):
        failures = sorted(set(read_trials(settings.folder)["failure"]) - {""})
        reason = f", first for this reason: {printable(failures[0]).rstrip('.')}" if failures else ""
        typer.echo(f"No trial finished an epoch{reason}. {settings.folder}/trials.parquet has all reasons.", err=True)
        note_end(settings.folder)
        return NOTHING_SUCCEEDED
    finish(settings)
    if outlets.report:
        _write_report(settings)
    note_end(settings.folder)
    return _say_what_is_missing(settings, ending.give_up_reason)


def _write_report(settings: SearchSettings) -> None:
    """The page of the search, as it ended. The results are whole without it: what is in its way is said, no more."""
    folder = settings.folder
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            write_report(folder, folder / REPORT_FILE, show_names=False, pictures=True, static=False)
    except Exception as error:  # plotly may be missing, a picture may be gone: any kind
        reason = str(error).strip().rstrip(".") or type(error).__name__
        typer.echo(
            f"{REPORT_FILE} was not made ({reason}). Cure that: python -m tune_sa2va.report {shlex.quote(str(folder))}",
            err=True,
        )
        return
    typer.echo(f"Report: {folder / REPORT_FILE}")


def _say_what_is_missing(settings: SearchSettings, give_up_reason: str) -> int:
    """Says which of the trials that were asked for did not run, and why; gives back the exit code."""
    missing = missing_words(settings)
    if not missing:
        return DONE
    if give_up_reason:
        failure = printable(read_trials(settings.folder, kind=None).query("failure != ''")["failure"].iloc[-1])
        typer.echo(
            f"Not all that was asked for ran: {missing}, because {give_up_reason} ({failure.rstrip('.')}). Cure that. "
            f"{_resume_hint(settings)}",
            err=True,
        )
        return INCOMPLETE
    if settings.time_budget_s is not None:
        typer.echo(
            f"The time budget of {settings.time_budget_s / 60:g} min was spent before all that was asked for ran: "
            f"{missing}. With as much time again: {_resume_hint(settings)}",
            err=True,
        )
        return DONE
    typer.echo(f"Not all that was asked for ran: {missing}. {_resume_hint(settings)}", err=True)
    return INCOMPLETE


def missing_words(settings: SearchSettings) -> str:
    """How many trials and reruns a search has been asked for, and never started; empty where there is none."""
    trials = len(read_trials(settings.folder))
    said = [f"{settings.trials - trials} of {settings.trials} trials"] if trials < settings.trials else []
    confirmation = read_confirmation(settings)
    reruns = [] if confirmation is None else [r for finalist in confirmation.finalists for r in finalist.reruns]
    if unstarted := sum(rerun.state is None for rerun in reruns):
        said.append(f"{unstarted} of {len(reruns)} reruns")
    return f"{' and '.join(said)} never started" if said else ""


@contextlib.contextmanager
def _interruptions_as_codes(settings: SearchSettings, interruptions: Interruptions) -> Iterator[list[int]]:
    """An empty list to which the block appends its exit code; after Ctrl-C, a signal to end, a full disk or images
    that are gone it is appended here."""
    code: list[int] = []
    try:
        yield code
    except KeyboardInterrupt:
        said = f"{interruptions.words}; everything up to here is in {settings.folder}. {_resume_hint(settings)}"
        typer.echo(said, err=True)
        code.append(interruptions.exit_code)
    except DataGoneError as error:
        words = FailureWords.of(read_names(settings.folder), settings.data)
        typer.echo(f"Paused: {words.sentence(str(error))} {_resume_hint(settings)}", err=True)
        code.append(PAUSED)
    except Exception as error:  # of any library that writes a file
        if not is_full(error):
            raise
        typer.echo(
            f"Paused: the disk of {settings.folder} is full. Free some space. {_resume_hint(settings)}", err=True
        )
        code.append(PAUSED)


def _resume_hint(settings: SearchSettings) -> str:
    cluster = ["--address", settings.address] if settings.address else []  # --resume does not read it from search.yaml
    words = ["python", "-m", "tune_sa2va.search", "--resume", str(settings.folder), *cluster]
    return f"Go on with: {shlex.join(words)}"
