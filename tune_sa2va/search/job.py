"""A search from its first trial to its last line: run it, or go on with it; export and score the winner."""

import contextlib
import shlex
from collections.abc import Iterator

import typer

from tune_sa2va.data import Sample
from tune_sa2va.durable import is_full
from tune_sa2va.search import tuner
from tune_sa2va.search.cluster import cluster
from tune_sa2va.search.finish import finish
from tune_sa2va.search.inherit import read_inherited
from tune_sa2va.search.lock import locked, note_end
from tune_sa2va.search.outlets import Outlets
from tune_sa2va.search.preflight import prepare
from tune_sa2va.search.records import read_trials
from tune_sa2va.search.settings import SearchSettings
from tune_sa2va.search.storage.copying import ResultsCopy
from tune_sa2va.search.storage.courier import Courier
from tune_sa2va.search.storage.place import Place, join

DONE, NOTHING_SUCCEEDED, PAUSED, INTERRUPTED = 0, 1, 75, 130
"""Exit codes; 75 is sysexits' EX_TEMPFAIL: try again later."""


def start(settings: SearchSettings, samples: tuple[Sample, ...], outlets: Outlets) -> int:
    """A new search on `samples`; gives back the exit code.

    Raises:
        UserError: the results folder or the cluster cannot be had.
    """
    with cluster(settings):
        prepare(settings, samples)
        with locked(settings.folder):
            return _to_an_end(settings, outlets, goes_on=False)


def resume(settings: SearchSettings, outlets: Outlets) -> int:
    """Goes on with a search where it was; gives back the exit code.

    Raises:
        UserError: another process runs it, or the cluster cannot be had.
    """
    with locked(settings.folder), cluster(settings):
        settings.save(settings.folder)
        return _to_an_end(settings, outlets, goes_on=True)


def _to_an_end(settings: SearchSettings, outlets: Outlets, *, goes_on: bool) -> int:
    """Runs the search and, however it ends, brings its copy up to date; gives back the exit code."""
    courier = None if settings.storage is None else _courier(settings, settings.storage)
    fault = ""
    try:
        with _breaks(settings) as code:
            code.append(_run(settings, outlets, courier, goes_on=goes_on))
    finally:
        if courier is not None and (fault := courier.end()):
            typer.echo(
                f"--storage {settings.storage}: the copy of {settings.folder} is not complete ({fault}). Cure that. "
                f"{_how_to_go_on(settings)}",
                err=True,
            )
    return PAUSED if fault and code[-1] == DONE else code[-1]


def _courier(settings: SearchSettings, storage: str) -> Courier:
    place = Place.open("--storage", join(storage, settings.name))
    return Courier(ResultsCopy(settings.folder, place))


def _run(settings: SearchSettings, outlets: Outlets, courier: Courier | None, *, goes_on: bool) -> int:
    typer.echo(f"Results: {settings.folder}")
    if (inherited := read_inherited(settings.folder)) is not None:
        typer.echo(inherited.words)
    if pause_reason := tuner.run(settings, outlets, courier, resume=goes_on):
        typer.echo(f"Paused: {pause_reason} {_how_to_go_on(settings)}", err=True)
        return PAUSED
    if not any(settings.checkpoints.glob("*/checkpoint_*")):
        failures = sorted(set(read_trials(settings.folder)["failure"]) - {""})
        reason = f", first for this reason: {failures[0]}" if failures else ""
        typer.echo(f"No trial finished an epoch{reason}. {settings.folder}/trials.parquet has all reasons.", err=True)
        note_end(settings.folder)
        return NOTHING_SUCCEEDED
    finish(settings)
    note_end(settings.folder)
    return DONE


@contextlib.contextmanager
def _breaks(settings: SearchSettings) -> Iterator[list[int]]:
    """A list for the exit code; Ctrl-C and a full disk in the block give one."""
    code: list[int] = []
    try:
        yield code
    except KeyboardInterrupt:
        typer.echo(f"Interrupted; everything up to here is in {settings.folder}. {_how_to_go_on(settings)}", err=True)
        code.append(INTERRUPTED)
    except Exception as error:  # of any library that writes a file
        if not is_full(error):
            raise
        typer.echo(
            f"Paused: the disk of {settings.folder} is full. Free some space. {_how_to_go_on(settings)}", err=True
        )
        code.append(PAUSED)


def _how_to_go_on(settings: SearchSettings) -> str:
    cluster = ["--address", settings.address] if settings.address else []  # --resume does not keep it
    words = ["python", "-m", "tune_sa2va.search", "--resume", str(settings.folder), *cluster]
    return f"Go on with: {shlex.join(words)}"
