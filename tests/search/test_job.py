"""What a search prints about requested trials that did not run, and its exit code."""

import re
import sys
from pathlib import Path

import pytest

from tests.report import making
from tests.watch.runs import settings_in, start
from tune_sa2va.config import DataSettings
from tune_sa2va.data.images import load_image
from tune_sa2va.data.split_file import write_split
from tune_sa2va.interruption import Interruptions
from tune_sa2va.report.stale import mark_as_older
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.search import job
from tune_sa2va.watch.trackers import Outlets


def searched(out: Path, failures: int, *, trials: int, confirm: int = 0) -> SearchSettings:
    """The settings of a search in which the recipe ran, then `failures` trials failed."""
    settings = settings_in(out, trials=trials, confirm=confirm)
    records = RunRecords.open(settings.folder)
    records.trial_ended(start(records, 0, 0.5), TrialState.COMPLETE)
    for number in range(1, failures + 1):
        records.trial_ended(start(records, number), TrialState.FAILED, f"loss {number} is not finite.")
    return settings


def test_after_equal_failures_it_is_said_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = searched(tmp_path, 5, trials=20)
    assert job._say_what_is_missing(settings, "the last 5 trials failed alike") == 1
    said = capsys.readouterr().err
    assert "14 of 20 trials never started, because the last 5 trials failed alike (loss 5 is not finite)." in said
    assert f"--resume {settings.folder}" in said


def test_the_last_line_shows_control_characters_of_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, trials=1)
    records = RunRecords.open(settings.folder)
    records.trial_ended(start(records, 0), TrialState.FAILED, "a\x1b[2J.png: cannot be read")
    assert job._say_what_is_missing(settings.model_copy(update={"trials": 2}), "the last trial failed") == 1
    (settings.folder / "lock.json").write_text("{}")
    monkeypatch.setattr(job.tuner, "run", lambda *_, **__: job.tuner.Ending(pause_reason="", give_up_reason=""))
    assert job._run(settings, Outlets(quiet=True, mlflow="", wandb=""), None, resuming=False) == 1
    said = capsys.readouterr().err
    assert said.count("a\\x1b[2J.png: cannot be read") == 2 and "\x1b" not in said


def test_images_that_are_gone_pause_the_search_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = making.data_set(tmp_path / "data")
    settings = settings_in(tmp_path).model_copy(update={"data": DataSettings(source=str(tmp_path / "data"))})
    write_split(settings.folder, samples)
    with job._interruptions_as_codes(settings, Interruptions()) as code:
        samples[0].image.unlink()
        load_image(samples[0].image)
    said = capsys.readouterr().err
    assert code == [job.PAUSED] and said.count("\n") == 1
    assert re.match(r"Paused: img-[0-9a-f]{10}: there is no such file. Put it back. Resume with: .+ --resume ", said)


def test_where_all_ran_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job._say_what_is_missing(searched(tmp_path, 5, trials=6), "the last 5 trials failed alike") == 0
    assert capsys.readouterr().err == ""


def test_a_spent_time_budget_is_said_and_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = searched(tmp_path, 1, trials=9).model_copy(update={"time_budget_s": 90.0})
    assert job._say_what_is_missing(settings, "") == 0
    said = capsys.readouterr().err
    assert "The time budget of 1.5 min was spent" in said and "7 of 9 trials never started" in said


def test_reruns_that_never_started_are_missing_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job._say_what_is_missing(searched(tmp_path, 0, trials=1, confirm=1), "") == 1
    assert "2 of 2 reruns never started" in capsys.readouterr().err


def test_a_report_that_cannot_be_made_is_said_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = searched(tmp_path, 0, trials=1)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)  # as if plotly were not installed
    for name in [name for name in sys.modules if name.startswith("tune_sa2va.report.") and "__main__" not in name]:
        monkeypatch.delitem(sys.modules, name)
    job._write_report(settings)
    said = capsys.readouterr()
    assert said.out == "" and "report.html was not made (import of plotly" in said.err
    assert f"python -m tune_sa2va.report {settings.folder}" in said.err


def test_the_end_of_a_search_makes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = searched(tmp_path, 1, trials=2)
    job._write_report(settings)
    page = settings.folder / "report.html"
    assert capsys.readouterr().out == f"Report: {page}\n"
    assert '<p class="stale" hidden>' in page.read_text()
    mark_as_older(settings.folder)
    assert '<p class="stale">The search continued after this page was made' in page.read_text()
    job._write_report(settings)
    assert '<p class="stale" hidden>' in page.read_text()
