"""One small search for all tests of exports."""

from pathlib import Path

import pytest

from tests.export.search_folder import make_search


@pytest.fixture(scope="session")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_search(tmp_path_factory.mktemp("search"))
