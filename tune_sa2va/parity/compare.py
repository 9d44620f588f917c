"""Compares a native tensor with its golden one, and defines which differences count as equal."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tune_sa2va.config import PlainPrecision


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest relative differences that count as equal."""

    activation: float
    gradient: float


# fp32 with other kernels or on another machine differs by about 1e-5. bf16 keeps 8 bits, and this network is deep:
# activations differ by up to 0.04 (InternVL) and 0.14 (Qwen3-VL), single gradients by twice their size. So gradients
# in bf16 are reported but not judged; fp32 catches a wrong or missing one.
LIMITS: dict[PlainPrecision, Limits] = {"fp32": Limits(1e-4, 1e-3), "bf16": Limits(0.2, torch.inf)}


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of one tensor: absolute, and relative to the golden tensor's largest absolute value.

    For integers, `relative` is the share of elements that differ. A wrong shape is an infinite difference.
    """

    name: str
    absolute: float
    relative: float
    limit: float
    note: str = ""

    @property
    def is_close(self) -> bool:
        """Whether the difference is within the limit; NaN is not."""
        return self.relative <= self.limit


def compare(name: str, got: Tensor, wanted: Tensor, limit: float) -> Difference:
    """The difference between the native tensor `got` and the golden tensor `wanted`."""
    if got.shape != wanted.shape:
        note = f"shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}"
        return Difference(name, torch.inf, torch.inf, limit, note)
    gap = (got.detach().double() - wanted.double()).abs()
    absolute = gap.max().item()
    if wanted.is_floating_point():
        relative = absolute / (wanted.abs().max().item() or 1.0)
    else:
        relative = (gap != 0).double().mean().item()
    return Difference(name, absolute, relative, limit)
