import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tune_sa2va.lane import store, trainable
from tune_sa2va.search.cluster import start_own_ray


@pytest.fixture(scope="package")
def own_ray() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    start_own_ray(num_cpus=4, num_gpus=0)
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)  # ray.init has set its own


@pytest.fixture(autouse=True)
def ray_where_it_is_asked(request: pytest.FixtureRequest) -> None:
    """Starts Ray for every test of this folder that does not use `folders_for_refs`."""
    if "folders_for_refs" not in request.fixturenames:
        request.getfixturevalue("own_ray")


@pytest.fixture
def folders_for_refs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes checkpoints as the name of a folder, not through Ray's object store, so that a test needs no Ray."""

    def copy(checkpoint: tuple[Path, ...], folder: Path) -> None:
        shutil.copytree(checkpoint[0], folder)

    monkeypatch.setattr(store, "unpack_folder", copy)
    monkeypatch.setattr(trainable, "pack_folder", lambda folder: (folder,))
