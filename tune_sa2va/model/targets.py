"""Finds the modules that get adapters: those that `lora.target_modules` names, and those that `encoder` chooses.

Names are matched as PEFT does it, against the reference's module names. transformers names some modules differently
(SAM2's `out_proj` is its `o_proj`) and splits InternViT's `qkv`, so matching native names would put adapters where the
reference has none.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from tune_sa2va.config import EncoderSettings, FullModule
from tune_sa2va.errors import SpaceError
from tune_sa2va.model.dims import Sam2Dims
from tune_sa2va.model.families import Family
from tune_sa2va.model.keymap import source_of
from tune_sa2va.model.sa2va import Sa2VA

NATIVE_FULL_MODULES: dict[FullModule, str] = {
    "text_hidden_fcs": "text_hidden_fcs",
    "mask_decoder": "sam_mask_decoder",
    "neck": "sam_vision.neck",
}
"""The native name of each module that can be trained in full."""

REFERENCE_FULL_MODULES: dict[FullModule, str] = {
    "text_hidden_fcs": "text_hidden_fcs",
    "mask_decoder": "sam_mask_decoder",
    "neck": "image_encoder.neck",
}
"""The last part of the reference's name of each."""

# The encoders, whose features are cached unless a trial adapts them. `encoder` has the settings of adapters in them.
_ENCODERS = ("vision_model.", "mlp1.", "sam_vision.", "sam_prompt_encoder.")
_HIERA_LINEAR = r"sam_vision\.backbone\.blocks\.(\d+)\.(?:attn\.(?:qkv|proj)|mlp\.proj_(?:in|out))"
_INTERN_VIT_LINEAR = r"vision_model\.encoder\.layer\.\d+\.(?:attention\.\w+|mlp\.fc\d)"
_INTERNLM2_NAMES = " Its language model (InternLM2) has wqkv and wo for q_proj, k_proj, v_proj and o_proj; w1, w3, w2."
_MEMORY_ATTENTION = "grounding_encoder.sam2_model.memory_attention.layers"


@dataclass(frozen=True, slots=True)
class Target:
    """One linear module that gets an adapter, by its native name and the reference's.

    third: which third of the reference's module it is (q, k, v of InternViT's `qkv`). The three share one adapter: each
        uses all of A and a third of B's rows. None if it is the whole module.
    """

    native: str
    reference: str
    third: int | None = None


def find_targets(model: Sa2VA, patterns: Sequence[str], full_modules: Iterable[FullModule]) -> list[Target]:
    """The modules that get an adapter, in the model's order. Modules inside `full_modules` get none.

    Raises:
        UserError: a pattern matches no module, a module of an encoder, or one that is not linear; or no module is left.
    """
    weights = [name.removesuffix(".weight") for name in model.state_dict() if name.endswith(".weight")]
    modules = [Target(native, _reference(native, model)) for native in weights]
    memory = memory_attention_shapes(model.dims.sam2)
    for pattern in patterns:
        _check_pattern(pattern, [module for module in modules if matches(module.reference, pattern)], memory, model)
    in_full = tuple(f"{NATIVE_FULL_MODULES[module]}." for module in full_modules)
    targets = [
        module
        for module in modules
        if any(matches(module.reference, pattern) for pattern in patterns) and not module.native.startswith(in_full)
    ]
    if not targets:
        raise SpaceError(
            f"lora.target_modules {list(patterns)}: no module is left that gets an adapter, since all are trained in "
            "full or are for video only. Add one of the language model's, for example q_proj."
        )
    return targets


def find_encoder_targets(model: Sa2VA, encoder: EncoderSettings) -> list[Target]:
    """The modules inside the encoders that get an adapter, in the model's order.

    Raises:
        UserError: `encoder.vision` asks for adapters in a vision tower that takes none (Qwen-VL).
    """
    if encoder.vision != "none" and not model.dims.family.is_internvl:
        raise SpaceError(
            f"encoder.vision {encoder.vision!r}: only InternVL's vision tower takes adapters, and this Sa2VA is "
            f"{model.dims.family}. Use encoder.sam2, which every family has."
        )
    wanted = {"none": "(?!)", "mlp1": r"mlp1\.\d+", "all": rf"mlp1\.\d+|{_INTERN_VIT_LINEAR}"}[encoder.vision]
    blocks = sum(model.dims.sam2.stages)
    first = {"none": blocks, "late": blocks // 2, "all": 0}[encoder.sam2]
    targets = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear) or not name.startswith(_ENCODERS):
            continue
        in_hiera = re.fullmatch(_HIERA_LINEAR, name)
        if (in_hiera and int(in_hiera[1]) >= first) or re.fullmatch(wanted, name):
            source = source_of(f"{name}.weight", model.dims.family)
            targets.append(Target(name, source.keys[0].removesuffix(".weight"), source.third))
    return targets


def matches(reference: str, pattern: str) -> bool:
    """Whether PEFT's `target_modules` entry `pattern` names the module `reference`."""
    return reference == pattern or reference.endswith(f".{pattern}")


def memory_attention_shapes(sam2: Sam2Dims) -> dict[str, tuple[int, int]]:
    """(in, out) features of the memory attention's linear modules, by the reference's names.

    A single image does not use them and the native model lacks them, but PEFT's strict loading expects them in a file.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for layer in range(sam2.mem_layers):
        for attention, context_width in (("self_attn", sam2.d), ("cross_attn_image", sam2.mem)):
            for part, width in (("q", sam2.d), ("k", context_width), ("v", context_width), ("out", sam2.d)):
                shapes[f"{_MEMORY_ATTENTION}.{layer}.{attention}.{part}_proj"] = (width, sam2.d)
        shapes[f"{_MEMORY_ATTENTION}.{layer}.linear1"] = (sam2.d, sam2.mem_ff)
        shapes[f"{_MEMORY_ATTENTION}.{layer}.linear2"] = (sam2.mem_ff, sam2.d)
    return shapes


def _check_pattern(pattern: str, found: list[Target], memory: Iterable[str], model: Sa2VA) -> None:
    encoders = sorted({module.reference for module in found if module.native.startswith(_ENCODERS)})
    if encoders:
        raise SpaceError(
            f"lora.target_modules {pattern!r}: names {encoders[0]} ({len(encoders)} modules of the encoders), whose "
            "adapters have a section of their own. Leave it out and set encoder.sam2 or encoder.vision, or give a "
            "longer name that only modules of the language model, text_hidden_fcs or the mask decoder end with."
        )
    for module in found:
        if not isinstance(model.get_submodule(module.native), nn.Linear):
            raise SpaceError(
                f"lora.target_modules {pattern!r}: names {module.reference}, which is not a linear module. "
                "Only linear modules get adapters; leave it out."
            )
    if not found and not any(matches(name, pattern) for name in memory):
        known = {name.rpartition(".")[2] for name in _linear_references(model)}
        near = get_close_matches(pattern, sorted(known), n=3, cutoff=0.3) or sorted(known)
        raise SpaceError(
            f"lora.target_modules {pattern!r}: no module's name in this Sa2VA ends with it. Nearest: {', '.join(near)}."
            f"{_INTERNLM2_NAMES if model.dims.family is Family.INTERNVL_INTERNLM2 else ''}"
        )


def _linear_references(model: Sa2VA) -> list[str]:
    """The reference's names of the linear modules outside the encoders."""
    return [
        _reference(name, model)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(_ENCODERS)
    ]


def _reference(native: str, model: Sa2VA) -> str:
    return source_of(f"{native}.weight", model.dims.family).keys[0].removesuffix(".weight")
