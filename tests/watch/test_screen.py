"""The live table and its plain lines."""

import io
from pathlib import Path

from rich.console import Console

from tests.watch.runs import an_epoch, settings_in, start
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.watch.screen import Screen


def said_by(folder: Path, *, quiet: bool, terminal: bool, reason: str = "Out of memory.") -> str:
    """A trial that has an epoch, and one that fails."""
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
