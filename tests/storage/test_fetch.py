"""Fetching a copy: checksums, and manifests that a stranger wrote."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.storage.scene import NAME, Running, Storage, contents, one_pass
from tune_sa2va.errors import ResultsError
from tune_sa2va.storage.fetch import fetch
from tune_sa2va.storage.results_copy import ResultsCopy


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    running = Running(tmp_path / "results" / NAME)
    for _ in range(2):
        running.step()
    one_pass(ResultsCopy(running.folder, Storage(tmp_path / "bucket")))
    return tmp_path / "bucket"


def _fetch(storage: Path) -> Path:
    return fetch(f"file://{storage}/{NAME}", storage.parent / "out")


def test_it_is_there_whole_or_not_at_all(storage: Path) -> None:
    assert contents(_fetch(storage)) == contents(storage.parent / "results" / NAME)
    with pytest.raises(ResultsError, match=r"out/vessels exists already\. Go on with it by --resume .*out/vessels, or"):
        _fetch(storage)


@pytest.mark.parametrize("size", ["same", "shorter", "longer"])
def test_a_damaged_file_is_named(size: str, storage: Path) -> None:
    file = storage / NAME / "ray/checkpoints/0000/checkpoint_0002/state.json"
    content = file.read_bytes()
    file.write_bytes({"same": b"X" + content[1:], "shorter": content[:-1], "longer": content + b"x"}[size])
    with pytest.raises(ResultsError, match=r"checkpoint_0002/state\.json is damaged .* Put back an earlier version"):
        _fetch(storage)
    assert not list((storage.parent / "out").iterdir())


def test_a_missing_file_is_named(storage: Path) -> None:
    (storage / NAME / "optuna.journal").unlink()
    with pytest.raises(ResultsError, match=r"optuna\.journal is missing"):
        _fetch(storage)


@pytest.mark.parametrize(
    "path", ["../outside", "/tmp/outside", "a/../../outside", "a//b", "", ".", "a\0b", "./a", ".."]
)
@pytest.mark.parametrize("which", ["path", "stored"])
def test_a_manifest_cannot_lead_out_of_its_folder(which: str, path: str, storage: Path) -> None:
    file = {"stored": "search.yaml", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    files = {path: file} if which == "path" else {"x": file | {"stored": path}}
    _write_manifest(storage, {"version": 1, "files": files})
    with pytest.raises(ResultsError, match=r"was not written by this version of tune_sa2va: .* leads elsewhere"):
        _fetch(storage)
    assert not (storage.parent / "out" / NAME).exists() and not (storage.parent / "outside").exists()


def test_a_manifest_of_a_later_version(storage: Path) -> None:
    _write_manifest(storage, {"version": 2, "files": {}})
    with pytest.raises(ResultsError, match="was not written by this version"):
        _fetch(storage)


def _write_manifest(storage: Path, manifest: object) -> None:
    """Writes a manifest with a correct checksum."""
    content = json.dumps(manifest).encode()
    name = f"000009-{hashlib.sha256(content).hexdigest()}.json"
    (storage / NAME / "ray" / "copy" / name).write_bytes(content)
