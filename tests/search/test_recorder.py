"""What a resumed search leaves unchanged. The test makes Tune's calls; records, logs and checkpoints are real."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tests.report import making
from tests.watch.runs import an_epoch, settings_in
from tune_sa2va.lane.seat_choice import SeatNews
from tune_sa2va.lane.trainable import FAILURE_KIND
from tune_sa2va.results.records import RunRecords, TrialState, read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.results.snapshots import Snapshots
from tune_sa2va.results.val_counts import VAL_COUNTS
from tune_sa2va.schedule.lane_capacity import LaneCapacity
from tune_sa2va.search import recorder as recorder_module
from tune_sa2va.search.recorder import Recorder
from tune_sa2va.search.seating import Seating
from tune_sa2va.train.records import SeatPace

EPOCHS = 3


@pytest.fixture
def settings(tmp_path: Path) -> SearchSettings:
    """A search that was killed: trial 0 ran to its end, 1 was stopped, 2 was running."""
    made = settings_in(tmp_path, epochs=EPOCHS)
    making.write_split(made.folder, making.data_set(tmp_path / "data"))
    records = RunRecords.open(made.folder)
    for number, (epochs, state) in enumerate([(3, TrialState.COMPLETE), (1, TrialState.STOPPED), (2, None)]):
        trial_id = f"{number:04d}"
        records.trial_started(trial_id, number, made.trial_config(made.search_space.recipe_point()), "lane 7")
        for epoch in range(1, epochs + 1):
            records.epoch(trial_id, an_epoch(epoch, 0.5 + epoch / 100))
        if state is not None:
            records.trial_ended(trial_id, state)
    return made


def recorder(settings: SearchSettings, trials: list[Any]) -> Recorder:
    """The recorder of the resumed search. Tune's state is older than the records: there every trial is running."""
    made = Recorder(settings, Snapshots(settings.folder), {}, lambda: 2, None, Seating(()), quiet=True)
    made.setup()
    made.on_step_begin(0, trials)
    return made


def a_trial(settings: SearchSettings, number: int) -> Any:
    return SimpleNamespace(
        config=settings.search_space.recipe_point(),
        experiment_tag=f"{number + 1}_x",
        is_finished=lambda: False,
        last_result=None,
        temporary_state=SimpleNamespace(ray_actor="actor"),
    )


def result(epoch: int, val_dice: float) -> dict[str, Any]:
    return an_epoch(epoch, val_dice) | {"failure": "", VAL_COUNTS: []}


def logs(settings: SearchSettings) -> dict[str, str]:
    return {path.name: path.read_text() for path in (settings.folder / "logs").glob("*.log")}


def test_finished_trials_that_tune_runs_to_their_end_again_stay_as_they_were(settings: SearchSettings) -> None:
    trials = [a_trial(settings, number) for number in range(3)]
    resumed = recorder(settings, trials)
    before, epochs_before, logs_before = read_trials(settings.folder), read_epochs(settings.folder), logs(settings)
    for trial, epochs in zip(trials[:2], (3, 1), strict=True):
        resumed.on_trial_start(0, trials, trial)
        for epoch in range(1, epochs + 1):
            trial.last_result = result(epoch, 0.5 + epoch / 100)
            resumed.on_trial_result(0, trials, trial, trial.last_result)
        resumed.on_trial_complete(0, trials, trial)
    pd.testing.assert_frame_equal(read_trials(settings.folder), before)
    pd.testing.assert_frame_equal(read_epochs(settings.folder), epochs_before)
    assert logs(settings) == logs_before
    assert before["state"].tolist() == ["COMPLETE", "STOPPED", "WAITING"]


def test_a_trial_that_goes_on_this_time_is_taken_up(settings: SearchSettings) -> None:
    trials = [a_trial(settings, number) for number in range(3)]
    resumed = recorder(settings, trials)
    resumed.on_trial_start(0, trials, trials[1])
    for epoch in (1, 2):
        resumed.on_trial_result(0, trials, trials[1], result(epoch, 0.5 + epoch / 100))
    row = read_trials(settings.folder).set_index("trial_id").loc["0001"]
    assert (row["state"], row["epochs"], row["lane"]) == ("RUNNING", 2, "lane 1")
    epochs = read_epochs(settings.folder).query("trial_id == '0001'")
    assert epochs["lane"].tolist() == ["lane 7", "lane 1"], "the epoch of before keeps its lane"


def test_at_the_end_the_disk_has_what_the_tables_name(settings: SearchSettings, tmp_path: Path) -> None:
    """The time is up: a lane has stored epoch 3 of trial 2, which is the best, and Tune was not told of it."""
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "experiment_state-x.json").write_text("{}")
    (settings.folder / "optuna.journal").write_text("")
    trials = [a_trial(settings, number) for number in range(3)]
    for trial in trials:
        trial.storage = SimpleNamespace(experiment_driver_staging_path=str(staging))
    for epoch in (1, 2, 3):
        (settings.checkpoints / "0002" / f"checkpoint_{epoch:04d}").mkdir(parents=True)
    resumed = recorder(settings, trials)
    resumed.on_experiment_end(trials)
    resumed.finish()
    assert read_trials(settings.folder)["state"].tolist() == ["COMPLETE", "STOPPED", "STOPPED"]
    assert [path.name for path in (settings.checkpoints / "0002").iterdir()] == ["checkpoint_0002"]
    assert list((settings.folder / "ray" / "snapshots").glob("[0-9]*")), "a resumed search knows that all have ended"


def test_it_says_why_no_further_trial_starts(settings: SearchSettings) -> None:
    trials = [a_trial(settings, number) for number in range(9)]
    resumed = recorder(settings, trials)
    for trial in trials[3:8]:
        assert resumed.give_up_reason == ""
        resumed.on_trial_start(0, trials, trial)
        failed = {"val_dice": 0.0, "failure": "loss is not finite", "traceback": "", FAILURE_KIND: "NaN"}
        resumed.on_trial_result(0, trials, trial, failed)
    assert resumed.give_up_reason == "the last 5 trials failed alike"


def test_it_passes_on_how_many_seats_a_lane_has(
    settings: SearchSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paces = (
        SeatPace(seats=1, it_per_s=40.0, peak_gib=19.0, estimate_gib=19.1),
        SeatPace(seats=4, it_per_s=60.0, peak_gib=26.0, estimate_gib=26.1),
    )
    told = [
        [(1, SeatNews(seats=4, notes=("4 trials share each step.",), paces=paces))],
        [(1, SeatNews(seats=2, warnings=("memory ran out.",)))],
    ]
    searched = settings.model_copy(update={"seats": 4, "seats_reason": "more do not end it sooner"})
    seating, capacity = Seating(()), LaneCapacity(searched)
    monkeypatch.setattr(seating, "news", lambda: told.pop(0))
    monkeypatch.setattr(recorder_module, "_SEATS_S", 0.0)
    made = Recorder(searched, Snapshots(settings.folder), {}, capacity, None, seating, quiet=False)
    made.setup()
    assert capacity.trials() == 2
    for trials, said in ((1 + 4, "lane 2: 4 trials share each step.\n"), (1 + 2, "lane 2: memory ran out.\n")):
        made.on_step_end(0, [])
        assert capacity.trials() == trials and capsys.readouterr().out == said
    measured, halved = json.loads((settings.folder / "seats.json").read_text())
    assert (measured["lane"], measured["seats"]) == ("lane 2", 4) and measured["paces"][1]["estimate_gib"] == 26.1
    assert (halved["seats"], halved["said"]) == (2, ["memory ran out."])
    made.close()
