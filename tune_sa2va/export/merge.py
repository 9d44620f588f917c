"""Merges an adapter into a base checkpoint. The result has the base's layout: same shards, same keys, same dtypes.

It works shard by shard, so only one shard is in memory at a time. A merged weight is W + scale B A, summed in fp32 and
stored in the base's dtype. Modules trained in full replace the base's. All other keys, including those of SAM2's video
memory, are copied unchanged. The base's code files are not copied: no code is read or passed on.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.adapter import AdapterFile, read_adapter
from tune_sa2va.model.attachment import PEFT_PREFIX
from tune_sa2va.model.checkpoint import outline_of
from tune_sa2va.model.locate import tokenizer_folder

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_COPIED_SUFFIXES = (".json", ".jinja", ".txt", ".model")
"""Suffixes of configuration and tokenizer files, which are copied unchanged."""


def merge(base: Path, adapter: Path, to: Path) -> None:
    """Writes the checkpoint in `base`, with the adapter in `adapter` merged in, to the folder `to`.

    Raises:
        CheckpointError: the base has no weights or lacks one that the adapter changes, or as for `read_adapter`.
        UserError: as for `read_adapter`.
    """
    shards = _shards(base)
    read = read_adapter(outline_of(base), adapter)
    left = _changed_keys(read)
    for name in shards:
        left -= _merge_shard(base / name, to / name, read)
    if left:
        raise CheckpointError(
            f"{base}: lacks {len(left)} weights that the adapter changes, {sorted(left)[0]} among them. "
            "Give the base model that the adapter was trained on."
        )
    for folder in {tokenizer_folder(base), base}:  # they differ only for presets
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix in _COPIED_SUFFIXES and path.name != "README.md":
                shutil.copyfile(path, to / path.name)


def _shards(base: Path) -> list[str]:
    if (base / _INDEX).exists():
        try:
            names = set(json.loads((base / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{base / _INDEX}: is not a safetensors index ({error}). Copy it again.") from error
        if outside := [name for name in names if Path(name).name != name]:
            raise CheckpointError(f"{base / _INDEX}: shard {outside[0]!r} is outside the folder. Copy it again.")
        return sorted(names)
    if (base / _SINGLE).exists():
        return [_SINGLE]
    raise CheckpointError(f"{base}: has no weights to merge into. Give a checkpoint, or export without --merge.")


def _changed_keys(read: AdapterFile) -> set[str]:
    """The checkpoint's keys that merging changes."""
    keys = {name.removeprefix(PEFT_PREFIX) for name in read.tensors if ".lora_A." not in name}
    return {key.replace(".lora_B.weight", ".weight") for key in keys}


def _merge_shard(source: Path, target: Path, read: AdapterFile) -> set[str]:
    """Writes one shard. Returns its keys that were changed."""
    changed = set()
    try:
        with safe_open(source, framework="pt") as shard:
            tensors = {key: shard.get_tensor(key) for key in shard.keys()}  # noqa: SIM118 - no mapping
            metadata = shard.metadata() or {"format": "pt"}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{source}: is not a readable safetensors file ({error}). Copy it again.") from error
    for key, weight in tensors.items():
        merged = _merged(key, weight, read)
        if merged is not None:
            tensors[key] = merged
            changed.add(key)
    target.touch()
    mode = target.stat().st_mode  # according to the umask; safetensors makes files readable by their owner only
    save_file(tensors, target, metadata=metadata)
    target.chmod(mode)
    return changed


def _merged(key: str, weight: Tensor, read: AdapterFile) -> Tensor | None:
    """One weight with the adapter merged in, in the weight's dtype; None if the adapter does not change it."""
    full = read.tensors.get(PEFT_PREFIX + key)
    if full is not None:
        return full.to(weight.dtype).contiguous()
    module = PEFT_PREFIX + key.removesuffix(".weight")
    lora_b = read.tensors.get(f"{module}.lora_B.weight")
    if lora_b is None or not key.endswith(".weight"):
        return None
    delta = read.scale_of(module.removeprefix(PEFT_PREFIX)) * (
        lora_b.float() @ read.tensors[f"{module}.lora_A.weight"].float()
    )
    return torch.add(weight.float(), delta).to(weight.dtype).contiguous()
