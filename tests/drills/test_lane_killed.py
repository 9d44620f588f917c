"""kill -9 of a lane's worker and of a lane's owner: the trial goes on elsewhere, the others do not wait."""

import itertools
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.drills.searches import Ground, family, finish, is_gone, num_epochs, outcome, wait_until
from tune_sa2va.results.records import read_epochs, read_trials

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("lanes")) as ground:
        yield ground


@pytest.mark.slow  # each a whole search with a lane that starts twice: half a minute
@pytest.mark.parametrize("process_name", ["RayTrainWorker", "_Inner"])
def test_a_trial_that_lost_its_lane_goes_on_within_a_minute(process_name: str, ground: Ground) -> None:
    driver = ground.start(process_name, lanes=2, trials=4, epochs=12)
    results = ground.results(process_name)
    wait_until(lambda: num_epochs(results) >= 4, what="four epochs recorded")
    victim = next(process for process in family(driver) if process_name in _name(process))
    left = family(driver)
    killed_at = time.time()
    victim.send_signal(signal.SIGKILL)

    assert finish(driver) == 0, ground.said(process_name)
    trials, epochs = read_trials(results), read_epochs(results)
    assert len(trials) == 4 and set(trials["state"]) <= {"COMPLETE", "STOPPED"}
    assert not epochs.duplicated(["trial_id", "epoch"]).any()
    assert (epochs.groupby("trial_id")["epoch"].max() == epochs.groupby("trial_id").size()).all()
    assert "goes on from its last checkpoint" in ground.said(process_name)
    # Nobody waited a minute: not the trial that moved, not the one beside it.
    ended = sorted(epochs["ended_at"].map(lambda moment: moment.timestamp()))
    after = [moment for moment in ended if moment > killed_at]
    assert after[0] - killed_at < 60 and max(b - a for a, b in itertools.pairwise(after)) < 60
    wait_until(lambda: all(is_gone(process) for process in left), within_s=60, what="no process stays behind")


@pytest.mark.slow  # half a minute
def test_a_lost_lane_is_replaced_though_the_other_takes_its_trial(ground: Ground) -> None:
    """With trials this short the other lane is free before a new one is up. That one comes all the same."""
    driver = ground.start("replaced", lanes=2, trials=40, epochs=1)
    results = ground.results("replaced")
    wait_until(lambda: num_epochs(results) >= 6, what="six epochs recorded")
    next(process for process in family(driver) if "RayTrainWorker" in _name(process)).send_signal(signal.SIGKILL)
    assert finish(driver) == 0, ground.said("replaced")
    assert read_epochs(results).groupby("lane").size()["lane 3"] >= 2


@pytest.mark.slow  # a search that is killed, and its resumption: a minute
def test_a_damaged_checkpoint_is_passed_over(ground: Ground) -> None:
    """Killed, and the last checkpoint cut short: the one before it serves, with a warning."""
    driver = ground.start("cut", trials=1, epochs=6)
    results = ground.results("cut")
    wait_until(lambda: num_epochs(results) >= 3, what="three epochs recorded")
    driver.send_signal(signal.SIGKILL)
    driver.wait(10)
    last = max((results / "ray" / "checkpoints").glob("*/checkpoint_*"))
    optimizer = last / "optimizer.safetensors"
    optimizer.write_bytes(optimizer.read_bytes()[:100])
    assert finish(ground.resume("cut")) == 0, ground.said("cut")
    warnings = read_epochs(results)["warning"]
    assert warnings.str.contains("damaged").any(), warnings.tolist()
    assert outcome(results)[0]["epochs"].tolist() == [6]


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
