"""A file system that is really full: the search pauses, all it wrote can be read, and with more room it goes on."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.drills.searches import Ground, finish, wait_until
from tune_sa2va.results.records import read_epochs, read_trials
from tune_sa2va.results.settings import SearchSettings

_MIB = 2**20


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """Its results lie on a file system of 16 MiB: two checkpoints of the recipe fit, a third does not."""
    ground = Ground.prepare(tmp_path)
    (tmp_path / "results").mkdir()
    mounted = _mount("size=16m", ground)
    if mounted.returncode:
        pytest.skip(f"needs a small file system: {mounted.stderr.strip()}")
    yield ground
    subprocess.run(["umount", "--lazy", str(tmp_path / "results")], check=True)


@pytest.mark.slow  # a search and its resumption: a minute
def test_checkpoints_that_fill_the_disk_pause_the_search(ground: Ground) -> None:
    assert finish(ground.start("small", trials=3, epochs=4)) == 75, ground.said("small")
    epochs = _read(ground, "small")
    assert len(epochs) >= 2
    assert not list(ground.results("small").rglob("*.part")), "what was not finished takes no room"
    assert _mount("remount,size=256m", ground).returncode == 0
    _goes_on_to_the_end(ground, "small", before=epochs)


@pytest.mark.slow  # the same
def test_a_disk_that_another_fills_to_the_last_byte(ground: Ground) -> None:
    """Not even the records can be written."""
    assert _mount("remount,size=64m", ground).returncode == 0
    driver = ground.start("other", lanes=2, trials=4, epochs=6)
    results = ground.results("other")
    wait_until(lambda: (results / "epochs.parquet").exists() and len(read_epochs(results)) >= 3, within_s=240, what="3")
    filler = ground.folder / "results" / "filler"
    _fill(filler)
    assert finish(driver) == 75, ground.said("other")
    epochs = _read(ground, "other")
    filler.unlink()
    _goes_on_to_the_end(ground, "other", before=epochs)


def _read(ground: Ground, name: str) -> pd.DataFrame:
    """The epochs of a paused search; all of its files can be read."""
    said = ground.said(name)
    assert "Paused: " in said and "is full" in said and "--resume" in said and "Traceback" not in said, said
    results = ground.results(name)
    assert SearchSettings.load(results).name == name
    assert set(read_trials(results)["state"]) <= {"COMPLETE", "STOPPED", "RUNNING", "WAITING"}
    return read_epochs(results)


def _goes_on_to_the_end(ground: Ground, name: str, *, before: pd.DataFrame) -> None:
    assert finish(ground.resume(name)) == 0, ground.said(name)
    results = ground.results(name)
    trials, epochs = read_trials(results), read_epochs(results)
    assert len(trials) == SearchSettings.load(results).trials
    assert set(trials["state"]) <= {"COMPLETE", "STOPPED"}
    assert not epochs.duplicated(["trial_id", "epoch"]).any()
    assert (epochs.groupby("trial_id")["epoch"].max() == epochs.groupby("trial_id").size()).all()
    assert len(before.merge(epochs, on=["trial_id", "epoch"])) == len(before), "a finished epoch is gone"
    assert (results / "best_adapter" / "adapter_model.safetensors").is_file()


def _mount(options: str, ground: Ground) -> subprocess.CompletedProcess[str]:
    place = str(ground.folder / "results")
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)


def _fill(file: Path) -> None:
    """Writes until nothing more fits, in ever smaller pieces."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (_MIB, 4096, 1):
            try:
                while os.write(descriptor, bytes(size)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    finally:
        os.close(descriptor)
