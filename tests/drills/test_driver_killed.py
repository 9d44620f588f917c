"""kill -9 of the process that drives a search: the resumed search ends as if nothing had been."""

import random
import signal
import time

import optuna
import pandas as pd
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.drills.searches import Ground, family, finish, is_gone, outcome, wait_until
from tune_sa2va.search.records import TrialKind, read_epochs, read_trials

MOMENTS = 10
"""Kills of the long drill, spread over a whole search."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground.prepare(tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def whole(ground: Ground) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """What an uninterrupted search ends with, and its seconds."""
    started = time.monotonic()
    assert finish(ground.start("whole")) == 0, ground.said("whole")
    return *outcome(ground.results("whole")), time.monotonic() - started


@pytest.mark.slow  # three searches, and the wait until a killed one is gone: three minutes
def test_the_resumed_search_equals_the_whole_one(
    ground: Ground, whole: tuple[pd.DataFrame, pd.DataFrame, float]
) -> None:
    """Killed in the middle of the second trial, after the first ended; two more are proposed after that."""
    driver = ground.start("middle")
    results = ground.results("middle")
    wait_until(
        lambda: (results / "epochs.parquet").exists() and len(read_epochs(results)) >= 5,
        within_s=120,
        what="five epochs recorded",
    )
    ran_again = _kill_and_resume(ground, "middle", driver)
    _assert_equal(outcome(results), whole)
    assert ran_again <= {"last"}


@pytest.mark.slow  # two searches of which one is killed: three minutes
def test_a_kill_among_the_reruns_repeats_and_forgets_none(ground: Ground) -> None:
    """Killed while the best are run again in two lanes; what follows is as in a search that nobody killed."""
    asked = ("--lanes", "2", "--confirm", "2", "--seeds", "2")
    assert finish(ground.start("reruns-whole", *asked)) == 0, ground.said("reruns-whole")
    driver, results = ground.start("reruns", *asked), ground.results("reruns")
    wait_until(
        lambda: len(read_trials(results, TrialKind.CONFIRMATION)) >= 3,
        within_s=240,
        what="three reruns started",
    )
    ran_again = _kill_and_resume(ground, "reruns", driver)
    assert ran_again <= {"last"}
    trials, whole = (outcome(ground.results(name))[0] for name in ("reruns", "reruns-whole"))
    assert set(trials["trial_id"][trials["kind"] == "search"]) == {"0000", "0001", "0002", "0003"}
    for each in (trials, whole):
        reruns = each[each["kind"] == "confirmation"]
        assert sorted(reruns["train.seed"]) == [2, 2, 3, 3] and reruns["parent"].nunique() == 2
        assert set(reruns["state"]) == {"COMPLETE"} and set(reruns["epochs"]) == {3}
    study = optuna.load_study(
        study_name="reruns", storage=JournalStorage(JournalFileBackend(str(results / "optuna.journal")))
    )
    assert len(study.trials) == 4


@pytest.mark.slow  # ten searches and their resumptions: about ten minutes
@pytest.mark.parametrize("number", range(MOMENTS))
def test_ten_random_moments(number: int, ground: Ground, whole: tuple[pd.DataFrame, pd.DataFrame, float]) -> None:
    name = f"moment-{number}"
    moment_s = random.Random(number).uniform(number, number + 1) / MOMENTS * whole[2]
    driver = ground.start(name)
    time.sleep(moment_s)
    ran_again = _kill_and_resume(ground, name, driver)
    _assert_equal(outcome(ground.results(name)), whole)
    assert ran_again <= {"last"}


def _kill_and_resume(ground: Ground, name: str, driver: psutil.Popen) -> set[str]:
    """Kills the driver, sees its processes go, resumes to the end.

    Gives back which epochs ran again: "last" of a trial, "earlier" ones, or none.
    """
    left = family(driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait(10)
    results = ground.results(name)
    has_epochs = (results / "epochs.parquet").exists()
    before = read_epochs(results, None) if has_epochs else pd.DataFrame(columns=["trial_id", "epoch", "seconds"])
    wait_until(lambda: all(is_gone(process) for process in left), within_s=120, what="the search's processes are gone")
    again = ground.resume(name) if (results / "search.yaml").exists() else ground.start(name)
    assert finish(again) == 0, ground.said(name)
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file()

    both = before.merge(read_epochs(results, None), on=["trial_id", "epoch"], suffixes=("_before", "_after"))
    assert len(both) == len(before), "a finished epoch is gone"
    # An epoch that was told again has the seconds of its first run; one that ran again has others.
    again_ran = both[both["seconds_before"] != both["seconds_after"]]
    last = before.groupby("trial_id")["epoch"].max()
    return {"last" if row["epoch"] == last[row["trial_id"]] else "earlier" for row in again_ran.to_dict("records")}


def _assert_equal(got: tuple[pd.DataFrame, pd.DataFrame], whole: tuple[pd.DataFrame, pd.DataFrame, float]) -> None:
    """Value for value."""
    pd.testing.assert_frame_equal(got[0], whole[0])
    pd.testing.assert_frame_equal(got[1], whole[1])
