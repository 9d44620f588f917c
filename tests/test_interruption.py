"""SIGTERM and SIGHUP interrupt like Ctrl-C: once, with the shell's exit code, and even if the terminal is closed."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time

import pytest

from tune_sa2va.interruption import signals_as_interrupts

BOTH = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), BOTH)
def test_a_signal_interrupts_and_has_the_shells_code(number: signal.Signals, code: int) -> None:
    with pytest.raises(SystemExit) as left, signals_as_interrupts() as interruptions:
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert left.value.code == interruptions.exit_code == code
    assert interruptions.words == f"Interrupted by {number.name}"
    assert signal.getsignal(number) == signal.SIG_DFL


def test_the_second_signal_does_not_disturb_who_puts_things_away() -> None:
    done = []
    with pytest.raises(SystemExit), signals_as_interrupts():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for number, _ in BOTH:
                os.kill(os.getpid(), number)
            done.append("all")
    assert done == ["all"]


def test_a_plain_interrupt_of_a_library_is_told_by_the_signal_that_came() -> None:
    """Ray's C++ makes a new `KeyboardInterrupt` of whatever a handler raises."""
    with pytest.raises(SystemExit) as left, signals_as_interrupts():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
    assert left.value.code == 143
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts() as interruptions:
        raise KeyboardInterrupt
    assert interruptions.exit_code == 130 and interruptions.words == "Interrupted"


def test_handlers_of_a_library_are_replaced_again() -> None:
    with pytest.raises(SystemExit), signals_as_interrupts() as interruptions:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as ray.init does
        interruptions.take()
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_ignored_signal_stays_ignored() -> None:
    """nohup"""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts() as interruptions:
            interruptions.take()
            os.kill(os.getpid(), signal.SIGHUP)
        assert interruptions.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_out_of_the_main_thread_nothing_is_done() -> None:
    seen = []

    def body() -> None:
        with signals_as_interrupts() as interruptions:
            interruptions.take()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


TALKS = """
import time
from tune_sa2va.interruption import signals_as_interrupts
with signals_as_interrupts():
    try:
        print("up", flush=True)
        time.sleep(60)
    finally:
        print("a word after the terminal has gone", flush=True)
"""


def test_a_closed_terminal_is_not_written_to() -> None:
    """When the terminal hangs up, SIGHUP arrives and every later write to it fails."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", TALKS], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:  # closed only once the line is whole, else its writer fails
        assert terminal.readline() == b"up\r\n"
    process.send_signal(signal.SIGHUP)  # the kernel sends it to the session's leader, which this process is not
    assert process.wait(30) == 129
