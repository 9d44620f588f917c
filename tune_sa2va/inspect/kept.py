"""Keeps answers of `inspect`. The same shapes, code and settings always give the same answer.

Importing torch and transformers takes seconds, and to predict memory a step of the whole model is run on fake tensors,
which takes 15 s for each image size. So answers are kept in the cache folder.
"""

import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tune_sa2va
from tune_sa2va.cache.place import cache_folder
from tune_sa2va.durable import write_whole

_LIBRARIES = ("torch", "transformers", "peft")
_SHAPE_FILES = ("*.json", "*.safetensors")
"""Files of a model that determine its shapes. Of safetensors files only names and sizes are used."""


def key_of(model: Path, *question: object) -> str:
    """A key for the answer to `question` about the model in the folder `model`."""
    digest = hashlib.sha256(repr(question).encode())
    for part in _inputs(model):
        digest.update(part)
    return digest.hexdigest()[:40]


def kept_answer(key: str) -> str | None:
    """The text that was kept under `key`; None if there is none."""
    try:
        return _file(key).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def keep(key: str, answer: str) -> None:
    """Keeps an answer. Does nothing if the folder cannot be written; the answer is then computed again next time."""
    try:
        _file(key).parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(key), answer.encode())
    except OSError:
        return


def _file(key: str) -> Path:
    return cache_folder() / "inspect" / f"{key}.txt"


def _inputs(model: Path) -> Iterator[bytes]:
    """What an answer depends on besides the question: versions, this package's code and the model's files."""
    for library in _LIBRARIES:
        yield f"{library} {metadata.version(library)}".encode()
    for file in sorted(Path(tune_sa2va.__file__).parent.rglob("*.py")):
        yield file.read_bytes()
    for pattern in _SHAPE_FILES:
        for file in sorted(model.glob(pattern)):
            yield file.name.encode()
            yield file.read_bytes() if file.suffix == ".json" else str(file.stat().st_size).encode()
