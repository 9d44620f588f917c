"""kill -9 of the process that drives a search: the resumed search ends as if nothing had been."""

import random
import signal
import time

import pandas as pd
import psutil
import pytest

from tests.drills.searches import Ground, family, finish, is_gone, outcome, wait_until
from tune_sa2va.search.records import read_epochs

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
    before = read_epochs(results) if has_epochs else pd.DataFrame(columns=["trial_id", "epoch", "seconds"])
    wait_until(lambda: all(is_gone(process) for process in left), within_s=120, what="the search's processes are gone")
    again = ground.resume(name) if (results / "search.yaml").exists() else ground.start(name)
    assert finish(again) == 0, ground.said(name)
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file()

    both = before.merge(read_epochs(results), on=["trial_id", "epoch"], suffixes=("_before", "_after"))
    assert len(both) == len(before), "a finished epoch is gone"
    # An epoch that was told again has the seconds of its first run; one that ran again has others.
    again_ran = both[both["seconds_before"] != both["seconds_after"]]
    last = before.groupby("trial_id")["epoch"].max()
    return {"last" if row["epoch"] == last[row["trial_id"]] else "earlier" for row in again_ran.to_dict("records")}


def _assert_equal(got: tuple[pd.DataFrame, pd.DataFrame], whole: tuple[pd.DataFrame, pd.DataFrame, float]) -> None:
    """Value for value."""
    pd.testing.assert_frame_equal(got[0], whole[0])
    pd.testing.assert_frame_equal(got[1], whole[1])
