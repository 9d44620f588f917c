"""Loads a Sa2VA from a folder in the published layout, streamed tensor by tensor to the target device and dtype.

The model is built on the meta device, so no weight is initialised only to be overwritten, and there are never two
copies of the model. A preset is such a folder inside the package; without weights, it gets random ones on the device.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tune_sa2va.config import Fp8Copies
from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.dims import Sa2VADims, read_dims
from tune_sa2va.model.fp8 import Fp8Linears, misfit
from tune_sa2va.model.keymap import Source, is_leftover, source_of
from tune_sa2va.model.locate import is_preset
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.shards import Shards, has_weights, read_shards

# The Fourier frequencies of SAM2's positional encoding: 2 x d/2 numbers. In bf16, positions would shift by whole cells.
_KEEP_FP32 = "sam_prompt_encoder.shared_embedding.positional_embedding"
_LM_HEAD = "language_model.lm_head.weight"
_COPIED = 16 << 20
"""Number of elements that are converted and copied at a time."""


def load_model(folder: Path, *, device: torch.device, dtype: torch.dtype, fp8_copies: Fp8Copies | None = None) -> Sa2VA:
    """The model in `folder`, in eval mode on `device`, with all parameters frozen.

    From then on this process computes attention without cuDNN, which torch prefers on Hopper since 2.11. Its backward
    pass can return NaN: it scores the padding of a tile of keys 0, and if a query's scores are all below -88,
    exp(0 - logsumexp) overflows (pytorch/pytorch issue 196678; NVIDIA/cudnn-frontend issue 1072 for a single query, as
    in the last layer here).

    fp8_copies: quantise the language model's linear layers (`model.fp8`), each as soon as its weights are read, so the
        memory never holds them all in `dtype`. Only `FusedLayers` can run such layers. None: leave them in `dtype`.

    Raises:
        CheckpointError: a key is missing, unexpected or of the wrong shape (all are named), a file cannot be read, or
            the model cannot be quantised.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    model = outline_of(folder)
    linears = None
    if fp8_copies is not None:
        if problem := misfit(model.language_model):
            raise CheckpointError(f"{folder}: {problem}")
        linears = Fp8Linears(model.language_model, "language_model.", fp8_copies)
    filled = _random_tensors if is_preset(folder) and not has_weights(folder) else _stored_tensors
    for name in filled(model, folder, device=device, dtype=dtype):
        if linears is not None:
            linears.arrived(name)
    if model.dims.ties_embeddings:
        model.language_model.lm_head.weight = model.language_model.get_input_embeddings().weight
    _restore_rotary(model, device)
    return model.eval().requires_grad_(False)


def check_weights(folder: Path) -> None:
    """Checks that the weights in `folder` are complete and fit its config.json. Reads only headers, so takes seconds.

    Raises:
        CheckpointError: as `load_model`.
    """
    _fitting_shards(outline_of(folder), folder)


def outline_of(folder: Path) -> Sa2VA:
    """The model in `folder` on the meta device: names and shapes without storage.

    Raises:
        CheckpointError: config.json cannot be read, or describes an impossible model.
    """
    dims = read_dims(folder)
    try:
        return build_on_meta(dims)
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:  # torch's and transformers' own
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder / 'config.json'}: has impossible dimensions ({reason}). Copy it again from the checkpoint."
        ) from error


def build_on_meta(dims: Sa2VADims) -> Sa2VA:
    """The model on the meta device, without storage."""
    with torch.device("meta"):
        return Sa2VA(dims)


def save_model(model: Sa2VA, path: Path, *, dtype: torch.dtype) -> None:
    """Writes every native tensor under the reference's keys to one safetensors file."""
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().to("cpu", torch.float32 if name == _KEEP_FP32 else dtype)
        source = source_of(name, model.dims.family)
        if source.third is not None:
            pieces.setdefault(source.keys[0], {})[source.third] = tensor
        elif len(source.keys) > 1:
            for row, key in enumerate(source.keys):
                pieces[key] = {0: tensor[row : row + 1]}
        else:
            pieces[source.keys[0]] = {0: tensor}
    merged = {key: torch.cat([parts[i] for i in sorted(parts)]).contiguous() for key, parts in pieces.items()}
    save_file(merged, path, metadata={"format": "pt"})


def _fitting_shards(model: Sa2VA, folder: Path) -> Shards:
    shards = read_shards(folder)
    if problems := _misfits(model, targets_by_key(model), shards):
        raise CheckpointError(
            f"{folder}: {len(problems)} keys do not fit this Sa2VA ({model.dims.family}): {'; '.join(problems[:20])}"
            f"{' ...' if len(problems) > 20 else ''}. Check that config.json belongs to these weights."
        )
    return shards


def _stored_tensors(model: Sa2VA, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Iterator[str]:
    """Fills the model from `folder`, and yields the name of each tensor that is complete."""
    shards = _fitting_shards(model, folder)
    targets = targets_by_key(model)
    stacked: dict[str, dict[int, Tensor]] = {}
    for key, tensor in shards.stream(targets.keys()):
        for name, source in targets[key]:
            target_dtype = torch.float32 if name == _KEEP_FP32 else dtype
            piece = _placed(_piece(tensor, source), device, target_dtype)
            if len(source.keys) > 1:
                rows = stacked.setdefault(name, {})
                rows[source.keys.index(key)] = piece
                if len(rows) < len(source.keys):
                    continue
                piece = torch.cat([rows[i] for i in range(len(rows))])
            _assign(model, name, piece)
            yield name


def targets_by_key(model: Sa2VA) -> dict[str, list[tuple[str, Source]]]:
    """For each checkpoint key, the native tensors that it fills, as (name, source)."""
    targets: dict[str, list[tuple[str, Source]]] = {}
    for name in model.state_dict():
        if name == _LM_HEAD and model.dims.ties_embeddings:
            continue
        source = source_of(name, model.dims.family)
        for key in source.keys:
            targets.setdefault(key, []).append((name, source))
    return targets


def leftovers(model: Sa2VA, keys: set[str]) -> set[str]:
    """The keys of a checkpoint for which the model has no tensor by design: video memory, and a tied head."""
    tied = {source_of(_LM_HEAD, model.dims.family).keys[0]} if model.dims.ties_embeddings else set()
    return {key for key in keys if is_leftover(key) or key in tied}


def _misfits(model: Sa2VA, targets: dict[str, list[tuple[str, Source]]], shards: Shards) -> list[str]:
    """All problems with the checkpoint's keys and shapes, found from its headers."""
    found = set(shards.shapes)
    problems = [f"missing {key}" for key in sorted(targets.keys() - found)]
    problems += [f"unexpected {key}" for key in sorted(found - targets.keys() - leftovers(model, found))]
    native = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for key in sorted(targets.keys() & found):
        name, source = targets[key][0]
        wanted = _stored_shape(native[name], source)
        if shards.shapes[key] != wanted:
            problems.append(f"{key} is {shards.shapes[key]}, wanted {wanted}")
    return problems


def _stored_shape(native: tuple[int, ...], source: Source) -> tuple[int, ...]:
    """The checkpoint's shape of a tensor whose native shape is `native`."""
    if source.third is not None:
        return (3 * native[0], *native[1:])
    return (1, *native[1:]) if len(source.keys) > 1 else native


def _piece(tensor: Tensor, source: Source) -> Tensor:
    return tensor if source.third is None else tensor.chunk(3)[source.third]


def _placed(stored: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Copies a tensor to the device part by part. torch converts the dtype on the host before copying to a GPU, and a
    whole converted embedding would take as much host memory as half a shard."""
    placed = torch.empty(stored.shape, device=device, dtype=dtype)
    for part, source in zip(placed.flatten().split(_COPIED), stored.flatten().split(_COPIED), strict=True):
        part.copy_(source)
    return placed


def _assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    owner_name, _, leaf = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    if leaf in owner._parameters:
        owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    else:
        owner.register_buffer(leaf, tensor)


def _random_tensors(model: Sa2VA, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Iterator[str]:
    """Fills the model with seeded weights of the usual sizes: N(0, 0.02), norms one, biases zero, layer scales 0.1.

    Yields the name of each tensor that is complete.
    """
    generator = torch.Generator(device).manual_seed(0)
    for name, meta in model.state_dict().items():
        tensor = torch.empty(meta.shape, device=device, dtype=torch.float32 if name == _KEEP_FP32 else dtype)
        if re.search(r"lambda_[12]$", name):
            tensor.fill_(0.1)
        elif re.search(r"norm\w*\.weight$|ln_q\.weight$|^mlp1\.0\.weight$", name):
            tensor.fill_(1.0)
        elif name.endswith(".bias"):
            tensor.zero_()
        else:
            tensor.normal_(0.0, 1.0 if name == _KEEP_FP32 else 0.02, generator=generator)
        _assign(model, name, tensor)
        yield name


def _restore_rotary(model: Sa2VA, device: torch.device) -> None:
    """Builds rotary embeddings again: their frequencies are computed and not stored, so they are still on meta."""
    for name, module in list(model.named_modules()):
        if name.rpartition(".")[2] in ("rotary_emb", "rotary_pos_emb"):
            model.set_submodule(name, type(module)(module.config).to(device))
