"""Several trials over one base at once: each has a seat, and the images of a seat are consecutive rows of every batch.

What belongs to a trial (its matrices, its scale, its rates) has a leading dimension of seats where there are several,
and none where there is one. The functions here take both, so everything else is written once. With one seat they are
torch's own operations.

Shape letters: K seats, B images of each. (K B) is a dimension of both, ordered by seat.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

_PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Layers that autocast computes in its own dtype."""


def per_image(numbers: Float[Tensor, "*K"], x: Float[Tensor, "KB ..."]) -> Tensor:
    """A number of each seat as a factor of `x`, whose first dimension is (K B): one per image, or 0-dim as given."""
    if numbers.ndim == 0:
        return numbers
    each = numbers[:, None].expand(-1, len(x) // len(numbers)).reshape(-1)
    return each.view(-1, *[1] * (x.ndim - 1))


def scaled(x: Float[Tensor, "KB ..."], factors: Float[Tensor, "*K"]) -> Float[Tensor, "KB ..."]:
    """`x` times its seat's factor, in the dtype of `x`."""
    return (x * per_image(factors, x)).to(x.dtype)


def seat_linear(x: Float[Tensor, "KB ... in"], weight: Float[Tensor, "*K out in"]) -> Float[Tensor, "KB ... out"]:
    """`x` times the transpose of its seat's matrix. One product for all seats."""
    if weight.ndim == 2:
        return F.linear(x, weight)
    rows = x.reshape(len(weight), -1, x.shape[-1]).to(weight.dtype)  # as autocast does with F.linear
    product: Tensor = _SeatProduct.apply(rows, weight)
    return product.view(*x.shape[:-1], weight.shape[-2])


class _SeatProduct(torch.autograd.Function):
    """rows (K, N, in) times the transposes of the matrices (K, out, in).

    bmm's own backward pass gives the matrices' gradients transposed, and each would have to be copied before all are
    joined.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return torch.bmm(rows, weight.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        return torch.bmm(gradient, weight), torch.bmm(gradient.mT, rows)


class SeatedModule(nn.Module):
    """A module that several trials train in full: the images of each seat go through that seat's own parameters.

    It is mapped over seats by vmap, so it takes about as many kernels as the module itself: matrix products become
    batched and convolutions grouped. Under vmap not every layer heeds autocast, so each gets what a GPU's autocast
    would give it.
    """

    def __init__(self, module: nn.Module, parameters: Mapping[str, Float[Tensor, "K ..."]], low: torch.dtype) -> None:
        """parameters: all those of `module`, by their names in it. low: the dtype of products.

        Children that are one layer can be called by themselves, too.
        """
        super().__init__()
        self._seats, self._low = len(next(iter(parameters.values()))), low
        self._seated = dict(parameters)
        # A copy, because the base's module must stay without hooks. Its parameters are the same, as they are not used.
        self._module = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
        self._products = set[str]()
        for name, part in self._module.named_modules():
            if isinstance(part, _PRODUCTS):
                self._products |= {f"{name}.{leaf}".lstrip(".") for leaf, _ in part.named_parameters()}
                part.register_forward_pre_hook(_casting(low))
            elif isinstance(part, nn.LayerNorm):
                part.register_forward_pre_hook(_casting(torch.float32))
        for name, child in module.named_children():
            inside = {key.removeprefix(f"{name}."): v for key, v in parameters.items() if key.startswith(f"{name}.")}
            if inside and isinstance(child, _PRODUCTS):
                self.add_module(name, SeatedModule(child, inside, low))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns. Every tensor among the arguments and results has (K B) as its first dimension."""
        # Whatever is no tensor is the same for all seats; vmap takes only tensors where it maps.
        fixed = {name: value for name, value in kwargs.items() if not _has_tensors(value)}
        mapped = {name: value for name, value in kwargs.items() if name not in fixed}
        split = tree_map_only(Tensor, lambda tensor: tensor.unflatten(0, (self._seats, -1)), (args, mapped))
        own = {name: v.to(self._low) if name in self._products else v for name, v in self._seated.items()}

        def of_one(parameters: dict[str, Tensor], args: Any, kwargs: Any) -> Any:
            return functional_call(self._module, parameters, args, kwargs | fixed)

        # Attention by its definition: for some of the fused kernels vmap has no rule and would call them seat by seat.
        with sdpa_kernel(SDPBackend.MATH):
            found = torch.vmap(of_one)(own, *split)
        return tree_map_only(Tensor, lambda tensor: tensor.flatten(0, 1), found)


def _casting(dtype: torch.dtype) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    return lambda _, inputs: tuple(each.to(dtype) for each in inputs)


def _has_tensors(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(map(_has_tensors, value)))
