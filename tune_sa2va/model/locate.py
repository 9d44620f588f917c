"""Finds a model's files: a preset inside the package, a folder on this machine, or a checkpoint on the hub."""

from pathlib import Path

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.hub import download, is_hub_id

_PRESETS = Path(__file__).parent / "presets"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
# This preset has a small tokenizer with Sa2VA's special tokens; its ids fit every preset's vocabulary.
_TOKENIZER_PRESET = "tiny"


def preset_names() -> tuple[str, ...]:
    """The names of the presets in the package."""
    return tuple(sorted(folder.name for folder in _PRESETS.iterdir() if folder.is_dir()))


def is_preset(folder: Path) -> bool:
    """Whether `folder` is that of a preset. Only a preset may lack weights and a tokenizer."""
    return folder.parent == _PRESETS


def model_folder(model: str) -> Path:
    """The model's folder. model: a preset's name, a path, or `organisation/name` on the hub (downloaded once, cached).

    Raises:
        CheckpointError: it is none of these, or cannot be downloaded.
    """
    if model in preset_names():
        return _PRESETS / model
    folder = Path(model)
    if folder.is_dir():
        return folder
    if is_hub_id(model):
        return download(model)
    raise CheckpointError(
        f"--model {model}: neither a folder nor a preset ({', '.join(preset_names())}). "
        "Give the folder of a Sa2VA checkpoint on this machine."
    )


def tokenizer_folder(folder: Path) -> Path:
    """The folder with the tokenizer of the model in `folder`: the same, or that of `tiny` for a preset without one.

    Raises:
        CheckpointError: a checkpoint has no tokenizer files.
    """
    if any((folder / name).exists() for name in _TOKENIZER_FILES):
        return folder
    if is_preset(folder):
        return _PRESETS / _TOKENIZER_PRESET
    raise CheckpointError(f"{folder}: has no tokenizer files. Copy them from the Sa2VA checkpoint.")
