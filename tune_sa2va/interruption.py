"""Signals that ask a process to end: SIGTERM of a batch system, SIGHUP of a terminal that was closed.

They interrupt the main thread like Ctrl-C, by a `KeyboardInterrupt`, so that whoever puts things away at Ctrl-C does so
for all three. The exit code is the shell's: 128 and the signal's number.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C."""
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Interruptions:
    """Which signal came. No exception could say it: what waits in Ray's C++ raises a `KeyboardInterrupt` of its own."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._taken: list[signal.Signals] = []
        self._terminals: list[int] = []

    @property
    def exit_code(self) -> int:
        """Of the process, once it was interrupted."""
        return 128 + (self.received or signal.SIGINT)

    @property
    def words(self) -> str:
        """`Interrupted by SIGTERM`."""
        return f"Interrupted by {self.received.name}" if self.received else "Interrupted"

    def take(self) -> None:
        """Takes the signals again, after a library has put its own handlers there."""
        for number in self._taken:
            if self.received is None:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        for each in self._taken:  # one is enough: nobody who puts things away is disturbed by a second
            signal.signal(each, signal.SIG_IGN)
        self.received = signal.Signals(number)
        if number == signal.SIGHUP:
            self._leave_terminals()
        raise KeyboardInterrupt

    def _leave_terminals(self) -> None:
        """What is said from now on goes nowhere: to write to a terminal that is gone is an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for terminal in self._terminals:
            os.dup2(nowhere, terminal)
        os.close(nowhere)

    @contextlib.contextmanager
    def _handled(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._taken = [number for number in _SIGNALS if before[number] != signal.SIG_IGN]
        streams = (stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None)
        self._terminals = [stream.fileno() for stream in streams if stream.isatty()]
        self.take()
        try:
            yield
        except KeyboardInterrupt as interrupt:
            if self.received is None:
                raise
            raise SystemExit(self.exit_code) from interrupt
        finally:
            for number in self._taken:
                signal.signal(number, before[number] or signal.SIG_DFL)  # None: not set by Python


@contextlib.contextmanager
def signals_as_interrupts() -> Iterator[Interruptions]:
    """SIGTERM and SIGHUP interrupt the block as Ctrl-C does, once; out of the block that is an exit with their code.

    A signal that is ignored (nohup) stays so, and out of the main thread, where Python lets nobody handle signals,
    nothing is done.
    """
    interruptions = Interruptions()
    if threading.current_thread() is not threading.main_thread():
        yield interruptions
        return
    with interruptions._handled():
        yield interruptions
