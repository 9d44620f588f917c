"""A Sa2VA from a folder in the published layout, streamed tensor by tensor to the target device and dtype.

The model is built on the meta device, so that no weight is initialised only to be overwritten, and no two copies of the
model ever exist. A preset is such a folder inside the package; `8b` has no weights and gets random ones on the device.
"""

import json
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.dims import Sa2VADims, read_dims
from tune_sa2va.model.keymap import Source, is_leftover, source_of
from tune_sa2va.model.locate import is_preset
from tune_sa2va.model.locate import model_folder as model_folder
from tune_sa2va.model.locate import preset_names as preset_names
from tune_sa2va.model.sa2va import Sa2VA

# The Fourier frequencies of SAM2's positional encoding: 2 x d/2 numbers that bf16 would shift by whole cells.
_KEEP_FP32 = "sam_prompt_encoder.shared_embedding.positional_embedding"


def load_model(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Sa2VA:
    """The model of `folder` in eval mode on `device`, all parameters frozen.

    Raises:
        CheckpointError: a key is missing, unexpected or of the wrong shape (all are named), or a file cannot be read.
    """
    model = build_on_meta(read_dims(folder))
    files = _weight_files(folder)
    if files:
        _fill(model, files, device=device, dtype=dtype)
    else:
        _fill_randomly(model, device=device, dtype=dtype)
    _restore_rotary(model, device)
    return model.eval().requires_grad_(False)


def build_on_meta(dims: Sa2VADims) -> Sa2VA:
    """The modules without storage: shapes and names only."""
    with torch.device("meta"):
        return Sa2VA(dims)


def save_model(model: Sa2VA, path: Path, *, dtype: torch.dtype) -> None:
    """Write every native tensor under the reference's keys to one safetensors file."""
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().to("cpu", torch.float32 if name == _KEEP_FP32 else dtype)
        source = source_of(name)
        if source.third is not None:
            pieces.setdefault(source.keys[0], {})[source.third] = tensor
        elif len(source.keys) > 1:
            for row, key in enumerate(source.keys):
                pieces[key] = {0: tensor[row : row + 1]}
        else:
            pieces[source.keys[0]] = {0: tensor}
    merged = {key: torch.cat([parts[i] for i in sorted(parts)]).contiguous() for key, parts in pieces.items()}
    save_file(merged, path, metadata={"format": "pt"})


def _weight_files(folder: Path) -> dict[Path, list[str]]:
    """The shards and the keys that each holds; empty when the folder has no weights at all."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if not index.exists():
        if not single.exists():
            if not is_preset(folder):
                raise CheckpointError(
                    f"{folder}: has neither model.safetensors nor model.safetensors.index.json. "
                    "Give the folder that holds the checkpoint's safetensors files (other formats are not loaded)."
                )
            return {}
        with _open_shard(single) as shard:
            return {single: list(shard.keys())}
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{index}: is not a safetensors index ({error}). Copy it again.") from error
    files: dict[Path, list[str]] = {}
    for key, name in weight_map.items():
        if Path(name).name != name:
            raise CheckpointError(f"{index}: shard {name!r} of {key} lies outside the folder. Copy the index again.")
        files.setdefault(folder / name, []).append(key)
    if absent := sorted(path.name for path in files if not path.exists()):
        raise CheckpointError(f"{folder}: {len(absent)} shards are missing: {', '.join(absent)}. Copy them here.")
    return files


def _open_shard(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is not a readable safetensors file ({error}). Copy it again.") from error


def _fill(model: Sa2VA, files: dict[Path, list[str]], *, device: torch.device, dtype: torch.dtype) -> None:
    targets = _targets_by_key(model)
    found = {key for keys in files.values() for key in keys}
    problems = [f"missing {key}" for key in sorted(targets.keys() - found)]
    problems += [f"unexpected {key}" for key in sorted(found - targets.keys()) if not is_leftover(key)]
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if not problems:
        stacked: dict[str, dict[int, Tensor]] = {}
        for key, tensor in _stream(files, targets.keys()):
            for name, source in targets[key]:
                target_dtype = torch.float32 if name == _KEEP_FP32 else dtype
                piece = _piece(tensor, source).to(device=device, dtype=target_dtype, copy=True)
                if len(source.keys) > 1:
                    rows = stacked.setdefault(name, {})
                    rows[source.keys.index(key)] = piece
                    if len(rows) < len(source.keys):
                        continue
                    piece = torch.cat([rows[i] for i in range(len(rows))])
                if piece.shape != shapes[name]:
                    problems.append(f"{key} gives {tuple(piece.shape)}, wanted {tuple(shapes[name])}")
                else:
                    _assign(model, name, piece)
    if problems:
        raise CheckpointError(
            f"{next(iter(files)).parent}: {len(problems)} keys do not fit this Sa2VA: {'; '.join(problems[:20])}"
            f"{' ...' if len(problems) > 20 else ''}. Check that config.json belongs to these weights."
        )


def _targets_by_key(model: Sa2VA) -> dict[str, list[tuple[str, Source]]]:
    """For each checkpoint key the native tensors that it fills."""
    targets: dict[str, list[tuple[str, Source]]] = {}
    for name in model.state_dict():
        source = source_of(name)
        for key in source.keys:
            targets.setdefault(key, []).append((name, source))
    return targets


def _stream(files: Mapping[Path, list[str]], wanted: Container[str]) -> Iterator[tuple[str, Tensor]]:
    for path, keys in files.items():
        with _open_shard(path) as shard:
            for key in keys:
                if key in wanted:
                    yield key, shard.get_tensor(key)


def _piece(tensor: Tensor, source: Source) -> Tensor:
    return tensor if source.third is None else tensor.chunk(3)[source.third]


def _assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    owner_name, _, leaf = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    if leaf in owner._parameters:
        owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    else:
        owner.register_buffer(leaf, tensor)


def _fill_randomly(model: Sa2VA, *, device: torch.device, dtype: torch.dtype) -> None:
    """Seeded weights of the usual sizes: N(0, 0.02), norms one, biases zero, layer scales 0.1."""
    generator = torch.Generator(device).manual_seed(0)
    for name, meta in model.state_dict().items():
        tensor = torch.empty(meta.shape, device=device, dtype=torch.float32 if name == _KEEP_FP32 else dtype)
        if re.search(r"lambda_[12]$", name):
            tensor.fill_(0.1)
        elif re.search(r"norm\w*\.weight$|^mlp1\.0\.weight$", name):
            tensor.fill_(1.0)
        elif name.endswith(".bias"):
            tensor.zero_()
        else:
            tensor.normal_(0.0, 1.0 if name == _KEEP_FP32 else 0.02, generator=generator)
        _assign(model, name, tensor)


def _restore_rotary(model: Sa2VA, device: torch.device) -> None:
    # inv_freq is computed, not stored, so the meta device left it without values.
    model.language_model.model.rotary_emb = Qwen2RotaryEmbedding(model.dims.language_model).to(device)
