"""Searches whose trials share lanes: they find what trials alone find, also if a worker, owner or host is killed."""

import signal
from collections.abc import Iterator

import pandas as pd
import psutil
import pytest

from tests.drills.searches import Ground, family, finish, is_gone, num_epochs, wait_until
from tune_sa2va.results.records import read_epochs, read_trials

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]

TRIALS, EPOCHS = 5, 3
SPACE = """
fixed: {lora.dropout: 0.1}
space:
  optimizer.lr: {log_uniform: [1.0e-5, 3.0e-3]}
  lora.r: {choice: [8, 64]}
  lora.target_modules: {choice: [[q_proj, k_proj, v_proj, o_proj], [q_proj, v_proj]]}
"""
ALL_RUN = ["--sampler", "random", "--grace-period", str(EPOCHS)]
"""With these flags every search has the same trials, and none is stopped."""

SCORES = ["train_loss", "lr", "grad_norm", "train_dice", "val_dice", "val_iou"]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("seats")) as ground:
        (ground.folder / "space.yaml").write_text(SPACE)
        yield ground


@pytest.fixture(scope="module")
def alone(ground: Ground) -> pd.DataFrame:
    """The epochs of a search with one trial at a time."""
    assert finish(ground.start("alone", *ALL_RUN, trials=TRIALS, epochs=EPOCHS)) == 0, ground.said("alone")
    return read_epochs(ground.results("alone"))


def start(ground: Ground, name: str, *, lanes: int = 1) -> psutil.Popen:
    return ground.start(name, "--trials-per-gpu", "2", *ALL_RUN, trials=TRIALS, epochs=EPOCHS, lanes=lanes)


def check(ground: Ground, name: str, alone: pd.DataFrame) -> pd.DataFrame:
    """Checks that every trial ran to its end and came to what it comes to alone. Returns the epochs."""
    trials, epochs = read_trials(ground.results(name)), read_epochs(ground.results(name))
    assert trials["state"].tolist() == ["COMPLETE"] * TRIALS, ground.said(name)
    found, wanted = (table.set_index(["trial_id", "epoch"])[SCORES].sort_index() for table in (epochs, alone))
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-5, atol=1e-5)
    return epochs


@pytest.mark.parametrize("lanes", [1, 2])
def test_seated_trials_find_what_they_find_alone(lanes: int, ground: Ground, alone: pd.DataFrame) -> None:
    """The space has two kinds of trials, of which only one can sit in a lane at a time."""
    name = f"lanes-{lanes}"
    search = start(ground, name, lanes=lanes)
    assert finish(search) == 0, ground.said(name)
    epochs = check(ground, name, alone)
    assert epochs["seated"].max() == 2
    assert set(epochs["lane"]) <= {f"lane {lane + 1} seat {seat}" for lane in range(lanes) for seat in (1, 2)}


@pytest.mark.parametrize("process_name", ["RayTrainWorker", "_Inner", "_HostProcess"])
def test_whoever_is_killed_the_trials_go_on(process_name: str, ground: Ground, alone: pd.DataFrame) -> None:
    search = start(ground, process_name)
    wait_until(lambda: num_epochs(ground.results(process_name)) >= 4, what="four epochs recorded", of=search)
    left = family(search)
    next(process for process in left if process_name in _name(process)).send_signal(signal.SIGKILL)
    assert finish(search) == 0, ground.said(process_name)
    check(ground, process_name, alone)
    assert "goes on from its last checkpoint" in ground.said(process_name)
    wait_until(lambda: all(is_gone(process) for process in left), within_s=60, what="no process stays behind")


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
