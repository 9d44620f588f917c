"""SIGTERM (from a batch system) and SIGHUP (from a closed terminal) interrupt a process as Ctrl-C does.

Both raise a `KeyboardInterrupt` in the main thread, so that code that cleans up after Ctrl-C does so for all three. The
exit code follows the shell's convention: 128 plus the number of the signal.
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
    """Records which signal arrived. An exception could not carry it: Ray's C++ raises a new `KeyboardInterrupt`."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._handled_signals: list[signal.Signals] = []
        self._terminals: list[int] = []

    @property
    def exit_code(self) -> int:
        """The exit code of the process after an interrupt."""
        return 128 + (self.received or signal.SIGINT)

    @property
    def words(self) -> str:
        """What to print: `Interrupted by SIGTERM`, or `Interrupted` after Ctrl-C."""
        return f"Interrupted by {self.received.name}" if self.received else "Interrupted"

    def take(self) -> None:
        """Installs the handlers again, after a library has replaced them by its own."""
        for number in self._handled_signals:
            if self.received is None:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        for each in self._handled_signals:  # a second signal must not disturb the cleanup
            signal.signal(each, signal.SIG_IGN)
        self.received = signal.Signals(number)
        if number == signal.SIGHUP:
            self._leave_terminals()
        raise KeyboardInterrupt

    def _leave_terminals(self) -> None:
        """Redirects output to /dev/null, because writing to a closed terminal is an error."""
        null = os.open(os.devnull, os.O_WRONLY)
        for terminal in self._terminals:
            os.dup2(null, terminal)
        os.close(null)

    @contextlib.contextmanager
    def _handled(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._handled_signals = [number for number in _SIGNALS if before[number] != signal.SIG_IGN]
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
            for number in self._handled_signals:
                signal.signal(number, before[number] or signal.SIG_DFL)  # None: a handler not set from Python


@contextlib.contextmanager
def signals_as_interrupts() -> Iterator[Interruptions]:
    """In the block, SIGTERM and SIGHUP raise `KeyboardInterrupt`, once; leaving the block makes a `SystemExit` of it.

    A signal that is ignored (nohup) stays ignored. Outside the main thread, where Python allows no signal handlers,
    nothing changes.
    """
    interruptions = Interruptions()
    if threading.current_thread() is not threading.main_thread():
        yield interruptions
        return
    with interruptions._handled():
        yield interruptions
