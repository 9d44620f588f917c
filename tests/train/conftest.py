"""One small real workbench that all tests of training share; each leaves it as it found it."""

from pathlib import Path

import pytest

from tests.train.bench import lane_settings
from tune_sa2va.data.split_file import read_names
from tune_sa2va.train.workbench import Workbench


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the workbench's data and split."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="session")
def bench(folder: Path) -> Workbench:
    settings = lane_settings(folder)
    return Workbench.open(settings, read_names(folder), rank=0, world_size=1)
