"""A real search's folder, its tables, journal and Ray's state damaged: `--resume` mends it, or says one sentence."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.drills.searches import Ground, finish, outcome
from tests.results.test_damaged_folder import DAMAGES, content_of

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]  # a search of a minute, and most of one for each damage


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepare(tmp_path_factory.mktemp("damaged")) as ground:
        assert finish(ground.start("whole", "--confirm", "0", trials=3, epochs=2)) == 0, ground.said("whole")
        yield ground


def damage(file: Path, how: str) -> None:
    content = DAMAGES[how](file.read_bytes())
    file.unlink()
    if content is not None:
        file.write_bytes(content)


def newest(run: Path, pattern: str) -> Path:
    (found,) = sorted((run / "ray" / "snapshots").glob("[0-9]*"))[-1].glob(pattern)
    return found


WAYS: dict[str, Callable[[Path], object]] = {
    "half a journal": lambda run: damage(run / "optuna.journal", "halved"),
    "no trials.parquet": lambda run: damage(run / "trials.parquet", "removed"),
    "epochs.parquet and split.parquet": lambda run: [
        damage(run / f"{name}.parquet", "flipped" if name == "split" else "emptied") for name in ("epochs", "split")
    ],
    "no names": lambda run: damage(run / "names.parquet", "removed"),
    "the searcher's state": lambda run: damage(newest(run, "searcher-state*"), "halved"),
    "the experiment's state": lambda run: damage(newest(run, "experiment_state*"), "flipped"),
    "Tune's own folder": lambda run: [damage(path, "emptied") for path in (run / "ray" / "tune").glob("*.*")],
    "Tune's notes of epochs": lambda run: [
        damage(path, "halved") for path in (run / "ray" / "tune").rglob("epoch.json")
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_search_is_mended_and_goes_on_to_more_trials(ground: Ground, way: str) -> None:
    name = way.replace(" ", "-").replace("'", "")
    run, whole = ground.results(name), ground.results("whole")
    shutil.copytree(whole, run)
    WAYS[way](run)
    assert finish(ground.resume(name, "--trials", "4")) == 0, ground.said(name)
    assert "Traceback" not in ground.said(name)
    trials, epochs = outcome(run)
    before = outcome(whole)
    pd.testing.assert_frame_equal(trials.iloc[:3], before[0])
    known = epochs[epochs["trial_id"] != "0003"].reset_index(drop=True)
    pd.testing.assert_frame_equal(known, before[1])
    assert len(trials) == 4 and trials["state"].iloc[3] in ("COMPLETE", "STOPPED")
    assert (run / "best_adapter" / "adapter_model.safetensors").is_file()


def test_without_a_whole_state_nothing_is_started_nor_touched(ground: Ground) -> None:
    run = ground.results("lost")
    shutil.copytree(ground.results("whole"), run)
    for path in (run / "ray" / "snapshots").glob("[0-9]*/searcher-state*"):
        damage(path, "flipped")
    before = content_of(run)
    assert finish(ground.resume("lost")) == 2
    said = ground.said("lost")
    assert said.startswith("error[results-folder]: ") and "--warm-start" in said and said.count("\n") == 1
    assert content_of(run) == before
