"""SAM2's image encoder as pure functions of tensors. A step runs it, in place of using the cache, if a trial adapts it.

It computes the same values as transformers' forward (a test compares them), without what that computes and discards (a
product of queries and keys before every attention, and the pyramid's positions). Blocks are compiled per kind and not
one by one: Hiera has 48 blocks of about a dozen kinds.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tune_sa2va.model.projection import Projection, project, projection_of
from tune_sa2va.model.sa2va import Sa2VA


class BlockKind(NamedTuple):
    """The settings by which blocks differ in code.

    window: side of an attention window in tokens; 0 for global attention.
    pools: whether both sides of queries and residual are halved, as at the start of a stage.
    """

    heads: int
    window: int
    pools: bool
    eps: float


class BlockWeights(NamedTuple):
    """Weights of `run_block`. shortcut: projection of the residual if the block changes the width, otherwise None."""

    norm_1: tuple[Tensor, Tensor]
    qkv: Projection
    out: Projection
    norm_2: tuple[Tensor, Tensor]
    mlp_in: Projection
    mlp_out: Projection
    shortcut: Projection | None


def run_block(
    x: Float[Tensor, "B H W C"], weights: BlockWeights, scale: Tensor, kind: BlockKind
) -> Float[Tensor, "B h w c"]:
    """One block of Hiera: windowed or global attention, MLP, residuals. scale: of the adapters, 0-dim."""
    normed = F.layer_norm(x, x.shape[-1:], *weights.norm_1, kind.eps)
    if weights.shortcut is not None:
        x = _linear(weights.shortcut, normed, scale)
        x = _pooled(x) if kind.pools else x
    x = x + _attention(normed, weights, scale, kind)
    normed = F.layer_norm(x, x.shape[-1:], *weights.norm_2, kind.eps)
    return x + _linear(weights.mlp_out, F.gelu(_linear(weights.mlp_in, normed, scale)), scale)


def _attention(
    x: Float[Tensor, "B H W C"], weights: BlockWeights, scale: Tensor, kind: BlockKind
) -> Float[Tensor, "B h w c"]:
    batch, height, width, _ = x.shape
    side = kind.window
    rows, columns = (-(-height // side), -(-width // side)) if side else (1, 1)
    if side:
        # Padding tokens of a window take part as keys, as in the reference.
        x = F.pad(x, (0, 0, 0, columns * side - width, 0, rows * side - height))
        x = x.unflatten(2, (columns, side)).unflatten(1, (rows, side)).transpose(2, 3).flatten(0, 2)
    q, k, v = _linear(weights.qkv, x, scale).chunk(3, dim=-1)
    q = _pooled(q) if kind.pools else q
    inner = q.shape[1:3]
    q, k, v = (part.flatten(1, 2).unflatten(-1, (kind.heads, -1)).transpose(1, 2) for part in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).unflatten(1, inner)
    mixed = _linear(weights.out, mixed, scale)
    if not side:
        return mixed
    whole = mixed.unflatten(0, (batch, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    halves = 2 if kind.pools else 1
    return whole[:, : height // halves, : width // halves]


def _linear(projection: Projection, x: Tensor, scale: Tensor) -> Tensor:
    (out,) = project(projection, x, scale, None, scale)
    return out


def _pooled(x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H/2 W/2 C"]:
    return F.max_pool2d(x.permute(0, 3, 1, 2), kernel_size=2, stride=2).permute(0, 2, 3, 1)


class Hiera:
    """The image encoder of one base. compiled: whether its blocks run through torch.compile."""

    def __init__(self, model: Sa2VA, *, compiled: bool) -> None:
        self._model = model
        # Not dynamic: kinds differ in plain numbers, which would otherwise become symbolic after the second kind.
        self._run: Callable[..., Tensor] = torch.compile(run_block, dynamic=False) if compiled else run_block

    def encode(
        self, g_pixel_values: Float[Tensor, "B 3 G G"], scale: Tensor, *, checkpointed: bool = False
    ) -> tuple[Float[Tensor, "B d h w"], Float[Tensor, "B d 2h 2w"], Float[Tensor, "B d 4h 4w"]]:
        """What `Sa2VA.encode_sam` returns, computed with the adapters that are attached now. scale: of these adapters.

        checkpointed: keep only each block's input for the backward pass, and compute the rest again there.
        """
        backbone: Any = self._model.sam_vision.backbone
        x = backbone.patch_embed(g_pixel_values)
        x = x + backbone._get_pos_embed(x.shape[1:3])
        ends, levels = set(backbone.stage_ends), []
        for number, block in enumerate(backbone.blocks):
            weights, kind = _weights(block), _kind(block)
            # Without gradients it is not compiled: in a graph that is about as fast, and every kind would be compiled
            # once more.
            run = self._run if torch.is_grad_enabled() else run_block
            if checkpointed and torch.is_grad_enabled():
                x = checkpoint(run, x, weights, scale, kind, use_reentrant=False, preserve_rng_state=False)
            else:
                x = run(x, weights, scale, kind)
            if number in ends:
                levels.append(x)
        return self._pyramid(levels)

    def _pyramid(
        self, of_stages: list[Float[Tensor, "B H W C"]]
    ) -> tuple[Float[Tensor, "B d h w"], Float[Tensor, "B d 2h 2w"], Float[Tensor, "B d 4h 4w"]]:
        """The feature pyramid (neck) over the stages' outputs, from the coarsest to the finest."""
        neck, no_memory = self._model.sam_vision.neck, self._model.no_mem_embed
        levels: list[Tensor] = []
        is_wider = neck.convs[0].weight.dtype != no_memory.dtype  # a trial trains it, in fp32
        with torch.autocast(no_memory.device.type, torch.bfloat16) if is_wider else nullcontext():
            for conv, (stage, x) in zip(neck.convs, reversed(list(enumerate(of_stages))), strict=True):
                level = conv(x.permute(0, 3, 1, 2))
                if levels and stage in neck.fpn_top_down_levels:
                    level = level + F.interpolate(levels[-1].float(), scale_factor=2.0).to(level.dtype)
                levels.append(level)
        stride_16, stride_8, stride_4 = levels[-self._model.sam_vision.num_feature_levels :]
        return stride_16 + no_memory.view(1, -1, 1, 1).to(stride_16.dtype), stride_8, stride_4


def _weights(block: Any) -> BlockWeights:
    """A block's tensors, with those of the adapters that are attached now."""
    return BlockWeights(
        (block.layer_norm1.weight, block.layer_norm1.bias),
        projection_of(block.attn.qkv),
        projection_of(block.attn.proj),
        (block.layer_norm2.weight, block.layer_norm2.bias),
        projection_of(block.mlp.proj_in),
        projection_of(block.mlp.proj_out),
        projection_of(block.proj) if block.dim != block.dim_out else None,
    )


def _kind(block: Any) -> BlockKind:
    return BlockKind(
        block.attn.num_attention_heads, block.window_size, block.query_stride is not None, block.layer_norm1.eps
    )
