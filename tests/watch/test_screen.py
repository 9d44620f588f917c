"""The live table and its plain lines."""

import io
import re
import threading
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from tests.watch.runs import an_epoch, settings_in, start
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.watch import screen as module
from tune_sa2va.watch.screen import Screen


def said_by(folder: Path, *, quiet: bool, terminal: bool, reason: str = "Out of memory.") -> str:
    """The output for a trial that finishes an epoch, and for one that fails."""
    settings = settings_in(folder)
    records = RunRecords.open(settings.folder)
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=140, highlight=False)
    screen = Screen(settings, quiet=quiet, console=console)
    first = start(records, 0)
    screen.started(first)
    records.epoch(first, an_epoch(1, 0.61))
    screen.epoch(first, "lane 1", an_epoch(1, 0.61))
    second = start(records, 1, lane="lane 2")
    screen.started(second)
    records.trial_ended(second, TrialState.FAILED, reason)
    screen.ended(second, TrialState.FAILED, reason)
    screen.close()
    return out.getvalue()


def test_without_a_terminal_an_epoch_is_a_line(tmp_path: Path) -> None:
    said = said_by(tmp_path, quiet=False, terminal=False)
    assert "trial 0000  epoch 1/9  val Dice 0.6100  loss 0.5000  best 0.6100 (trial 0000)  ends about" in said
    assert "trial 0001  FAILED after 0 epochs: Out of memory." in said
    assert "\x1b" not in said


def test_quiet_says_only_what_goes_wrong(tmp_path: Path) -> None:
    assert said_by(tmp_path, quiet=True, terminal=True) == "trial 0001  FAILED after 0 epochs: Out of memory.\n"


def test_a_reason_cannot_drive_the_terminal(tmp_path: Path) -> None:
    said = said_by(tmp_path, quiet=True, terminal=True, reason="a\x1b[2J\nb\r.png: cannot be read.")
    assert said == "trial 0001  FAILED after 0 epochs: a\\x1b[2J\\nb\\r.png: cannot be read.\n"


def test_a_terminal_has_a_table_of_the_lanes(tmp_path: Path) -> None:
    said = said_by(tmp_path, quiet=False, terminal=True)
    assert "lane 1" in said and "0.6100" in said and "1 failed, 1 running, 2 to come" in said


@pytest.mark.parametrize("width", [80, 120, 130])
def test_the_picture_of_a_terminal_is_not_cut(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path)
    start(RunRecords.open(settings.folder), 0)
    out = io.StringIO()
    terminal = partial(Console, file=out, force_terminal=True, width=width, height=40, color_system=None)
    monkeypatch.setattr(module, "Console", terminal)
    Screen(settings).close()
    said = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).split())
    assert "of 4 trials 0 complete, 0 stopped, 0 failed, 1 running, 3 to come" in said
    assert "end not known before the first epoch (the model loads, and images are encoded once)" in said


def test_one_is_an_epoch_and_several_are_epochs(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    records = RunRecords.open(settings.folder)
    out = io.StringIO()
    screen = Screen(settings, console=Console(file=out, width=140))
    for number, dices in enumerate(((0.5,), (0.5, 0.6))):
        trial = start(records, number, *dices)
        records.trial_ended(trial, TrialState.STOPPED)
        screen.ended(trial, TrialState.STOPPED)
    screen.close()
    assert "STOPPED after 1 epoch, val" in out.getvalue() and "STOPPED after 2 epochs, val" in out.getvalue()


def test_a_log_says_once_that_images_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        counts = iter([(0, 9), (4, 9), (8, 9), (9, 9)])

        def __init__(self, settings: object) -> None: ...

        def count(self) -> tuple[int, int]:
            return next(self.counts)

    monkeypatch.setattr(module, "Encoding", Slow)
    monkeypatch.setattr(module, "_ENCODING_POLL_S", 0.0)
    out = io.StringIO()
    screen = Screen(settings_in(tmp_path), console=Console(file=out, width=140))
    for thread in threading.enumerate():
        if thread.name == "encoding":
            thread.join(10)
    screen.close()
    assert out.getvalue() == "encoding images once, 0 of 9\n"
