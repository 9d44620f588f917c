import shutil
from pathlib import Path

import pytest

from tune_sa2va.lane import store, trainable


@pytest.fixture
def folders_for_refs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes checkpoints as the name of a folder, not through Ray's object store, so that a test needs no Ray."""

    def copy(checkpoint: tuple[Path, ...], folder: Path) -> None:
        shutil.copytree(checkpoint[0], folder)

    monkeypatch.setattr(store, "unpack_folder", copy)
    monkeypatch.setattr(trainable, "pack_folder", lambda folder: (folder,))
