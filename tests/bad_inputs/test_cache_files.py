"""Damaged files of the feature cache: each is encoded again with a warning, and scores are as without damage."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.data.making import save_pair
from tune_sa2va import cli
from tune_sa2va.cache.feature_file import DATA_START, write
from tune_sa2va.cache.store import FeatureCache
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.sa2va import ImageFeatures


def _of_another_model(path: Path) -> None:
    """Sound in itself, of half the width."""
    with path.open("wb") as file:
        shapes = ((256, 64), (8, 16, 16), (4, 32, 32), (2, 64, 64))
        write(file, ImageFeatures(*(torch.zeros(shape) for shape in shapes)), torch.float32)


def _deep_header(path: Path) -> None:
    path.write_bytes((DATA_START - 8).to_bytes(8, "little") + b"[" * (DATA_START - 8))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut off in the header": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "garbage": lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
    "brackets": _deep_header,
    "of another model": _of_another_model,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _run(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["tune-sa2va", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    shown = capsys.readouterr()
    assert left.value.code == 0, shown
    return shown.out


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_encoded_again(
    damage: Callable[[Path], object],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TUNE_SA2VA_CACHE", str(cache))
    save_pair(tmp_path / "data", "one.png", 0)
    evaluate = ["evaluate", "--model", "tiny", "--data", str(tmp_path / "data"), "--json"]
    whole = json.loads(_run(evaluate, capsys, monkeypatch))
    (file,) = (cache / "features").glob("*/*.safetensors")
    damage(file)
    assert json.loads(_run(evaluate, capsys, monkeypatch)) == whole
    assert str(file) in caplog.text and "encoded again" in caplog.text


@pytest.mark.parametrize("name", ["cache.json", "wanted-0123456789abcdef.txt"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"[" * 100_000])
def test_a_damaged_list_of_the_cache_stops_no_command(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNE_SA2VA_CACHE", str(tmp_path))
    folder = model_folder("tiny")
    FeatureCache(tmp_path / "features", folder, torch.float32, raw_high_res=False).close()
    (base,) = (tmp_path / "features").iterdir()
    (base / name).write_bytes(content)
    _run(["cache", "ls"], capsys, monkeypatch)
    FeatureCache(tmp_path / "features", folder, torch.float32, raw_high_res=False).close()
    assert "tiny" in _run(["cache", "ls"], capsys, monkeypatch)
