"""One feature cache for all tests: the tiny model needs over a second per image, and many tests use the same images.

`make test` runs two files at a time (pytest-xdist), each process with one thread, to keep two cores busy.
"""

import os
import signal
from collections.abc import Iterator

import pytest

from tune_sa2va.cache.place import CACHE_VARIABLE

# In the background of a script, or by nohup, these are ignored, and so they would be in the commands under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

IS_ONE_OF_SEVERAL = "PYTEST_XDIST_WORKER" in os.environ
if IS_ONE_OF_SEVERAL:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

FEATURES_VARIABLE = "TUNE_SA2VA_TEST_CACHE"
"""A folder to use in place of a new one; `tests.mutants` sets it, whose runs come one after the other."""


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never use the user's cache. Tests of the cache itself set their own."""
    base = tmp_path_factory.getbasetemp()
    together = base.parent if IS_ONE_OF_SEVERAL else base  # a worker's own folder lies in that of all
    folder = os.environ.get(FEATURES_VARIABLE) or str(together / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, folder)
        yield
