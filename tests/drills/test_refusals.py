"""What a search does when trials cannot run: no memory, always the same failure, two searches with one name."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.drills.searches import Ground, finish, wait_until
from tune_sa2va.results.lock import is_locked
from tune_sa2va.results.records import read_trials

pytestmark = pytest.mark.timeout(1800)

HOOKS = Path(__file__).parent / "hooks"
"""A folder for PYTHONPATH whose `sitecustomize.py` makes training steps fail."""


def hooked(drill: str) -> dict[str, str]:
    """Environment of a search whose workers the hook breaks."""
    places = [str(HOOKS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {"PYTHONPATH": os.pathsep.join(place for place in places if place), "DRILL": drill}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("refusals")) as ground:
        yield ground


@pytest.mark.slow  # four processes one after the other: a minute and a half
def test_a_second_process_is_refused_and_a_stale_lock_is_not_one(ground: Ground) -> None:
    first = ground.start("one", trials=2, epochs=2)
    results = ground.results("one")
    wait_until(lambda: is_locked(results), within_s=60, what="the search holds its lock")
    assert finish(ground.resume("one")) == 2
    assert f"process {first.pid} on " in ground.said("one") and "is running this search" in ground.said("one")
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert not is_locked(results)
    assert finish(ground.resume("one")) == 0, ground.said("one")
    assert len(read_trials(results)) == 2
    assert finish(ground.resume("one", "--trials", "3")) == 0, ground.said("one")
    extended = read_trials(results)
    assert len(extended) == 3 and set(extended["state"]) <= {"COMPLETE", "STOPPED"}


@pytest.mark.slow  # a search and its resumption: a minute
def test_a_search_over_its_disk_pauses_and_goes_on_with_more(ground: Ground) -> None:
    paused = ground.start("disk", "--max-disk", "0.001", trials=2, epochs=2)
    assert finish(paused) == 75, ground.said("disk")
    said = ground.said("disk")
    assert "Paused:" in said and "--max-disk allows 0.001" in said and "--resume" in said and "Traceback" not in said
    assert finish(ground.resume("disk", "--max-disk", "1")) == 0, ground.said("disk")
    trials = read_trials(ground.results("disk"))
    assert len(trials) == 2 and set(trials["state"]) <= {"COMPLETE", "STOPPED"}


@pytest.mark.slow  # a search of its own: 30 s
def test_too_large_trials_are_infeasible_and_smaller_micro_batches_come_first(ground: Ground) -> None:
    """The hook: rank 64 never fits; of the others, a micro-batch above 1 does not."""
    space = ground.folder / "batches.yaml"
    space.write_text(
        "fixed: {train.micro_batch_size: 2}\nspace:\n  lora.r: {choice: [8, 64]}\n"
        "  optimizer.lr: {log_uniform: [1.0e-5, 1.0e-3]}\n"
    )
    extra = hooked("no memory for rank 64")
    process = ground.start("memory", "--space", str(space), trials=6, epochs=2, extra=extra)
    assert finish(process) == 0, ground.said("memory")
    trials = read_trials(ground.results("memory"))
    large = trials["lora.r"] == 64
    assert set(trials["state"][large]) == {"FAILED"} and trials["failure"][large].str.contains("Out of memory").all()
    assert large.any() and not large.all() and set(trials["state"][~large]) <= {"COMPLETE", "STOPPED"}
    study = optuna.load_study(
        study_name="memory",
        storage=JournalStorage(JournalFileBackend(str(ground.results("memory") / "optuna.journal"))),
    )
    broken = [trial.params["lora.r"] for trial in study.trials if any(v > 0 for v in trial.constraints.values())]
    assert broken == [64] * int(large.sum())


@pytest.mark.slow  # a search of its own: 30 s
def test_the_same_failure_again_and_again_ends_the_search(ground: Ground) -> None:
    extra = hooked("always broken")
    process = ground.start("broken", trials=30, epochs=2, extra=extra)
    assert finish(process) == 1
    trials = read_trials(ground.results("broken"))
    assert len(trials) == 5 and set(trials["state"]) == {"FAILED"}
    assert trials["failure"].str.contains("the drill broke this step").all()
    assert "the drill broke this step" in ground.said("broken") and "Traceback" not in ground.said("broken")
