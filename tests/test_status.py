"""The progress of a search, read from its files: running, ended, interrupted, on another machine."""

import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.watch.runs import settings_in, start
from tune_sa2va.cli import run
from tune_sa2va.results.fold_note import note_folds_done
from tune_sa2va.results.lock import locked, note_end, run_times
from tune_sa2va.results.records import RunRecords, TrialState
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.status import app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two trials: one stopped, one running."""
    settings = settings_in(tmp_path)
    records = RunRecords.open(settings.folder)
    records.trial_ended(start(records, 1, 0.55, lane="lane 2"), TrialState.STOPPED)
    start(records, 0, 0.6, 0.7)
    return settings.folder


def status(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        run(app, list(arguments))
    said = capsys.readouterr()
    return int(left.value.code or 0), " ".join((said.out + said.err).split())


def test_a_running_search_shows_its_lanes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(folder):
        code, said = status(capsys, str(folder))
    assert code == 0
    assert f"demo: running (process {os.getpid()} on" in said
    assert "best Val Dice 0.7000 (trial 0000)" in said and "1 stopped, 0 failed, 1 running, 2 to come" in said
    assert "2/9" in said and "ends about" in said


def test_with_folds_it_says_how_many_and_which_one_trains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SearchSettings.load(folder).model_copy(update={"folds": 5})
    settings.save(folder)
    note_folds_done(settings.checkpoints, "0000", 3, 1)  # two epochs are recorded
    with locked(folder):
        _, said = status(capsys, str(folder))
        _, plain = status(capsys, str(folder), "--json")
    assert "of 4 trials of 5 folds 0 complete" in said
    assert "2/9" in said and "2/5" in said and "Val Dice" in said, "the second fold trains; the table has room for all"
    values = json.loads(plain)
    assert values["folds"] == 5 and values["running"][0]["folds_done"] == 1


def test_a_killed_search_says_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = status(capsys, str(folder))
    assert code == 3
    assert "not running" in said and "--resume" in said and "ends about" not in said


def test_an_ended_search_is_ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunRecords.open(folder).trial_ended("0000", TrialState.COMPLETE)
    (folder / "summary.txt").write_text("scores\n")
    code, said = status(capsys, str(folder))
    assert code == 0 and "demo: ended" in said


def test_a_search_in_which_every_trial_failed_is_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_in(tmp_path)
    records = RunRecords.open(settings.folder)
    with locked(settings.folder):
        records.trial_ended(start(records, 0), TrialState.FAILED, "Out of memory.")
    assert status(capsys, str(settings.folder))[0] == 3  # killed after its only failure so far
    with locked(settings.folder):
        note_end(settings.folder)
    code, said = status(capsys, str(settings.folder))
    assert code == 0 and "ended, and no trial finished an epoch" in said
    with locked(settings.folder):  # a resumed search is not at its end
        pass
    assert status(capsys, str(settings.folder))[0] == 3


def test_a_search_from_before_max_disk_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "search.yaml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "max_disk_gib" not in line))
    assert status(capsys, str(folder))[0] == 3


def test_another_machine_is_believed_as_long_as_its_files_change(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "lock.json").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert "running on elsewhere" in status(capsys, str(folder))[1]
    long_ago = time.time() - 3600
    for file in folder.iterdir():
        os.utime(file, (long_ago, long_ago))
    assert status(capsys, str(folder))[0] == 3


def test_programs_get_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(folder):
        code, said = status(capsys, str(folder), "--json")
    told = json.loads(said)
    assert code == 0 and told["state"] == "running"
    assert told["counts"] == {"running": 1, "stopped": 1}
    assert told["best"] == {"trial": "0000", "val_dice": 0.7}
    assert told["running"] == [{"lane": "lane 1", "trial": "0000", "epochs": 2, "folds_done": 0}]
    assert len(told["ends_at"]) == 3


def test_no_results_folder_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = status(capsys, str(tmp_path))
    assert code == 2 and "no results of a search" in said


def test_reruns_are_no_trials_and_keep_a_search_from_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path, trials=1, confirm=1)
    records = RunRecords.open(settings.folder)
    records.trial_ended(start(records, 0, 0.7), TrialState.COMPLETE)
    (settings.folder / "summary.txt").write_text("scores of an earlier end\n")
    start(records, 1, 0.9, parent="0000")
    with locked(settings.folder):
        code, said = status(capsys, str(settings.folder))
        told = json.loads(status(capsys, str(settings.folder), "--json")[1])
    assert code == 0 and "best Val Dice 0.7000 (trial 0000); of 1 trial 1 complete" in said
    assert "confirmation: 0 of at most 4 reruns ended" in said and "0000-seed1" in said
    assert told["best"]["trial"] == "0000" and told["reruns"] == {"at_most": 4, "ended": 0}
    assert status(capsys, str(settings.folder))[0] == 3
    records.trial_ended("0000-seed1", TrialState.COMPLETE)
    assert status(capsys, str(settings.folder))[0] == 0


def test_the_pause_between_two_runs_is_not_time_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first run began two days ago and recorded its last epoch 90 s later; the second one has just begun."""
    settings = settings_in(tmp_path)
    records = RunRecords.open(settings.folder)
    began = datetime.now(UTC) - timedelta(days=2)
    with locked(settings.folder):
        start(records, 0, 0.5)
    for name in ("trials.parquet", "epochs.parquet"):
        table = pd.read_parquet(settings.folder / name)
        for column in {"started_at", "ended_at"} & set(table.columns):
            table[column] = table[column].where(table[column].isna(), began + timedelta(seconds=90))
        schema = pq.read_schema(settings.folder / name)
        pq.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False), settings.folder / name)
    file = settings.folder / "lock.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"started_at": began.isoformat()}))
    with locked(settings.folder):
        times = run_times(settings.folder)
        assert times is not None and times.earlier_s == pytest.approx(90, abs=1)
        said = status(capsys, str(settings.folder))[1]
    assert re.search(r"time used 1:3\d;", said)


def test_a_damaged_table_does_not_keep_the_lock_from_who_mends_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    RunRecords.open(settings.folder)
    with locked(settings.folder):
        pass
    file = settings.folder / "lock.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"earlier_runs_s": 40.0}))
    (settings.folder / "trials.parquet").write_bytes(b"")
    with locked(settings.folder):
        times = run_times(settings.folder)
    assert times is not None and times.earlier_s == 40.0
