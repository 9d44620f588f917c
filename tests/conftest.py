"""One feature cache for all tests: the tiny model takes over a second an image, and many tests use the same ones."""

import os
from collections.abc import Iterator

import pytest

from tune_sa2va.cache.place import CACHE_VARIABLE

FEATURES_VARIABLE = "TUNE_SA2VA_TEST_CACHE"
"""A folder to use in place of a new one; `tests.mutants` sets it, whose runs come one after the other."""


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Never the user's own cache. Tests of the cache itself name one of their own."""
    folder = os.environ.get(FEATURES_VARIABLE) or str(tmp_path_factory.getbasetemp() / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, folder)
        yield
