"""Reads and writes adapters in PEFT's format and with the reference's names, so PEFT can load them into the reference.

`adapter_model.safetensors` holds the LoRA matrices and the modules trained in full (PEFT's `modules_to_save`);
`adapter_config.json` is PEFT's LoraConfig. The file also has matrices for the memory attention, which the native model
lacks because it is not used for one image: the targets match it in the reference, and strict loading needs every key.

Adapters inside the encoders are named one by one in `target_modules`. They have a rank and an alpha of their own, in
PEFT's `rank_pattern` and `alpha_pattern`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft import __version__ as peft_version
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tune_sa2va.config import NO_ENCODER, EncoderSettings, FullModule, LoraSettings
from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.attachment import PEFT_PREFIX
from tune_sa2va.model.dims import Sam2Dims
from tune_sa2va.model.keymap import source_of
from tune_sa2va.model.lora import TrialAdapters, initial_a, scale_of
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import (
    NATIVE_FULL_MODULES,
    REFERENCE_FULL_MODULES,
    find_encoder_targets,
    find_targets,
    matches,
    memory_attention_shapes,
)

_TENSORS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_READ = {"r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules", "modules_to_save", "exclude_modules"}
_READ |= {"rank_pattern", "alpha_pattern"}
_IN_ENCODER = ("grounding_encoder.sam2_model.image_encoder.trunk.", "vision_model.", "mlp1.")
"""Prefixes of the reference's names of adapted modules in the encoders."""
_HIERA_START, _INTERN_VIT_START = _IN_ENCODER[0] + "blocks.0.", _IN_ENCODER[1]
_ENCODER_PATTERNS = (r"sam2_model\.image_encoder\.trunk\..*", r"vision_model\.encoder\.layers\..*", r"mlp1\.[13]")
"""Keys of `rank_pattern` and `alpha_pattern`: each is matched against the end of a module's name."""
# Settings that tell where an adapter comes from or how PEFT starts. None changes what it computes.
_NOTES = {"auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights", "peft_type", "peft_version"}
_NOTES |= {"revision", "task_type"}


class _ReadLora(LoraSettings):
    """LoRA settings of a file. Ranks may be larger: the mean of several adapters has the sum of their ranks."""

    r: int = Field(ge=1, le=512 * 20)


class _ReadEncoder(EncoderSettings):
    """Encoder settings of a file; see `_ReadLora`."""

    r: int = Field(ge=1, le=512 * 20)


def save_adapter(
    folder: Path,
    model: Sa2VA,
    tensors: Mapping[str, Tensor],
    lora: LoraSettings,
    full_modules: tuple[FullModule, ...],
    *,
    live_only: bool = False,
    encoder: EncoderSettings = NO_ENCODER,
) -> None:
    """Writes `tensors` (named as `TrialAdapters.parameters`) and their configuration to `folder`.

    live_only: leave out the memory attention's modules, and exclude them in the configuration.
    """
    live = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tensors.items()}
    dead = {} if live_only else _memory_attention(model.dims.sam2, lora)
    folder.mkdir(parents=True, exist_ok=True)
    modules = (name.removeprefix(PEFT_PREFIX).removesuffix(".lora_A.weight") for name in live if ".lora_A." in name)
    in_encoders = sorted(module for module in modules if module.startswith(_IN_ENCODER))
    config = _peft_config(lora, encoder, in_encoders, full_modules, exclude_memory=live_only)
    _write(folder, live | dead, config)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterFile:
    """An adapter read from a file. tensors: by their names in the file, without those of the memory attention."""

    lora: LoraSettings
    encoder: EncoderSettings
    full_modules: tuple[FullModule, ...]
    tensors: dict[str, Tensor]

    def scale_of(self, module: str) -> float:
        """The scale of B A of a module. module: its name in the reference."""
        return scale_of(self.encoder if module.startswith(_IN_ENCODER) else self.lora, self.lora)


def load_adapter(model: Sa2VA, folder: Path) -> TrialAdapters:
    """Attaches the adapter in `folder` to `model`. It may be written by `save_adapter` or by PEFT from the reference.

    Raises:
        CheckpointError: a file is missing or unreadable, a setting is not supported, or keys do not fit.
        UserError: `target_modules` names modules that the native model does not train.
    """
    read = read_adapter(model, folder)
    adapters = TrialAdapters(model, read.lora, read.full_modules, seed=0, encoder=read.encoder)
    try:
        with torch.no_grad():
            for name, parameter in adapters.parameters.items():
                parameter.copy_(read.tensors[name])
        adapters.store.refresh()
    except BaseException:
        adapters.detach()
        raise
    return adapters


def read_adapter(model: Sa2VA, folder: Path) -> AdapterFile:
    """The adapter in `folder`, once all its keys fit `model` (which may be on the meta device).

    Raises:
        CheckpointError: as `load_adapter`.
        UserError: as `load_adapter`.
    """
    lora, encoder, full_modules = _read_config(folder / _CONFIG, model)
    tensors = _read_tensors(folder)
    memory = {name: torch.Size(shape) for name, shape in _memory_attention_shapes(model.dims.sam2, lora).items()}
    live = _live_shapes(model, lora, encoder, full_modules)
    wanted = live | memory if tensors.keys() & memory.keys() else live
    if problems := _misfits(wanted, {name: tensor.shape for name, tensor in tensors.items()}):
        raise CheckpointError(
            f"{folder / _TENSORS}: {len(problems)} keys do not fit this model and {_CONFIG}: "
            f"{'; '.join(problems[:20])}{' ...' if len(problems) > 20 else ''}. "
            "Use the base model that the adapter was trained on, or copy the adapter again."
        )
    if unusable := _unusable({name: tensors[name] for name in live}):
        raise CheckpointError(
            f"{folder / _TENSORS}: {unusable}. The training that wrote it went wrong, or the file is damaged: "
            "copy it again, or give another adapter."
        )
    found = {name: tensors[name] for name in live}
    return AdapterFile(lora=lora, encoder=encoder, full_modules=full_modules, tensors=found)


def drop_memory_attention(folder: Path) -> None:
    """Removes the memory attention's modules from an adapter that `save_adapter` wrote, and excludes them in its
    configuration."""
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    full_modules = _full_modules(config)
    tensors = {name: tensor for name, tensor in _read_tensors(folder).items() if ".memory_attention." not in name}
    _write(folder, tensors, config | {"exclude_modules": _exclusion(full_modules, exclude_memory=True)})


def _live_shapes(
    model: Sa2VA, lora: LoraSettings, encoder: EncoderSettings, full_modules: tuple[FullModule, ...]
) -> dict[str, torch.Size]:
    """Shapes of the tensors that `TrialAdapters` trains, by their names in the file."""
    shapes: dict[str, torch.Size] = {}
    everywhere = [(target, lora.r) for target in find_targets(model, lora.target_modules, full_modules)]
    everywhere += [(target, encoder.r) for target in find_encoder_targets(model, encoder)]
    for target, r in everywhere:
        out_features, in_features = model.get_parameter(f"{target.native}.weight").shape
        rows = out_features * (1 if target.third is None else 3)
        shapes[f"{PEFT_PREFIX}{target.reference}.lora_A.weight"] = torch.Size((r, in_features))
        shapes[f"{PEFT_PREFIX}{target.reference}.lora_B.weight"] = torch.Size((rows, r))
    for module in full_modules:
        native = NATIVE_FULL_MODULES[module]
        for leaf, parameter in model.get_submodule(native).named_parameters():
            shapes[PEFT_PREFIX + source_of(f"{native}.{leaf}", model.dims.family).keys[0]] = parameter.shape
    return shapes


def _memory_attention(sam2: Sam2Dims, lora: LoraSettings) -> dict[str, Tensor]:
    """Untrained A and B for the memory attention's modules that the targets match."""
    tensors: dict[str, Tensor] = {}
    for name, (rows, columns) in _memory_attention_shapes(sam2, lora).items():
        module, _, matrix = name.removesuffix(".weight").rpartition(".")
        is_a = matrix == "lora_A"
        module = module.removeprefix(PEFT_PREFIX)
        tensors[name] = initial_a(module, rows, columns, seed=0) if is_a else torch.zeros(rows, columns)
    return tensors


def _memory_attention_shapes(sam2: Sam2Dims, lora: LoraSettings) -> dict[str, tuple[int, int]]:
    shapes: dict[str, tuple[int, int]] = {}
    for name, (in_features, out_features) in memory_attention_shapes(sam2).items():
        if any(matches(name, pattern) for pattern in lora.target_modules):
            shapes[f"{PEFT_PREFIX}{name}.lora_A.weight"] = (lora.r, in_features)
            shapes[f"{PEFT_PREFIX}{name}.lora_B.weight"] = (out_features, lora.r)
    return shapes


def _peft_config(
    lora: LoraSettings,
    encoder: EncoderSettings,
    in_encoders: list[str],
    full_modules: tuple[FullModule, ...],
    *,
    exclude_memory: bool,
) -> dict[str, Any]:
    patterns = [
        pattern
        for start, pattern in zip(_IN_ENCODER, _ENCODER_PATTERNS, strict=True)
        if any(name.startswith(start) for name in in_encoders)
    ]
    config = LoraConfig(
        r=lora.r,
        lora_alpha=_whole_if_it_is(lora.lora_alpha),
        rank_pattern=dict.fromkeys(patterns, encoder.r),
        alpha_pattern=dict.fromkeys(patterns, _whole_if_it_is(encoder.lora_alpha)),
        lora_dropout=lora.dropout,
        use_rslora=lora.use_rslora,
        modules_to_save=[REFERENCE_FULL_MODULES[module] for module in full_modules] or None,
        exclude_modules=_exclusion(full_modules, exclude_memory=exclude_memory),
        inference_mode=True,
    ).to_dict()
    targets = sorted(lora.target_modules) + in_encoders
    return config | {"target_modules": targets, "peft_version": peft_version}


def _whole_if_it_is(alpha: float) -> float:
    """An int for a whole number, as PEFT's type of alpha is int."""
    return int(alpha) if alpha.is_integer() else alpha


def _exclusion(full_modules: tuple[FullModule, ...], *, exclude_memory: bool) -> str | None:
    """PEFT's `exclude_modules`, a regex over full module names: modules that must get no adapter in the reference."""
    parents = [REFERENCE_FULL_MODULES[module].replace(".", r"\.") for module in full_modules]
    parents += ["memory_attention"] if exclude_memory else []
    return rf"(.*\.)?({'|'.join(parents)})\..*" if parents else None


def _read_config(path: Path, model: Sa2VA) -> tuple[LoraSettings, EncoderSettings, tuple[FullModule, ...]]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["peft_type"] != "LORA":
            raise CheckpointError(f"{path}: peft_type is {config['peft_type']!r}, wanted LORA. Give a LoRA adapter.")
        targets = config["target_modules"]
        in_encoders = [name for name in targets if name.startswith(_IN_ENCODER)] if isinstance(targets, list) else []
        lora = _ReadLora(
            r=config["r"],
            alpha_over_r=config["lora_alpha"] / config["r"],
            dropout=config["lora_dropout"],
            target_modules=tuple(name for name in targets if name not in in_encoders) if in_encoders else targets,
            use_rslora=config["use_rslora"],
        )
        encoder = _encoder_of(config, in_encoders)
        full_modules = _full_modules(config)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: not found. Give the folder of a PEFT adapter.") from None
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: cannot be read as a LoRA adapter's settings: {reason}. Copy it again."
        ) from error
    ours = sorted({target.reference for target in find_encoder_targets(model, encoder)})
    if sorted(in_encoders) != ours:
        odd = sorted(set(in_encoders) ^ set(ours))
        raise CheckpointError(
            f"{path}: target_modules names modules of the encoders that match no choice of encoder.sam2 and "
            f"encoder.vision, {odd[0]} among them. Give an adapter with all of Hiera's attention and MLP modules, "
            "with those of its second half, or with none."
        )
    as_ours = _peft_config(lora, encoder, ours, full_modules, exclude_memory=False)
    _refuse_foreign(path, config, as_ours, full_modules)
    return lora, encoder, full_modules


def _encoder_of(config: dict[str, Any], in_encoders: list[str]) -> EncoderSettings:
    """The `encoder` settings that give adapters to the modules `in_encoders`, inferred from their names."""
    if not in_encoders:
        return NO_ENCODER
    r = next(iter(config["rank_pattern"].values()), config["r"])
    alpha = next(iter(config["alpha_pattern"].values()), config["lora_alpha"])
    hiera = [name for name in in_encoders if name.startswith(_IN_ENCODER[0])]
    is_late = bool(hiera) and not any(name.startswith(_HIERA_START) for name in hiera)
    any_intern_vit = any(name.startswith(_INTERN_VIT_START) for name in in_encoders)
    any_mlp1 = any(name.startswith(_IN_ENCODER[2]) for name in in_encoders)
    return _ReadEncoder(
        sam2="late" if is_late else "all" if hiera else "none",
        vision="all" if any_intern_vit else "mlp1" if any_mlp1 else "none",
        r=r,
        alpha_over_r=alpha / r,
    )


def _full_modules(config: dict[str, Any]) -> tuple[FullModule, ...]:
    saved = {str(name) for name in config.get("modules_to_save") or ()}
    return tuple(module for module, name in REFERENCE_FULL_MODULES.items() if name in saved)


def _refuse_foreign(
    path: Path, config: dict[str, Any], as_ours: dict[str, Any], full_modules: tuple[FullModule, ...]
) -> None:
    """Raises CheckpointError for every setting with which PEFT would compute something else than `TrialAdapters`."""
    defaults = LoraConfig().to_dict()
    foreign = {
        name: value
        for name, value in config.items()
        if name not in _READ | _NOTES and value and value != defaults.get(name)
    }
    names = {REFERENCE_FULL_MODULES[module] for module in full_modules}
    if extra := {str(name) for name in config.get("modules_to_save") or ()} - names:
        foreign["modules_to_save"] = sorted(extra)
    for pattern in ("rank_pattern", "alpha_pattern"):
        given, wanted = config.get(pattern) or {}, as_ours[pattern]
        if given.keys() != wanted.keys() or any(not math.isclose(given[key], wanted[key]) for key in wanted):
            foreign[pattern] = config[pattern]
    excluded = config.get("exclude_modules")
    if excluded and excluded not in [_exclusion(full_modules, exclude_memory=memory) for memory in (False, True)]:
        foreign["exclude_modules"] = excluded
    if foreign:
        raise CheckpointError(
            f"{path}: {', '.join(f'{name}={value!r}' for name, value in foreign.items())} cannot be used here. "
            "Only plain LoRA on linear modules can, and text_hidden_fcs, sam_mask_decoder and image_encoder.neck "
            "trained in full."
        )


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / _TENSORS
    if not path.exists() and (folder / "adapter_model.bin").exists():
        raise CheckpointError(
            f"{folder / 'adapter_model.bin'}: is a pickle, which can run code when opened, so it is not loaded. "
            "Save the adapter again with PEFT's save_pretrained(..., safe_serialization=True)."
        )
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: not found. Give the folder of a PEFT adapter.") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is not a readable safetensors file ({error}). Copy it again.") from error


def _misfits(wanted: Mapping[str, torch.Size], got: Mapping[str, torch.Size]) -> list[str]:
    missing = [f"missing {name}" for name in sorted(wanted.keys() - got.keys())]
    unknown = [f"unknown {name}" for name in sorted(got.keys() - wanted.keys())]
    misshaped = [
        f"{name} is {tuple(got[name])}, wanted {tuple(wanted[name])}"
        for name in sorted(wanted.keys() & got.keys())
        if got[name] != wanted[name]
    ]
    return missing + unknown + misshaped


def _unusable(tensors: Mapping[str, Tensor]) -> str:
    """What is wrong with the first tensor that is unusable; "" if all are usable."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            return f"{name} is of {tensor.dtype}, wanted floating-point numbers"
        if not torch.isfinite(tensor).all():
            return f"{name} has values that are not finite"
    return ""


def _write(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes both files. Tensors go to a temporary file first, as they may be views of the file that is replaced."""
    unfinished = folder / f"{_TENSORS}.tmp"
    save_file(tensors, unfinished, metadata={"format": "pt"})
    unfinished.replace(folder / _TENSORS)
    (folder / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
