"""Keeps the copy of the results up to date during a search, in a thread, so that trials never wait for the network."""

import threading
import time

import typer

from tune_sa2va.storage.frozen_files import FrozenFile
from tune_sa2va.storage.place import one_line
from tune_sa2va.storage.results_copy import ResultsCopy

_PAUSE_S = 2.0
"""Least seconds from the start of one pass to the next. Listing the files of a large search takes a tenth of that."""


class Mirror:
    """Runs one pass at a time. Call all methods from the thread that drives the search; it prints the errors, too."""

    def __init__(self, copy: ResultsCopy) -> None:
        self._copy = copy
        self._pass: threading.Thread | None = None
        self._next_at_s = 0.0
        self._fault = ""
        self._fault_is_told = False

    def begin(self) -> None:
        """Starts a pass unless one runs or has just started. Call it after each snapshot; this retries failures."""
        if (self._pass is not None and self._pass.is_alive()) or time.monotonic() < self._next_at_s:
            return
        self._tell()
        self._start(last=False)
        self._next_at_s = time.monotonic() + _PAUSE_S

    def end(self) -> str:
        """Makes a last pass and waits for it. Returns why the copy is not complete, or an empty text."""
        try:
            if self._pass is not None:
                self._pass.join()
            self._start(last=True)
            if self._pass is not None:
                self._pass.join()
        except KeyboardInterrupt:
            self._fault = "interrupted"
        return self._fault

    def _start(self, *, last: bool) -> None:
        self._pass = None
        try:
            frozen = self._copy.freeze()
        except OSError as error:
            self._fault = one_line(error)
            return
        if not last and not self._copy.has_news(frozen):
            return
        self._pass = threading.Thread(target=self._run, args=(frozen,), name="copy", daemon=True)
        self._pass.start()

    def _run(self, frozen: list[FrozenFile]) -> None:
        try:
            self._copy.sync(frozen)
            self._fault = ""
        except Exception as error:  # an outage can raise anything
            self._fault = one_line(error)

    def _tell(self) -> None:
        """Prints once that passes fail, and once that they succeed again."""
        if bool(self._fault) == self._fault_is_told:
            return
        self._fault_is_told = bool(self._fault)
        said = (
            f"--storage: the copy at {self._copy.uri} is behind, the search goes on and tries again: {self._fault}"
            if self._fault
            else f"--storage: the copy at {self._copy.uri} is up to date again."
        )
        typer.echo(said, err=True)
