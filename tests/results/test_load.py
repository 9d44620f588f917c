"""A results folder as pandas frames."""

from pathlib import Path

import pytest

from tests.report import making
from tests.watch.runs import settings_in, start
from tune_sa2va import load_results
from tune_sa2va.errors import UserError
from tune_sa2va.results.records import RunRecords


def test_a_folder_is_its_frames(tmp_path: Path) -> None:
    making.settings(tmp_path / "run", tmp_path / "data")
    samples = making.data_set(tmp_path / "data")
    making.write_split(tmp_path / "run", samples)
    making.score(tmp_path / "run", samples)
    records = RunRecords.open(tmp_path / "run")
    start(records, 0, 0.5, 0.6)
    start(records, 1, 0.7, parent="0000")
    results = load_results(tmp_path / "run")
    assert results.trials["trial_id"].tolist() == ["0000"] and results.reruns["trial_id"].tolist() == ["0000-seed1"]
    assert results.epochs["val_dice"].tolist() == [0.5, 0.6]
    assert results.split["split"].value_counts().to_dict() == {"test": 6, "train": 4}
    assert set(results.test_scores["row"]) == {"untuned base", "recipe", "winner"} and results.winner is None
    assert not {"name", "group"} & set(results.split.columns)


def test_what_is_not_there_yet_is_empty_and_damage_is_named(tmp_path: Path) -> None:
    folder = settings_in(tmp_path).folder
    results = load_results(str(folder))
    assert results.test_scores.empty and results.split.empty and results.trials.empty and results.winner is None
    (folder / "split.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"split\.parquet: cannot be read"):
        load_results(folder)
    with pytest.raises(UserError, match="no results of a search"):
        load_results(tmp_path / "absent")
