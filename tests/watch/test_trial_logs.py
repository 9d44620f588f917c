"""The log of a trial has its events in order."""

from pathlib import Path

from tests.watch.runs import an_epoch
from tune_sa2va.config import RECIPE
from tune_sa2va.results.records import TrialState
from tune_sa2va.schedule.decision import Decision, RungOutcome
from tune_sa2va.watch.trial_logs import TrialLogs


def test_a_log_tells_a_trial_from_its_configuration_to_its_end(tmp_path: Path) -> None:
    TrialLogs(tmp_path).started("0003", "lane 1", RECIPE, 0)
    logs = TrialLogs(tmp_path)  # a resumed search
    logs.epoch("0003", "lane 1", an_epoch(1, 0.61), Decision(1, 0.61, 0.5, 4, RungOutcome.PASSED))
    logs.interrupted("0003", "lane 1", "a worker died")
    logs.started("0003", "lane 2", RECIPE, 1)
    logs.epoch("0003", "lane 2", an_epoch(2, 0.62) | {"warning": "half batches"}, None)
    logs.ended("0003", "lane 2", TrialState.FAILED, "Out of memory.", "Traceback:\n  a line\n")
    lines = (tmp_path / "logs" / "0003.log").read_text().splitlines()
    events = [line[20:] for line in lines if not line.startswith(" ")]
    assert [event.split(":")[0] for event in events] == [
        *("started in lane 1", "epoch 1", "passed rung 1", "lane 1 was lost", "resumed in lane 2 after epoch 1"),
        *("epoch 2", "warning", "FAILED"),
    ]
    assert f"    lora.r = {RECIPE.lora.r}" in lines and lines[-2:] == ["    Traceback:", "      a line"]
    assert lines.count(f"    lora.r = {RECIPE.lora.r}") == 1


def test_control_characters_of_a_name_are_shown(tmp_path: Path) -> None:
    TrialLogs(tmp_path).ended("0003", "lane 1", TrialState.FAILED, "a\x1b[2J.png", "Traceback:\n  b\x1b[2J.png\n")
    text = (tmp_path / "logs" / "0003.log").read_text()
    assert "\x1b" not in text and text.count("\n") == 3
    assert "FAILED: a\\x1b[2J.png" in text and "    b\\x1b[2J.png" in text


def test_no_memory_of_a_card_is_told_where_there_is_none(tmp_path: Path) -> None:
    logs = TrialLogs(tmp_path)
    for number, peak in ((1, 0.0), (2, 3.5)):
        logs.epoch("0000", "lane 1", an_epoch(number, 0.5) | {"peak_gib": peak}, None)
    first, second = (tmp_path / "logs" / "0000.log").read_text().splitlines()
    assert first.endswith("it/s") and second.endswith("it/s, peak 3.50 GiB")
