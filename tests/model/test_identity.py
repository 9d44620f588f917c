"""The hash of a base model depends on its content, also for large files and presets without weights."""

from pathlib import Path

import pytest

from tune_sa2va.model.identity import model_hash
from tune_sa2va.model.locate import model_folder, preset_names


def test_the_hash_follows_the_weights_large_ones_too(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with file.open("wb") as large:
        large.truncate(65 * 2**20)
    (tmp_path / "README.md").write_text("no part of the model")
    before = model_hash(tmp_path)
    (tmp_path / "README.md").write_text("changed")
    assert model_hash(tmp_path) == before
    hashes = {before}
    for place in (0, 65 * 2**20 - 1):
        with file.open("r+b") as large:
            large.seek(place)
            large.write(b"x")
        hashes.add(model_hash(tmp_path))
    file.rename(tmp_path / "other.safetensors")
    hashes.add(model_hash(tmp_path))
    assert len(hashes) == 4


@pytest.mark.parametrize("preset", preset_names())
def test_presets_without_weights_have_a_hash_too(preset: str) -> None:
    assert len(model_hash(model_folder(preset))) == 64


def test_no_two_presets_share_a_hash() -> None:
    assert len({model_hash(model_folder(preset)) for preset in preset_names()}) == len(preset_names())
