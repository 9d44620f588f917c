"""Where a model's files lie: a preset inside the package, a folder on this machine, or a hub that the user names."""

from pathlib import Path

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.hub import download, is_hub_id

_PRESETS = Path(__file__).parent / "presets"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
# Ships a small tokenizer with Sa2VA's special tokens; its ids fit every preset's vocabulary.
_TOKENIZER_PRESET = "tiny"


def preset_names() -> tuple[str, ...]:
    """The presets that the package ships."""
    return tuple(sorted(folder.name for folder in _PRESETS.iterdir() if folder.is_dir()))


def is_preset(folder: Path) -> bool:
    """Whether `folder` is a preset's: only there may weights and tokenizer be absent."""
    return folder.parent == _PRESETS


def model_folder(model: str) -> Path:
    """The folder of a preset's name, of a path, or of a hub's `organisation/name` (fetched once, then cached).

    Raises:
        CheckpointError: none of these, or the hub does not give it.
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
    """Where the tokenizer of the model in `folder` lies: there, or in `tiny` for a preset of dimensions alone.

    Raises:
        CheckpointError: a checkpoint without tokenizer files.
    """
    if any((folder / name).exists() for name in _TOKENIZER_FILES):
        return folder
    if is_preset(folder):
        return _PRESETS / _TOKENIZER_PRESET
    raise CheckpointError(f"{folder}: has no tokenizer files. Copy them from the Sa2VA checkpoint.")
