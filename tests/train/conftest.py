"""One small real workbench for all tests of training: they give it back as they got it."""

from pathlib import Path

import pytest

from tests.train.bench import lane_settings
from tune_sa2va.data.split_file import read_names
from tune_sa2va.train.workbench import Workbench


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bench's data, split and features lie."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="session")
def bench(folder: Path) -> Workbench:
    settings = lane_settings(folder)
    return Workbench.open(settings, read_names(folder), rank=0, world_size=1)
