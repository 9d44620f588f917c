"""One hash of a base model's content, for `environment.json`, for exports and for the feature cache's key."""

import hashlib
import json
from pathlib import Path

_WHOLE_BYTES = 64 * 2**20
"""Files up to this size are hashed whole."""
_NUM_SAMPLES = 256
_SAMPLE_BYTES = 64 * 2**10


def model_hash(folder: Path) -> str:
    """SHA-256 over the names, sizes and contents of a model folder's .json and .safetensors files.

    Files over 64 MiB are sampled, as hashing 16 GB would take a minute: their first and last 64 KiB (the first holds a
    safetensors file's index) and 254 pieces evenly between them. This detects another training of all weights.
    For a preset without weights the dimensions are enough: its weights follow from them and a fixed seed.
    """
    total = hashlib.sha256()
    for name, content in model_files(folder).items():
        total.update(json.dumps([name, (folder / name).stat().st_size, content]).encode())
    return total.hexdigest()


def model_files(folder: Path) -> dict[str, str]:
    """Name -> hash of each file that `model_hash` covers, sorted by name."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors"))
    return {file.name: _file_hash(file) for file in files}


def _file_hash(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as content:
        if size <= _WHOLE_BYTES:
            return hashlib.file_digest(content, "sha256").hexdigest()
        digest = hashlib.sha256()
        for number in range(_NUM_SAMPLES):
            content.seek((size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1))
            digest.update(content.read(_SAMPLE_BYTES))
        return digest.hexdigest()
