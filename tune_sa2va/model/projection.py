"""Linear modules with their adapters as plain tensors, for functions that are compiled once for all layers."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tune_sa2va.model.fp8 import Fp8Weight, fp8_linear
from tune_sa2va.model.lora_linear import LoraLinear
from tune_sa2va.model.seats import per_image, scaled, seat_linear


class Projection(NamedTuple):
    """Linear modules with the same input, as one matrix.

    widths: number of rows of each module. adapters: (A, B) of each, by seat if there are several; None for a module
        without an adapter.
    """

    weight: Float[Tensor, "out in"] | Fp8Weight
    bias: Float[Tensor, " out"] | None
    widths: tuple[int, ...]
    adapters: tuple[tuple[Tensor, Tensor] | None, ...]


def project(projection: Projection, x: Tensor, scale: Tensor, keep: Tensor | None, probability: Tensor) -> list[Tensor]:
    """Each module's output for `x`.

    scale: of the adapters, by seat. keep: dropout mask of `x` that the adapters share, True to keep; None for no
        dropout.
    probability: of dropping, by seat, with which `keep` was drawn.
    """
    if isinstance(projection.weight, Fp8Weight):
        whole = fp8_linear(x, projection.weight, projection.bias)
    else:
        whole = F.linear(x, projection.weight, projection.bias)
    outputs = list(whole.split(projection.widths, dim=-1))
    matrices = [pair[0] for pair in projection.adapters if pair is not None]
    if not matrices:
        return outputs
    dropped = x if keep is None else x * keep / per_image((1 - probability).to(x.dtype), x)
    reduced = scaled(seat_linear(dropped, matrices[0] if len(matrices) == 1 else torch.cat(matrices, dim=-2)), scale)
    parts = iter(reduced.split([matrix.shape[-2] for matrix in matrices], dim=-1))
    for index, pair in enumerate(projection.adapters):
        if pair is not None:
            outputs[index] = outputs[index] + seat_linear(next(parts), pair[1])
    return outputs


def adapted(module: nn.Module) -> tuple[nn.Linear, tuple[Tensor, Tensor] | None]:
    """A linear module's base, and its adapter's (A, B) or None if it has none."""
    if isinstance(module, LoraLinear):
        return module.base_layer, (module.lora_A, module.own_b)
    assert isinstance(module, nn.Linear), f"{type(module).__name__} is not a linear module"
    return module, None


def projection_of(module: nn.Module) -> Projection:
    """A single module as a projection."""
    base, adapter = adapted(module)
    return Projection(base.weight, base.bias, (base.out_features,), (adapter,))
