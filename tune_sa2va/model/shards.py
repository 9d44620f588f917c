"""The safetensors files of a checkpoint folder: their keys and shapes, and their tensors read one at a time.

Keys and shapes come from the headers, so misfits are found before any weights are read. Only safetensors files are
opened, never pickles or Python files.
"""

import json
import os
from collections import deque
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tune_sa2va.errors import CheckpointError

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"

_MAPPED_BYTES = 128 << 20
"""Bytes read from a file before it is mapped again: until then, pages that were read count as the process's memory."""


@dataclass(frozen=True, slots=True)
class Shards:
    """keys: the keys of each file. shapes: the shape of each key."""

    keys: Mapping[Path, tuple[str, ...]]
    shapes: Mapping[str, tuple[int, ...]]

    def stream(self, wanted: Container[str]) -> Iterator[tuple[str, Tensor]]:
        """The wanted tensors, file by file. Little more of a file is in memory at once than its largest tensor.

        A tensor is a view of its mapped file: copy it to keep it.
        """
        for path, keys in self.keys.items():
            todo = deque(key for key in keys if key in wanted)
            while todo:
                with open_shard(path) as shard:
                    num_bytes = 0
                    while todo and num_bytes < _MAPPED_BYTES:
                        tensor = shard.get_tensor(todo[0])
                        num_bytes += tensor.nbytes
                        yield todo.popleft(), tensor
                        del tensor


def has_weights(folder: Path) -> bool:
    """Whether the folder has weights in safetensors files."""
    return (folder / _INDEX).exists() or (folder / _SINGLE).exists()


def read_shards(folder: Path) -> Shards:
    """Reads the headers of the folder's safetensors files.

    Raises:
        CheckpointError: there are no safetensors files, one is missing or truncated, or keys of the index are missing.
    """
    if (folder / _INDEX).exists():
        listed = _read_index(folder)
    elif (folder / _SINGLE).exists():
        listed = {folder / _SINGLE: None}
    else:
        raise CheckpointError(_no_safetensors(folder))
    keys: dict[Path, tuple[str, ...]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path, promised in listed.items():
        with open_shard(path) as shard:
            found = tuple(shard.keys())
            shapes |= {key: tuple(shard.get_slice(key).get_shape()) for key in found}
        if absent := sorted(set(promised or ()) - set(found)):
            raise CheckpointError(
                f"{path}: lacks {len(absent)} keys that {_INDEX} says it holds, {absent[0]} among them. "
                "Copy shards and index again from the same checkpoint."
            )
        keys[path] = found
    return Shards(keys, shapes)


def open_shard(path: Path) -> safe_open:
    """Opens one safetensors file, whose size must match its header.

    Raises:
        CheckpointError: it cannot be read or is truncated.
    """
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: is not a readable safetensors file, perhaps cut short ({error}). Copy it again."
        ) from error


def _read_index(folder: Path) -> dict[Path, list[str] | None]:
    index = folder / _INDEX
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {str(key): str(name) for key, name in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index}: is not a safetensors index ({error}). Copy it again.") from error
    files: dict[Path, list[str] | None] = {}
    by_name: dict[str, list[str]] = {}
    for key, name in names.items():
        by_name.setdefault(name, []).append(key)
    for name, keys in by_name.items():
        if Path(name).name != name or Path(name).suffix != ".safetensors":
            raise CheckpointError(
                f"{index}: says that {keys[0]} is in {name!r}, which is no safetensors file of this folder; files "
                "outside the folder are not read. Copy the index again."
            )
        files[folder / name] = keys
    # Not Path.exists, which raises for a name that is too long.
    if absent := sorted(path.name for path in files if not os.path.exists(path)):  # noqa: PTH110
        raise CheckpointError(f"{folder}: {len(absent)} shards are missing: {', '.join(absent)}. Copy them here.")
    return files


def _no_safetensors(folder: Path) -> str:
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        return (
            f"{folder}: has no {_SINGLE}; {pickles[0]} is a pickle, which can run code when opened, so it is not "
            "loaded. Save the model again with save_pretrained(..., safe_serialization=True)."
        )
    return (
        f"{folder}: has neither {_SINGLE} nor {_INDEX}. "
        "Give the folder that holds the checkpoint's safetensors files (other formats are not loaded)."
    )
