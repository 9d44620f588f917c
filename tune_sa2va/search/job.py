"""A search from the command to its exit code: start or resume it, then let `score.finish` export the winner."""

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
from tune_sa2va.preflight.seats import seats_words
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
"""Exit codes. 75 is EX_TEMPFAIL of sysexits: try again later. After a signal `interruption` gives the exit code."""
INCOMPLETE = 1
"""Some requested trials did not run. The result of the others is exported and scored all the same."""


def start(settings: SearchSettings, samples: tuple[Sample, ...], outlets: Outlets) -> int:
    """Runs a new search on `samples` and returns the exit code.

    Raises:
        UserError: the results folder cannot be made, or the cluster cannot be started or joined.
    """
    with signals_as_interrupts() as interruptions, cluster(settings):
        interruptions.take()  # Ray installed its own handlers, which end the process at once
        make_results_folder(settings, samples)
        with locked(settings.folder):
            return _run_and_copy(settings, outlets, interruptions, resuming=False)


def resume(settings: SearchSettings, outlets: Outlets) -> int:
    """Resumes a search where it stopped and returns the exit code.

    Raises:
        UserError: another process runs it, its folder has no intact state (`preflight.resumption` checks that first),
            or the cluster cannot be started or joined.
    """
    with signals_as_interrupts() as interruptions, locked(settings.folder):
        for mend in find_mends(settings):
            typer.echo(printable(mend.words), err=True)
            mend.make()
        with cluster(settings):
            interruptions.take()  # Ray installed its own handlers, which end the process at once
            settings.save(settings.folder)
            return _run_and_copy(settings, outlets, interruptions, resuming=True)


def _run_and_copy(settings: SearchSettings, outlets: Outlets, interruptions: Interruptions, *, resuming: bool) -> int:
    """Runs the search, brings its copy up to date however the search ends, and returns the exit code."""
    mirror = None if settings.storage is None else _mirror(settings, settings.storage)
    fault = ""
    try:
        with _interruptions_as_codes(settings, interruptions) as code:
            code.append(_run(settings, outlets, mirror, resuming=resuming))
    finally:
        if mirror is not None and (fault := mirror.end()):
            typer.echo(
                f"--storage {settings.storage}: the copy of {settings.folder} is not complete ({fault}). Fix that. "
                f"{_resume_hint(settings)}",
                err=True,
            )
    return PAUSED if fault and code[-1] == DONE else code[-1]


def _mirror(settings: SearchSettings, storage: str) -> Mirror:
    place = Place.open("--storage", join(storage, settings.name))
    return Mirror(ResultsCopy(settings.folder, place))


def _run(settings: SearchSettings, outlets: Outlets, mirror: Mirror | None, *, resuming: bool) -> int:
    typer.echo(f"Results: {settings.folder}")
    if words := seats_words(settings):
        typer.echo(words)
    if resuming:
        mark_as_older(settings.folder)
    if (inherited := read_inherited(settings.folder)) is not None:
        typer.echo(inherited.words)
    if resuming and settings.time_budget_s is not None:
        typer.echo(f"The time budget of {settings.time_budget_s / 60:g} min starts again now.")
    ending = tuner.run(settings, outlets, mirror, resume=resuming)
    if ending.pause_reason:
        typer.echo(f"Paused: {printable(ending.pause_reason)} {_resume_hint(settings)}", err=True)
        return PAUSED
    if not any(settings.checkpoints.glob("*/checkpoint_*")):
        failures = sorted(set(read_trials(settings.folder)["failure"]) - {""})
        reason = f"; one of the reasons: {printable(failures[0]).rstrip('.')}" if failures else ""
        typer.echo(f"No trial finished an epoch{reason}. {settings.folder}/trials.parquet has all reasons.", err=True)
        note_end(settings.folder)
        return NOTHING_SUCCEEDED
    finish(settings)
    if outlets.report:
        _write_report(settings)
    note_end(settings.folder)
    return _say_what_is_missing(settings, ending.give_up_reason)


def _write_report(settings: SearchSettings) -> None:
    """Writes report.html. The results are complete without it, so a failure is printed and does not end the search."""
    folder = settings.folder
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            write_report(folder, folder / REPORT_FILE, show_names=False, pictures=True, static=False)
    except Exception as error:  # of any kind: plotly may be missing, an image may be gone
        reason = str(error).strip().rstrip(".") or type(error).__name__
        command = f"python -m tune_sa2va.report {shlex.quote(str(folder))}"
        typer.echo(f"{REPORT_FILE} was not made ({reason}). Fix that, then run: {command}", err=True)
        return
    typer.echo(f"Report: {folder / REPORT_FILE}")


def _say_what_is_missing(settings: SearchSettings, give_up_reason: str) -> int:
    """Prints how many requested trials did not run, and why. Returns the exit code."""
    missing = missing_words(settings)
    if not missing:
        return DONE
    if give_up_reason:
        failure = printable(read_trials(settings.folder, kind=None).query("failure != ''")["failure"].iloc[-1])
        typer.echo(
            f"The search is incomplete: {missing}, because {give_up_reason} ({failure.rstrip('.')}). Fix that. "
            f"{_resume_hint(settings)}",
            err=True,
        )
        return INCOMPLETE
    if settings.time_budget_s is not None:
        typer.echo(
            f"The time budget of {settings.time_budget_s / 60:g} min was spent before the search was complete: "
            f"{missing}. A resumed search gets the full budget again. {_resume_hint(settings)}",
            err=True,
        )
        return DONE
    typer.echo(f"The search is incomplete: {missing}. {_resume_hint(settings)}", err=True)
    return INCOMPLETE


def missing_words(settings: SearchSettings) -> str:
    """How many of the requested trials and reruns never started, in words; empty if all did."""
    trials = len(read_trials(settings.folder))
    said = [f"{settings.trials - trials} of {settings.trials} trials"] if trials < settings.trials else []
    confirmation = read_confirmation(settings)
    reruns = [] if confirmation is None else [r for finalist in confirmation.finalists for r in finalist.reruns]
    if unstarted := sum(rerun.state is None for rerun in reruns):
        said.append(f"{unstarted} of {len(reruns)} reruns")
    return f"{' and '.join(said)} never started" if said else ""


@contextlib.contextmanager
def _interruptions_as_codes(settings: SearchSettings, interruptions: Interruptions) -> Iterator[list[int]]:
    """Yields an empty list to which the block appends its exit code.

    If the block ends by Ctrl-C, a termination signal, a full disk or missing images instead, this prints why and
    appends the exit code itself.
    """
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
    except Exception as error:  # a full disk is reported differently by every library that writes a file
        if not is_full(error):
            raise
        typer.echo(
            f"Paused: the disk of {settings.folder} is full. Free some space. {_resume_hint(settings)}", err=True
        )
        code.append(PAUSED)


def _resume_hint(settings: SearchSettings) -> str:
    cluster = ["--address", settings.address] if settings.address else []  # --resume does not read it from search.yaml
    words = ["python", "-m", "tune_sa2va.search", "--resume", str(settings.folder), *cluster]
    return f"Resume with: {shlex.join(words)}"
