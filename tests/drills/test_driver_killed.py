"""kill -9 of the process that drives a search: the resumed search ends as if nothing had been."""

import random
import signal
import time
from pathlib import Path

import pandas as pd
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


def test_the_resumed_search_equals_the_whole_one(
    ground: Ground, whole: tuple[pd.DataFrame, pd.DataFrame, float]
) -> None:
    """Killed in the middle of the third trial, after the first two ended."""
    driver = ground.start("middle")
    epochs = Path("epochs.parquet")
    wait_until(
        lambda: (ground.results("middle") / epochs).exists() and len(read_epochs(ground.results("middle"))) >= 5,
        within_s=120,
        what="five epochs recorded",
    )
    _kill_and_compare(ground, "middle", driver, whole)


@pytest.mark.slow  # ten searches and their resumptions: about ten minutes
@pytest.mark.parametrize("number", range(MOMENTS))
def test_ten_random_moments(number: int, ground: Ground, whole: tuple[pd.DataFrame, pd.DataFrame, float]) -> None:
    moment_s = random.Random(number).uniform(number, number + 1) / MOMENTS * whole[2]
    driver = ground.start(f"moment-{number}")
    time.sleep(moment_s)
    _kill_and_compare(ground, f"moment-{number}", driver, whole)


def _kill_and_compare(
    ground: Ground, name: str, driver: object, whole: tuple[pd.DataFrame, pd.DataFrame, float]
) -> None:
    left = family(driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait(10)
    results = ground.results(name)
    before = read_epochs(results) if results.exists() else pd.DataFrame(columns=["trial_id", "epoch", "seconds"])
    wait_until(lambda: all(is_gone(process) for process in left), within_s=120, what="the search's processes are gone")
    again = ground.resume(name) if (results / "search.yaml").exists() else ground.start(name)
    assert finish(again) == 0, ground.said(name)

    for got, wanted in zip(outcome(results), whole[:2], strict=True):
        pd.testing.assert_frame_equal(got, wanted)
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file()
    _only_last_epochs_ran_again(before, read_epochs(results))


def _only_last_epochs_ran_again(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """An epoch that was told again has the seconds of its first run; one that ran again has others."""
    both = before.merge(after, on=["trial_id", "epoch"], suffixes=("_before", "_after"))
    assert len(both) == len(before)
    again = both[both["seconds_before"] != both["seconds_after"]]
    last = before.groupby("trial_id")["epoch"].max()
    assert all(row["epoch"] == last[row["trial_id"]] for row in again.to_dict("records")), again
