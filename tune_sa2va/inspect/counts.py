"""Counts parameters by part of the model, and those that a trial trains in each, on the meta device.

Parts and total are the reference's. They include SAM2's video memory, which the native model lacks.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from tune_sa2va.config import NO_ENCODER, EncoderSettings, FullModule, LoraSettings
from tune_sa2va.model.reach import is_reached
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import (
    NATIVE_FULL_MODULES,
    find_encoder_targets,
    find_targets,
    matches,
    memory_attention_shapes,
)
from tune_sa2va.model.video_memory import video_memory_shapes

MEMORY_ATTENTION = "SAM2 memory attention"
_NATIVE_PARTS = {
    "sam_vision": "SAM2 image encoder",
    "sam_prompt_encoder": "SAM2 prompt encoder",
    "sam_mask_decoder": "SAM2 mask decoder",
}
_REST = "SAM2 memory encoder, rest"


@dataclass(frozen=True, slots=True)
class Part:
    """Numbers of parameters in one part of the model.

    total: all of the part. adapter_modules: modules with adapters. adapter: parameters of adapters. adapter_reached:
    those of them that a gradient reaches. in_full: parameters of modules trained in full.
    """

    name: str
    total: int
    adapter_modules: int
    adapter: int
    adapter_reached: int
    in_full: int


@dataclass(frozen=True, slots=True)
class ModuleGroup:
    """Linear modules with adapters whose names differ only in numbers.

    name: the reference's, with ranges for the numbers. count: of modules. reached: whether a gradient reaches them.
    """

    name: str
    count: int
    in_features: int
    out_features: int
    reached: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """All counts. parts: in the order of the forward pass."""

    parts: tuple[Part, ...]
    modules: tuple[ModuleGroup, ...]

    @property
    def total(self) -> int:
        """All parameters of the checkpoint."""
        return sum(part.total for part in self.parts)

    @property
    def adapter(self) -> int:
        """Parameters of all adapters, as PEFT counts them on the reference."""
        return sum(part.adapter for part in self.parts)

    @property
    def adapter_reached(self) -> int:
        """Parameters of adapters that a gradient reaches."""
        return sum(part.adapter_reached for part in self.parts)

    @property
    def in_full(self) -> int:
        """Parameters of the modules that are trained in full."""
        return sum(part.in_full for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Adapted:
    """One linear module that gets an adapter."""

    part: str
    reference: str
    in_features: int
    out_features: int
    reached: bool
    in_encoder: bool = False

    def parameters(self, r: int, encoder_r: int) -> int:
        return (encoder_r if self.in_encoder else r) * (self.in_features + self.out_features)


def count(
    model: Sa2VA,
    lora: LoraSettings,
    full_modules: Sequence[FullModule],
    *,
    lm_loss: bool,
    encoder: EncoderSettings = NO_ENCODER,
) -> Counts:
    """Counts the parameters of `model`, which may be on the meta device, and those that a trial trains.

    lm_loss: whether the answer's cross entropy has a weight above 0.

    Raises:
        UserError: `lora.target_modules` or `encoder` names what cannot be trained.
    """
    totals = _totals(model)
    adapted = [*_native(model, lora.target_modules, full_modules, lm_loss=lm_loss), *_video(model, lora.target_modules)]
    adapted += _in_encoders(model, encoder)
    in_full: dict[str, int] = {}
    for module in full_modules:
        native = NATIVE_FULL_MODULES[module]
        size = sum(parameter.numel() for parameter in model.get_submodule(native).parameters())
        in_full[_part_of(native)] = in_full.get(_part_of(native), 0) + size
    parts = []
    for name, total in totals.items():
        mine = [module for module in adapted if module.part == name]
        parts.append(
            Part(
                name=name,
                total=total,
                adapter_modules=len(mine),
                adapter=sum(module.parameters(lora.r, encoder.r) for module in mine),
                adapter_reached=sum(module.parameters(lora.r, encoder.r) for module in mine if module.reached),
                in_full=in_full.get(name, 0),
            )
        )
    return Counts(tuple(parts), tuple(_grouped(adapted)))


def _totals(model: Sa2VA) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, parameter in model.named_parameters():  # a tied lm_head counts once, as in the reference
        part = _part_of(name)
        totals[part] = totals.get(part, 0) + parameter.numel()
    video = video_memory_shapes(model.dims.sam2)
    attention = sum(math.prod(shape) for key, shape in video.items() if ".memory_attention." in key)
    rest = totals.pop(_REST, 0)
    totals[MEMORY_ATTENTION] = attention
    totals[_REST] = rest + sum(map(math.prod, video.values())) - attention
    return totals


def _part_of(native: str) -> str:
    first = native.split(".")[0]
    return _REST if first == "no_mem_embed" else _NATIVE_PARTS.get(first, first)


def _native(
    model: Sa2VA, patterns: Sequence[str], full_modules: Iterable[FullModule], *, lm_loss: bool
) -> list[_Adapted]:
    adapted = []
    for target in find_targets(model, patterns, full_modules):
        layer = model.get_submodule(target.native)
        assert isinstance(layer, nn.Linear), f"find_targets gives linear modules, {target.native} is none"
        reached = is_reached(target.native, lm_loss=lm_loss)
        part = _part_of(target.native)
        adapted.append(_Adapted(part, target.reference, layer.in_features, layer.out_features, reached))
    return adapted


def _in_encoders(model: Sa2VA, encoder: EncoderSettings) -> list[_Adapted]:
    adapted = []
    for target in find_encoder_targets(model, encoder):
        if target.third:  # the first third is counted for the whole fused module
            continue
        rows, columns = model.get_parameter(f"{target.native}.weight").shape
        out_features = rows * (1 if target.third is None else 3)
        part = _part_of(target.native)
        adapted.append(_Adapted(part, target.reference, columns, out_features, reached=True, in_encoder=True))
    return adapted


def _video(model: Sa2VA, patterns: Sequence[str]) -> list[_Adapted]:
    return [
        _Adapted(MEMORY_ATTENTION, name, width_in, width_out, reached=False)
        for name, (width_in, width_out) in memory_attention_shapes(model.dims.sam2).items()
        if any(matches(name, pattern) for pattern in patterns)
    ]


def _grouped(adapted: Sequence[_Adapted]) -> list[ModuleGroup]:
    """Groups `...layers.0.q_proj` to `...layers.27.q_proj` as `...layers.{0-27}.q_proj`."""
    groups: dict[tuple[str, int, int, bool], list[_Adapted]] = {}
    for module in adapted:
        alike = re.sub(r"\d+", "#", module.reference)
        groups.setdefault((alike, module.in_features, module.out_features, module.reached), []).append(module)
    return [
        ModuleGroup(_with_ranges(alike, members), len(members), width_in, width_out, reached)
        for (alike, width_in, width_out, reached), members in groups.items()
    ]


def _with_ranges(alike: str, members: Sequence[_Adapted]) -> str:
    columns = zip(*(map(int, re.findall(r"\d+", module.reference)) for module in members), strict=True)
    pieces = alike.split("#")
    name = pieces[0]
    for numbers, piece in zip(columns, pieces[1:], strict=True):
        low, high = min(numbers), max(numbers)
        whole = len(set(numbers)) == high - low + 1
        listed = f"{low}-{high}" if whole else ",".join(map(str, sorted(set(numbers))))
        name += (str(low) if low == high else f"{{{listed}}}") + piece
    return name
