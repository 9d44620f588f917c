"""Answers that were worked out before: shapes, code and settings that are the same give the same answer.

Memory is found by rehearsing a step of the whole model on tensors without content, a quarter of a minute for each image
size; and to import torch and transformers alone takes seconds. So an answer is kept, beside the features.
"""

import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tune_sa2va
from tune_sa2va.cache.place import cache_folder
from tune_sa2va.durable import write_whole

_LIBRARIES = ("torch", "transformers", "peft")
_TOLD_BY = ("*.json", "*.safetensors")
"""Files of a model that say its shapes: of the second kind only the names and sizes."""


def key_of(model: Path, *question: object) -> str:
    """A name for the answer to a question about the model in the folder `model`."""
    digest = hashlib.sha256(repr(question).encode())
    for part in _told(model):
        digest.update(part)
    return digest.hexdigest()[:40]


def kept_answer(key: str) -> str | None:
    """The text that was printed then; None where nothing was kept."""
    try:
        return _file(key).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def keep(key: str, answer: str) -> None:
    """For the next time. Where nothing can be kept, the next one is worked out again."""
    try:
        _file(key).parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(key), answer.encode())
    except OSError:
        return


def _file(key: str) -> Path:
    return cache_folder() / "inspect" / f"{key}.txt"


def _told(model: Path) -> Iterator[bytes]:
    for library in _LIBRARIES:
        yield f"{library} {metadata.version(library)}".encode()
    for file in sorted(Path(tune_sa2va.__file__).parent.rglob("*.py")):
        yield file.read_bytes()
    for pattern in _TOLD_BY:
        for file in sorted(model.glob(pattern)):
            yield file.name.encode()
            yield file.read_bytes() if file.suffix == ".json" else str(file.stat().st_size).encode()
