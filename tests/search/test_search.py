"""One whole search through real Ray: two lanes, trials that fail, trials that ASHA stops; and its resumption."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tune_sa2va.config import RECIPE
from tune_sa2va.data.procedural import DEMO_FAMILY
from tune_sa2va.data.procedural.folder import write_folder
from tune_sa2va.export.checkpoints import best_checkpoint
from tune_sa2va.propose.confirmation import best_configurations
from tune_sa2va.results.records import TrialKind, read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings
from tune_sa2va.space.rerun import called

pytestmark = pytest.mark.timeout(600)  # a whole search, with lanes to open and images to encode

TRIALS, EPOCHS, LANES = 8, 3, 2
CONFIRM = ["--confirm", "2", "--seeds", "2"]
SPACE = """
fixed: {lora.dropout: 0.0}
space:
  optimizer.lr: {choice: [1e-4, 2e-3, 1.0]}
  lora.r: {choice: [32, 64]}
  lora.target_modules: {choice: [[q_proj, k_proj, v_proj, o_proj], [q_proj, k_proj, v_proj]]}
"""


@dataclass(frozen=True)
class Ran:
    """A finished search: its output, its results folder, and its worker processes seen while it ran."""

    folder: Path
    output: str
    code: int
    workers: frozenset[int]


def command(folder: Path, name: str, *flags: str) -> list[str]:
    return [sys.executable, "-m", "tune_sa2va.search", "--out", str(folder / "results"), "--name", name, *flags]


def flags(folder: Path, trials: int) -> list[str]:
    numbers = {"--gpus": 0, "--lanes": LANES, "--trials": trials, "--epochs": EPOCHS, "--seed": 1}
    paths = {"--data": folder / "data", "--space": folder / "space.yaml"}
    return [
        "--sampler",
        "random",
        "--folds",
        "1",
        *CONFIRM,
        *(str(word) for pair in (numbers | paths).items() for word in pair),
    ]


def environment(folder: Path) -> Mapping[str, str]:
    return os.environ | {"TUNE_SA2VA_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}


def worker_pids(driver: psutil.Process) -> set[int]:
    try:
        return {child.pid for child in driver.children(recursive=True) if "RayTrainWorker" in child.name()}
    except psutil.NoSuchProcess:
        return set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    write_folder(folder / "data", DEMO_FAMILY, count=12, size=96, seed=0)
    (folder / "space.yaml").write_text(SPACE)
    return folder


@pytest.fixture(scope="module")
def ran(folder: Path) -> Ran:
    log, seen = folder / "log.txt", set()
    with log.open("w") as out:
        process = psutil.Popen(
            command(folder, "smoke", *flags(folder, TRIALS)), stdout=out, stderr=out, env=environment(folder)
        )
        while process.poll() is None:
            seen |= worker_pids(process)
            time.sleep(0.2)
    return Ran(folder / "results" / "smoke", log.read_text(), process.returncode, frozenset(seen))


def test_a_search_ends_well_and_says_little(ran: Ran) -> None:
    assert ran.code == 0, ran.output
    assert "Ray dashboard: http://127.0.0.1:" in ran.output
    assert "encoding images once, " in ran.output
    assert "Traceback" not in ran.output and "WARNING" not in ran.output
    assert len(ran.output.splitlines()) < (TRIALS + 4) * (2 * EPOCHS + 1) + 28


def test_every_trial_is_recorded_with_its_end(ran: Ran) -> None:
    trials = read_trials(ran.folder)
    assert len(trials) == TRIALS
    impossible = trials["optimizer.lr"] == 1.0  # gradients are not finite after a step or two
    assert impossible.any() and not impossible.all()
    assert (trials["state"][impossible] == "FAILED").all()
    assert trials["failure"][impossible].str.contains("not finite").all()
    possible = trials[~impossible]
    assert set(possible["state"]) <= {"COMPLETE", "STOPPED"}
    assert (possible["epochs"][possible["state"] == "COMPLETE"] == EPOCHS).all()
    assert (possible["epochs"][possible["state"] == "STOPPED"] < EPOCHS).all()
    assert len(read_epochs(ran.folder)) == possible["epochs"].sum()


def test_asha_stops_some_and_not_the_best(ran: Ran) -> None:
    trials = read_trials(ran.folder)
    assert (trials["state"] == "STOPPED").any()
    assert trials.loc[trials["best_val_dice"].idxmax(), "state"] == "COMPLETE"


def test_the_first_trial_is_the_recipe(ran: Ran) -> None:
    (_, first), *_ = read_trials(ran.folder).query("number == 0").iterrows()
    settings = SearchSettings.load(ran.folder)
    assert settings.trial_config(settings.search_space.recipe_point()) == RECIPE.replace(
        {"train.epochs": EPOCHS, "train.seed": 1}
    )
    assert first["lora.r"] == 64 and first["optimizer.lr"] == 1e-4


def test_all_trials_ran_in_the_first_two_workers(ran: Ran) -> None:
    assert len(ran.workers) == LANES
    assert set(read_trials(ran.folder, None)["lane"]) == {"lane 1", "lane 2"}


def test_the_best_ran_again_to_the_end_and_the_best_mean_is_exported(ran: Ran) -> None:
    settings = SearchSettings.load(ran.folder)
    reruns = read_trials(ran.folder, TrialKind.CONFIRMATION)
    finalists = best_configurations(read_trials(ran.folder), 2)
    ran_again = {row["trial_id"] for row in finalists} | {"0000"}  # the recipe is the baseline in any case
    assert sorted(reruns["parent"]) == sorted(2 * [*ran_again])
    assert set(reruns["train.seed"]) == {2, 3}  # the search's is 1
    assert set(reruns["state"]) == {"COMPLETE"} and set(reruns["epochs"]) == {EPOCHS}
    for row in reruns.to_dict("records"):
        (parent,) = read_trials(ran.folder).query("trial_id == @row['parent']").to_dict("records")
        assert all(str(row[path]) == str(parent[path]) for path in settings.search_space.dimensions)
    means = reruns.groupby("parent")["best_val_dice"].mean()
    best = reruns[reruns["parent"] == means.idxmax()].sort_values("best_val_dice")["trial_id"].iloc[-1]
    exported = json.loads((ran.folder / "best_adapter" / "tune_sa2va.json").read_text())
    assert exported["trial"] == best == best_checkpoint(ran.folder).trial_id
    assert f"Winner: {called(best)}, " in ran.output
    assert (ran.folder / "report.html").is_file()


def test_the_next_trial_starts_within_a_second(ran: Ran) -> None:
    """The time from the record of a trial's last epoch to the start of the next trial's first epoch in that lane.

    The shortest gap counts: whatever else the machine does can only make a gap longer.
    """
    first = read_epochs(ran.folder).groupby("trial_id").first()
    last = read_epochs(ran.folder).groupby("trial_id").last()
    began = first["ended_at"] - pd.to_timedelta(first["seconds"], unit="s")
    gaps = []
    for _, trials in read_trials(ran.folder).sort_values("started_at").groupby("lane"):
        for before, after in itertools.pairwise(trials["trial_id"]):
            if before in last.index and after in first.index:
                gaps.append((began[after] - last["ended_at"][before]).total_seconds())
    assert gaps and min(gaps) < 1.0, gaps


def test_checkpoints_of_the_best_and_the_last_epoch_are_kept(ran: Ran) -> None:
    for trial in read_trials(ran.folder).itertuples():
        kept = list((ran.folder / "ray" / "checkpoints" / str(trial.trial_id)).glob("checkpoint_*"))
        assert len(kept) <= 3 and bool(kept) == (trial.state != "FAILED")


def test_the_winner_is_exported_and_the_study_is_readable(ran: Ran) -> None:
    assert (ran.folder / "best_adapter" / "adapter_model.safetensors").is_file()
    study = optuna.load_study(
        study_name="smoke", storage=JournalStorage(JournalFileBackend(str(ran.folder / "optuna.journal")))
    )
    assert len(study.trials) == TRIALS
    told = [("PRUNED" if row.state == "STOPPED" else "COMPLETE") for row in read_trials(ran.folder).itertuples()]
    assert sorted(trial.state.name for trial in study.trials) == sorted(told)
    ranked = [0.0 if row.state == "FAILED" else row.best_val_dice for row in read_trials(ran.folder).itertuples()]
    assert sorted(trial.value for trial in study.trials) == pytest.approx(sorted(ranked))


def test_every_trial_has_a_log_that_says_how_it_ended_and_event_files(ran: Ran) -> None:
    for trial in read_trials(ran.folder, None).itertuples():
        log = (ran.folder / "logs" / f"{trial.trial_id}.log").read_text()
        assert f" {trial.state}" in log and len(re.findall(r" epoch \d+: val Dice", log)) == trial.epochs
        assert (" stopped at rung " in log) == (trial.state == "STOPPED")
        assert ("Traceback" in log) == (trial.state == "FAILED")
        assert trial.failure in log
        assert list((ran.folder / "tensorboard" / str(trial.trial_id)).glob("events.out.tfevents.*"))


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_was(folder: Path, sent: signal.Signals, code: int) -> None:
    name, log = f"interrupted-{sent.name}", folder / f"{sent.name}.txt"
    with log.open("w") as out:
        process = psutil.Popen(
            command(folder, name, *flags(folder, 6)), stdout=out, stderr=out, env=environment(folder)
        )
        while log.read_text().count("val Dice") < 4 and process.poll() is None:
            time.sleep(0.1)
    sent_at = time.monotonic()
    process.send_signal(sent)
    assert process.wait(30) == code
    assert time.monotonic() - sent_at < 10
    results = folder / "results" / name
    before = read_trials(results)
    assert sent is signal.SIGKILL or set(before["state"]) & {"RUNNING"} == set()
    assert sent is signal.SIGKILL or "--resume" in log.read_text()

    fewer = [] if sent is signal.SIGKILL else ["--lanes", "1"]
    resumed = subprocess.run(
        [sys.executable, "-m", "tune_sa2va.search", "--resume", str(results), *fewer],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = read_trials(results)
    assert len(after) == 6 and set(after["state"]) <= {"COMPLETE", "STOPPED", "FAILED"}
    assert after["trial_id"].tolist()[: len(before)] == before["trial_id"].tolist()
    epochs = read_epochs(results)
    assert not epochs.duplicated(["trial_id", "epoch"]).any()
    assert (epochs.groupby("trial_id")["epoch"].max() == epochs.groupby("trial_id").size()).all()
