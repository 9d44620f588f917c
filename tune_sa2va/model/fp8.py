"""The frozen linear layers of the language model in 8 bits (e4m3, 3 mantissa bits, largest value 448).

A weight has one fp32 scale per output row, an activation or gradient one per token, chosen when it is multiplied. So
every row uses the whole range of the type, and the scales factor out of the product:
y[t, o] = x_scale[t] w_scale[o] sum_i x8[t, i] w8[o, i].

The backward pass multiplies by the transposed weight, where the sum runs over output rows, and cuBLAS multiplies 8-bit
matrices only if both are contiguous along the sum. There are two ways:

- Two copies: the transpose is kept, too, with one scale per input column. Two bytes per weight as in bf16, but at the
  speed of fp8.
- One copy: the weight is transposed when it is multiplied. The scales of its rows are inside the sum, so the gradient
  is multiplied by them first. For all layers of the 8B that takes 6 to 8 ms more on an H100; kernels that read the one
  copy both ways took longer (results/LOG.md). So it is chosen only where two copies do not fit.

That choice is made in `Fp8Weight` alone.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tune_sa2va.config import Fp8Copies

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest finite value of e4m3fn."""
SMALLEST_SCALE = 2.0**-100
"""Lower bound of a scale. A row of zeros would have the scale 0 and become 0 / 0: every padded token and, in the
backward pass, every token that no loss depends on is such a row. It is far below any gradient in use, but its
reciprocal and its square are within fp32."""
MULTIPLE = 16
"""`torch._scaled_mm` needs both sides of a weight to be multiples of this."""


OLDEST = (8, 9)
"""The lowest compute capability with fp8 matrix products (Ada)."""


def without_fp8(card: str, capability: tuple[int, int]) -> str | None:
    """Why this card cannot compute in fp8, and what to do, in one sentence; None if it can."""
    if capability >= OLDEST:
        return None
    return (
        f"--precision fp8 needs GPUs with fp8 (compute capability 8.9 or more: Ada, Hopper and later), and {card} has "
        f"{capability[0]}.{capability[1]}; leave it out, to compute in bf16."
    )


def misfit(language_model: nn.Module) -> str | None:
    """Why this language model cannot be quantised, and what to do, in one sentence; None if it can."""
    for layer in language_model.get_submodule("model.layers").children():
        for group in groups_of(layer):
            rows, columns = sum(linear.out_features for linear in group), group[0].in_features
            if rows % MULTIPLE or columns % MULTIPLE:
                return (
                    f"fp8 needs layers whose sides are multiples of {MULTIPLE}, and the language model has one of "
                    f"{rows} x {columns}; leave --precision out."
                )
    return None


class Fp8Weight(NamedTuple):
    """A frozen weight (out, in) for both directions. A scale times a value is the original, up to rounding.

    rows: (out, in) e4m3; row_scale: (out,) fp32. columns: (in, out) e4m3, the transpose, quantised anew from the
    original; column_scale: (in,) fp32. Both are None if there is one copy.
    """

    rows: Tensor
    row_scale: Float[Tensor, " out"]
    columns: Tensor | None
    column_scale: Float[Tensor, " in"] | None

    @classmethod
    def of(cls, weight: Float[Tensor, "out in"], copies: Fp8Copies) -> "Fp8Weight":
        """Quantises a weight of any float dtype."""
        transposed = (None, None) if copies == 1 else quantise_rows(weight.t())
        return cls(*quantise_rows(weight), *transposed)

    @property
    def shape(self) -> torch.Size:
        """(out, in)."""
        return self.rows.shape

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those that it has."""
        return tuple(tensor for tensor in self if tensor is not None)


def quantise_rows(x: Float[Tensor, "N K"]) -> tuple[Tensor, Float[Tensor, " N"]]:
    """x in e4m3, contiguous, and the scale of each row, so that x is about quantised * scale[:, None].

    The relative error of a value is at most 1/16; values below 2^-6 / 448 of the row's largest lose bits, at most
    2^-10 / 448 of the largest. A row of zeros gives zeros (see `SMALLEST_SCALE`); a row with NaN or infinity gives NaN,
    so the check for a finite loss and gradient finds it.
    """
    wide = x.float()
    scale = (wide.abs().amax(dim=1) / LARGEST).clamp(min=SMALLEST_SCALE)
    return (wide / scale[:, None]).to(E4M3).contiguous(), scale


@torch.library.custom_op("tune_sa2va::fp8_product", mutates_args=())
def fp8_product(a: Tensor, a_scale: Tensor, b: Tensor, b_scale: Tensor, dtype: torch.dtype) -> Tensor:
    """(a * a_scale[:, None]) @ (b * b_scale[:, None]).t(), (N, M) in `dtype`, for e4m3 a (N, K) and b (M, K).

    Without a GPU it multiplies the dequantised matrices, so that tests run the same code around it. One operation for
    torch, so that compilation keeps the layout that cuBLAS needs and the memory estimate counts what a GPU allocates.
    """
    if a.device.type == "cuda":
        return torch._scaled_mm(
            a, b.t(), scale_a=a_scale[:, None], scale_b=b_scale[None], out_dtype=dtype, use_fast_accum=True
        )
    return ((a.float() * a_scale[:, None]) @ (b.float() * b_scale[:, None]).t()).to(dtype)


@fp8_product.register_fake
def _(a: Tensor, a_scale: Tensor, b: Tensor, b_scale: Tensor, dtype: torch.dtype) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0], dtype=dtype)


@torch.library.custom_op("tune_sa2va::fp8_transposed", mutates_args=())
def fp8_transposed(weight: Tensor, after: Tensor) -> Tensor:
    """The transpose of an e4m3 matrix, contiguous.

    after: any tensor of the backward pass. It is not read: without it the transpose depends on no gradient, and a
    compiled step would make those of all layers in its forward pass and keep them.
    """
    if weight.device.type == "cuda":
        return _compiled_transpose()(weight.view(torch.uint8)).view(E4M3)
    return weight.t().contiguous()


@fp8_transposed.register_fake
def _(weight: Tensor, after: Tensor) -> Tensor:
    return weight.new_empty(weight.shape[::-1])


@cache
def _compiled_transpose() -> Callable[[Tensor], Tensor]:
    """Compiled, because torch's own kernel takes several times as long for single bytes (results/LOG.md)."""
    return torch.compile(lambda matrix: matrix.t().contiguous())


def fp8_linear(x: Float[Tensor, "... in"], weight: Fp8Weight, bias: Tensor | None) -> Float[Tensor, "... out"]:
    """x @ weight.t() + bias in x's dtype. Differentiable in x only: weight and bias are frozen."""
    product: Tensor = _Fp8Product.apply(x.flatten(0, -2), *weight)
    product = product.unflatten(0, x.shape[:-1])
    return product if bias is None else product + bias


class _Fp8Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, rows: Tensor, row_scale: Tensor, columns: Tensor | None, column_scale: Tensor | None
    ) -> Tensor:
        ctx.has_columns = columns is not None
        ctx.save_for_backward(*((rows, row_scale) if columns is None else (columns, column_scale)))
        return fp8_product(*quantise_rows(x), rows, row_scale, x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        weight, scale = ctx.saved_tensors
        if ctx.has_columns:
            quantised, of_tokens, columns, column_scale = *quantise_rows(gradient), weight, scale
        else:
            quantised, of_tokens = quantise_rows(gradient * scale)
            columns, column_scale = fp8_transposed(weight, quantised), scale.new_ones(weight.shape[1])
        return fp8_product(quantised, of_tokens, columns, column_scale, gradient.dtype), None, None, None, None


class Fp8Linears:
    """Quantises the linear modules of a language model's layers while their weights arrive, group by group.

    A group is the modules with one input (see `groups_of`), merged into one matrix. Its first module gets the attribute
    `fp8`, and the weights of all its modules go to the meta device: shapes stay, the memory is freed.
    """

    def __init__(self, language_model: nn.Module, prefix: str, copies: Fp8Copies) -> None:
        """prefix: of the names that `arrived` gets, for example "language_model."."""
        self._copies = copies
        self._groups: dict[str, tuple[nn.Linear, ...]] = {}
        layers: Any = language_model.get_submodule("model.layers")
        for number, layer in enumerate(layers):
            names = {id(module): name for name, module in layer.named_modules()}
            for group in groups_of(layer):
                for linear in group:
                    self._groups[f"{prefix}model.layers.{number}.{names[id(linear)]}.weight"] = group

    def arrived(self, name: str) -> None:
        """Call it when the parameter `name` has its values. Other parameters are ignored."""
        group = self._groups.get(name, ())
        if group and not any(linear.weight.is_meta for linear in group):
            quantise_group(group, self._copies)


def quantise_group(group: tuple[nn.Linear, ...], copies: Fp8Copies) -> None:
    """Replaces the weights of modules with one input by one `Fp8Weight`, the first module's attribute `fp8`."""
    whole = torch.cat([linear.weight.detach() for linear in group])
    group[0].fp8 = Fp8Weight.of(whole, copies)  # type: ignore[assignment]
    for linear in group:
        linear.weight = nn.Parameter(linear.weight.detach().to("meta"), requires_grad=False)


def quantise_layers(language_model: nn.Module, copies: Fp8Copies) -> None:
    """Quantises all layers of a language model that has its weights."""
    for layer in language_model.get_submodule("model.layers").children():
        for group in groups_of(layer):
            quantise_group(group, copies)


def fp8_of(linear: nn.Module) -> Fp8Weight | None:
    """The 8-bit weight of the group whose first module this is; None if the base has none."""
    return getattr(linear, "fp8", None)


def groups_of(layer: Any) -> tuple[tuple[nn.Linear, ...], ...]:
    """The linear modules of a language model's layer; those with the same input form a group, to be one matrix."""
    attention, mlp = layer.self_attn, layer.mlp
    if hasattr(attention, "wqkv"):  # InternLM2's
        inputs: tuple[nn.Linear, ...] = (attention.wqkv,)
        out: nn.Linear = attention.wo
    else:
        inputs, out = (attention.q_proj, attention.k_proj, attention.v_proj), attention.o_proj
    return inputs, (out,), (mlp.gate_proj, mlp.up_proj), (mlp.down_proj,)
