"""What a worker replies when a trial fails on its data: a real trial on images that became unreadable."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.making import save
from tests.train.bench import lane_settings
from tune_sa2va.config import RECIPE, LaneSettings
from tune_sa2va.data.failure_words import FailureWords
from tune_sa2va.data.split_file import Names, read_names
from tune_sa2va.lane.messages import RunEpoch, StartTrial
from tune_sa2va.lane.worker import _Worker
from tune_sa2va.train.workbench import Workbench

pytestmark = pytest.mark.usefixtures("folders_for_refs")


@pytest.fixture
def settings(tmp_path: Path) -> LaneSettings:
    return lane_settings(tmp_path)


@pytest.fixture
def names(settings: LaneSettings, tmp_path: Path) -> Names:
    return read_names(tmp_path)


def reply_of(settings: LaneSettings, names: Names, spoil: object) -> tuple[str, str, str]:
    """The failure of the first epoch after `spoil` of each training image and mask, its traceback and its kind."""
    bench = Workbench.open(settings, names, rank=0, world_size=1)
    worker = _Worker(bench, FailureWords.of(names, settings.data, bench.samples), 0)
    assert worker.handle(StartTrial(config=RECIPE.replace({"train.epochs": 1, "lora.r": 4}))).failure == ""
    for sample in bench.samples:
        spoil(sample)  # type: ignore[operator]
    answer = worker.handle(RunEpoch())
    return answer.failure, answer.traceback, answer.kind


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (lambda sample: sample.mask.write_bytes(b"none"), "DataError", "cannot be read as an image"),
        (lambda sample: save(sample.mask, np.zeros((5, 6), np.uint8)), "SizeMismatchError", "its mask 6 x 5"),
        (lambda sample: sample.mask.unlink(), "DataGoneError", "there is no such file"),
        (lambda sample: sample.image.unlink(), "DataGoneError", "cannot be read (No such file or directory)"),
    ],
    ids=["broken mask", "mask of another size", "mask gone", "image gone"],
)
def test_a_failure_by_data_names_a_code_and_its_kind(
    settings: LaneSettings, names: Names, tmp_path: Path, spoil: object, kind: str, said: str
) -> None:
    failure, told, found = reply_of(settings, names, spoil)
    assert found == kind and said in failure and "img-" in failure
    for text in (failure, told):
        assert str(tmp_path) not in text
        assert not any(Path(row["name"]).stem in text for row in names)
    assert told.startswith("Traceback") and "evaluate/examples.py" in told
