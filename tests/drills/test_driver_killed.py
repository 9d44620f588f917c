"""kill -9 of the process that drives a search: the resumed search ends as if nothing had been."""

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import optuna
import pandas as pd
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.drills.searches import Ground, family, finish, is_gone, num_epochs, outcome, wait_until
from tune_sa2va.results.records import TrialKind, read_epochs, read_trials

pytestmark = pytest.mark.timeout(1800)

MOMENTS = 10
"""Kills of the long drill, spread over a whole search."""


@dataclass(frozen=True)
class Whole:
    """An uninterrupted search: what it ends with, and when (seconds after its start) each epoch was recorded.

    The first of these is the start itself, the last one the end.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    recorded_s: list[float]

    def moment(self, share: float) -> tuple[int, float]:
        """A moment after a share of the time: how many epochs are recorded then, and the seconds since the last one.

        Not seconds since the start: the killed search may run on a busier machine.
        """
        seconds = share * self.recorded_s[-1]
        epochs = sum(moment_s <= seconds for moment_s in self.recorded_s[1:-1])
        return epochs, seconds - self.recorded_s[epochs]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("killed")) as ground:
        yield ground


@pytest.fixture(scope="module")
def whole(ground: Ground) -> Whole:
    started, recorded_s = time.monotonic(), [0.0]
    search, results = ground.start("whole"), ground.results("whole")
    while search.poll() is None:
        recorded_s += [time.monotonic() - started] * (num_epochs(results) + 1 - len(recorded_s))
        time.sleep(0.1)
    assert search.returncode == 0, ground.said("whole")
    return Whole(*outcome(results), [*recorded_s, time.monotonic() - started])


@pytest.mark.slow  # three searches, and the wait until a killed one is gone: three minutes
def test_the_resumed_search_equals_the_whole_one(ground: Ground, whole: Whole) -> None:
    """Killed in the middle of the second trial, after the first ended; two more are proposed after that."""
    driver = ground.start("middle")
    results = ground.results("middle")
    wait_until(lambda: num_epochs(results) >= 5, what="five epochs recorded")
    ran_again = _kill_and_resume(ground, "middle", driver)
    _assert_equal(outcome(results), whole)
    assert ran_again <= {"last"}


@pytest.mark.slow  # two searches with folds, of which one is killed: five minutes
def test_a_kill_between_the_folds_of_an_epoch_costs_that_epoch_alone(ground: Ground) -> None:
    """Killed in the second epoch of a trial with three folds: tables, and the counts of every image, are as without."""
    asked = {"trials": 2, "epochs": 3, "folds": 3}
    assert finish(ground.start("folds-whole", **asked)) == 0, ground.said("folds-whole")
    driver, results = ground.start("folds", **asked), ground.results("folds")
    wait_until(lambda: num_epochs(results) >= 1, what="an epoch recorded")
    seconds = float(read_epochs(results)["seconds"].iloc[0])
    time.sleep(seconds / 2)  # in the second of the three folds
    ran_again = _kill_and_resume(ground, "folds", driver)
    assert ran_again <= {"last"}
    whole = Whole(*outcome(ground.results("folds-whole")), [])
    _assert_equal(outcome(results), whole)
    for counts in sorted((ground.results("folds-whole") / "val_counts").iterdir()):
        killed = pd.read_parquet(results / "val_counts" / counts.name)
        pd.testing.assert_frame_equal(killed, pd.read_parquet(counts))


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
        finalists = set(reruns["parent"])  # the best two, and the recipe, which may be one of them
        assert "0000" in finalists and len(finalists) in (2, 3)
        assert sorted(reruns["train.seed"]) == sorted([2, 3] * len(finalists))
        assert set(reruns["state"]) == {"COMPLETE"} and set(reruns["epochs"]) == {3}
    study = optuna.load_study(
        study_name="reruns", storage=JournalStorage(JournalFileBackend(str(results / "optuna.journal")))
    )
    assert len(study.trials) == 4


@pytest.mark.slow  # ten searches and their resumptions: about ten minutes
@pytest.mark.parametrize("number", range(MOMENTS))
def test_ten_random_moments(number: int, ground: Ground, whole: Whole) -> None:
    name = f"moment-{number}"
    epochs, then_s = whole.moment(random.Random(number).uniform(number, number + 1) / MOMENTS)
    driver = ground.start(name)
    results = ground.results(name)
    wait_until(lambda: num_epochs(results) >= epochs, what=f"{epochs} epochs recorded")
    time.sleep(then_s)
    print(f"killed after {num_epochs(results)} epochs")
    ran_again = _kill_and_resume(ground, name, driver)
    _assert_equal(outcome(results), whole)
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
    wait_until(lambda: all(is_gone(process) for process in left), within_s=300, what="the search's processes are gone")
    again = ground.resume(name) if (results / "search.yaml").exists() else ground.start(name)
    assert finish(again) == 0, ground.said(name)
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file()

    both = before.merge(read_epochs(results, None), on=["trial_id", "epoch"], suffixes=("_before", "_after"))
    assert len(both) == len(before), "a finished epoch is gone"
    # An epoch that was told again has the seconds of its first run; one that ran again has others.
    again_ran = both[both["seconds_before"] != both["seconds_after"]]
    last = before.groupby("trial_id")["epoch"].max()
    return {"last" if row["epoch"] == last[row["trial_id"]] else "earlier" for row in again_ran.to_dict("records")}


def _assert_equal(got: tuple[pd.DataFrame, pd.DataFrame], whole: Whole) -> None:
    """Value for value."""
    pd.testing.assert_frame_equal(got[0], whole.trials)
    pd.testing.assert_frame_equal(got[1], whole.epochs)
