"""A name is taken for a hub id only if it can be nothing else; without a network the message says so."""

from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub.constants
import pytest

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.hub import WANTED_FILES, is_hub_id
from tune_sa2va.model.locate import model_folder


@pytest.mark.parametrize("model", ["ByteDance/Sa2VA-4B", "some-one/My.model_2"])
def test_a_hub_id(model: str) -> None:
    assert is_hub_id(model)


@pytest.mark.parametrize("model", ["Sa2VA-4B", "/data/x", "./models/x", "../x", "a/b/c", "a//b", "a/..", "a b/c"])
def test_no_hub_id(model: str) -> None:
    assert not is_hub_id(model)


def test_a_misspelt_path_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder nor a preset"):
        model_folder("models/Sa2VA-9B")


def test_without_a_network_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=r"--model nobody/no-such-model: is not a folder here and cannot be downloaded"
    ):
        model_folder("nobody/no-such-model")


def test_neither_code_nor_pickles_are_fetched() -> None:
    published = ["modeling_sa2va_chat.py", "pytorch_model.bin", "README.md", "model-00001-of-00004.safetensors"]
    published += ["config.json", "tokenizer.model", "vocab.json", "merges.txt", "model.safetensors.index.json"]
    fetched = [name for name in published if any(fnmatch(name, pattern) for pattern in WANTED_FILES)]
    assert fetched == published[3:]
