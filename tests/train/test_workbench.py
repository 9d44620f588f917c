"""A lane trains on the training part and validates on the validation part."""

from pathlib import Path

from tests.train.bench import lane_settings
from tune_sa2va.data.split_file import read_split
from tune_sa2va.train.workbench import Workbench


def test_each_part_is_the_splits(bench: Workbench, folder: Path) -> None:
    of_part = {
        part: {sample.name for sample in read_split(folder, lane_settings(folder).data) if sample.split == part}
        for part in ("train", "val", "test")
    }
    assert {sample.name for sample in bench.train.samples} == of_part["train"]
    assert {sample.name for sample in bench.val.samples} == of_part["val"]
    assert all(of_part.values())
