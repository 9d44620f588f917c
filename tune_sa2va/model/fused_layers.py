"""The language model's layers as pure functions of tensors, which training and validation run.

They compute what `Sa2VA.hidden_states` does (a test compares them) with fewer and larger matrix products: q, k and v
are one matrix, gate and up another, and so are the matrices A of adapters with the same input. Functions of tensors are
compiled once for all layers. In the last layer only the requested rows go past the attention: a mask needs only the
[SEG] row.

The base's weights are merged in place: q_proj.weight becomes a view of the merged matrix, which costs no memory. A base
in fp8 was merged while it was loaded (`fp8`).
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tune_sa2va.model.adapter_store import AdapterStore
from tune_sa2va.model.dropout import keep_mask
from tune_sa2va.model.families import Family
from tune_sa2va.model.families.qwen_vl import VisualContext, add_to_image, positions
from tune_sa2va.model.fp8 import Fp8Weight, fp8_of, groups_of
from tune_sa2va.model.projection import Projection, adapted, project
from tune_sa2va.model.sa2va import Sa2VA

_MOST_VARIANTS = 64
_FIRST_PLACE = 2**16
"""Number of the first place where dropout is applied here; those below belong to `LoraLinear`s."""


class AttentionWeights(NamedTuple):
    """Weights of `attend`. q_norm, k_norm: per-head norms of Qwen3, otherwise None. num_kv: key and value heads."""

    num_kv: int
    norm: Tensor
    qkv: Projection
    out: Projection
    q_norm: Tensor | None
    k_norm: Tensor | None


class MlpWeights(NamedTuple):
    """Weights of `feed_forward`."""

    norm: Tensor
    gate_up: Projection
    down: Projection


class Drop(NamedTuple):
    """Adapters' dropout in half a layer: masks of its two projections' inputs (None: no dropout), True to keep, and the
    probability they were drawn with."""

    first: Tensor | None
    second: Tensor | None
    probability: Tensor


def attend(
    x: Float[Tensor, "B T D"],
    weights: AttentionWeights,
    cos: Float[Tensor, "1 T h"],
    sin: Float[Tensor, "1 T h"],
    scale: Tensor,
    drop: Drop,
    eps: float,
) -> Float[Tensor, "B T D"]:
    """A layer's first half: norm, causal attention (no mask tensor), residual."""
    normed = rms_norm(x, weights.norm, eps)
    parts = project(weights.qkv, normed, scale, drop.first, drop.probability)
    if len(parts) == 1:  # InternLM2's one module, grouped by key and value heads
        groups = parts[0].unflatten(-1, (weights.num_kv, -1, cos.shape[-1]))
        q, k, v = groups[..., :-2, :].flatten(2, 3), groups[..., -2, :], groups[..., -1, :]
    else:
        q, k, v = (part.unflatten(-1, (-1, cos.shape[-1])) for part in parts)
    if weights.q_norm is not None and weights.k_norm is not None:
        q, k = rms_norm(q, weights.q_norm, eps), rms_norm(k, weights.k_norm, eps)
    q, k = rotate(q, cos, sin).transpose(1, 2), rotate(k, cos, sin).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), is_causal=True, enable_gqa=True)
    (out,) = project(weights.out, mixed.transpose(1, 2).flatten(2), scale, drop.second, drop.probability)
    return x + out


def feed_forward(
    x: Float[Tensor, "B T D"], weights: MlpWeights, scale: Tensor, drop: Drop, eps: float
) -> Float[Tensor, "B T D"]:
    """A layer's second half: norm, gated MLP, residual."""
    normed = rms_norm(x, weights.norm, eps)
    gate, up = project(weights.gate_up, normed, scale, drop.first, drop.probability)
    (out,) = project(weights.down, F.silu(gate) * up, scale, drop.second, drop.probability)
    return x + out


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root mean square norm over the last dimension, computed in fp32."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


def rotate(x: Float[Tensor, "B T H h"], cos: Float[Tensor, "1 T h"], sin: Float[Tensor, "1 T h"]) -> Tensor:
    """Rotary position embedding, with halves paired as in transformers."""
    low, high = x.chunk(2, dim=-1)
    return x * cos[:, :, None] + torch.cat((-high, low), dim=-1) * sin[:, :, None]


class FusedLayers:
    """The language model of one base. compiled: whether its layers run through torch.compile."""

    def __init__(self, model: Sa2VA, *, compiled: bool) -> None:
        """Merges the base's weights. No adapters may be attached."""
        self._model = model
        self._text = model.language_model.model
        self._merged: dict[int, tuple[Tensor | Fp8Weight, Tensor | None]] = {}
        self._positions: dict[Hashable, tuple[Tensor, Tensor]] = {}
        for layer in self._text.layers:
            for group in groups_of(layer):
                self._merge(*group)
        self.compiled = compiled
        if compiled:
            # First and later layers, training and validation, and shapes are variants of one function. Beyond the
            # default limit of 8, torch would run it uncompiled.
            torch._dynamo.config.recompile_limit = _MOST_VARIANTS
        self._attend: Callable[..., Tensor] = torch.compile(attend) if compiled else attend
        self._feed_forward: Callable[..., Tensor] = torch.compile(feed_forward) if compiled else feed_forward
        self._keep: Callable[..., Tensor] = torch.compile(keep_mask) if compiled else keep_mask
        # As tensors, so that the mask's function is compiled once for all places.
        self._places = torch.arange(_FIRST_PLACE, _FIRST_PLACE + 4 * len(self._text.layers)).to(
            model.no_mem_embed.device
        )

    def hidden_rows(
        self,
        embeds: Float[Tensor, "B T D"],
        rows: Int[Tensor, "B R"],
        store: AdapterStore | None,
        context: VisualContext | None = None,
        *,
        checkpointed: bool = False,
    ) -> Float[Tensor, "B R D"]:
        """The rows of `Sa2VA.hidden_states` at the positions `rows`. Pad on the right.

        store: that of the attached adapters, with the images ordered by seat; None without adapters.
        context: see `Sa2VA.hidden_states`.
        checkpointed: keep only each layer's input for the backward pass, and compute the rest again there.
        """
        cos, sin = self._cos_sin(embeds.shape[1], context)
        eps = self._model.dims.language_model.rms_norm_eps
        zero = embeds.new_zeros((), dtype=torch.float32)
        scale, probability = (store.scale, store.dropout) if store is not None else (zero, zero)
        weights = self._weights()
        x = embeds
        for number, (attention, mlp) in enumerate(weights):
            is_last = number == len(weights) - 1

            def layer(
                x: Tensor,
                attend_drop: Drop,
                mlp_drop: Drop,
                attention: AttentionWeights = attention,
                mlp: MlpWeights = mlp,
                is_last: bool = is_last,
            ) -> Tensor:
                x = self._attend(x, attention, cos, sin, scale, attend_drop, eps)
                if is_last:  # only a few rows: compiling for another shape costs more than it saves
                    x = x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[2]))
                    return feed_forward(x, mlp, scale, mlp_drop, eps)
                return self._feed_forward(x, mlp, scale, mlp_drop, eps)

            num_rows = rows.shape[1] if is_last else x.shape[1]
            drops = (
                self._drop(store, 4 * number, (len(x), x.shape[1]), attention.qkv, attention.out, probability),
                self._drop(store, 4 * number + 2, (len(x), num_rows), mlp.gate_up, mlp.down, probability),
            )
            if checkpointed and torch.is_grad_enabled():
                # Masks are drawn outside, so nothing random is repeated: a capture could not restore a generator state.
                x = checkpoint(layer, x, *drops, use_reentrant=False, preserve_rng_state=False)
            else:
                x = layer(x, *drops)
            if context is not None and number < context.deepstack.shape[1]:
                assert not is_last, "deepstack features go to the first layers"
                x = add_to_image(x, context.deepstack[:, number], context.image_start)
        if self._model.dims.family is Family.QWEN3_VL:
            return x
        return rms_norm(x, self._text.norm.weight, eps)

    def _cos_sin(self, length: int, context: VisualContext | None) -> tuple[Tensor, Tensor]:
        """cos and sin of a sequence's positions, each (1, T, h). Cached by length and image."""
        key = (length, context and (context.image_start, context.grid))
        if key not in self._positions:
            reference = self._model.no_mem_embed
            numbers = (
                torch.arange(length)[None]
                if context is None
                else positions(length, context.image_start, context.grid)[:, None]
            )
            self._positions[key] = self._text.rotary_emb(reference, numbers.to(reference.device))
        return self._positions[key]

    def _weights(self) -> list[tuple[AttentionWeights, MlpWeights]]:
        """Each layer's tensors, with those of the adapters that are attached now."""
        layers = []
        for layer in self._text.layers:
            attention = layer.self_attn
            q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
            inputs, out, gate_up, down = groups_of(layer)
            layers.append(
                (
                    AttentionWeights(
                        self._model.dims.language_model.num_key_value_heads,
                        layer.input_layernorm.weight,
                        self._projection(*inputs),
                        self._projection(*out),
                        None if q_norm is None else q_norm.weight,
                        None if k_norm is None else k_norm.weight,
                    ),
                    MlpWeights(
                        layer.post_attention_layernorm.weight,
                        self._projection(*gate_up),
                        self._projection(*down),
                    ),
                )
            )
        return layers

    def _merge(self, *linears: nn.Linear) -> None:
        weight: Tensor | Fp8Weight | None = fp8_of(linears[0])
        if weight is None:
            if len(linears) == 1:
                return
            weight = torch.cat([linear.weight.detach() for linear in linears])
            for linear, part in zip(linears, weight.split([each.out_features for each in linears]), strict=True):
                linear.weight.data = part
        biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
        assert len(biases) in (0, len(linears)), "modules that read one input have all a bias, or none"
        self._merged[id(linears[0])] = (weight, torch.cat(biases) if biases else None)

    def _projection(self, *modules: nn.Module) -> Projection:
        bases, adapters = zip(*(adapted(module) for module in modules), strict=True)
        weight, bias = self._merged.get(id(bases[0]), (bases[0].weight, bases[0].bias))
        return Projection(weight, bias, tuple(base.out_features for base in bases), adapters)

    def _drop(
        self,
        store: AdapterStore | None,
        place: int,
        size: tuple[int, int],
        first: Projection,
        second: Projection,
        probability: Tensor,
    ) -> Drop:
        """Dropout masks for the inputs of two projections; None for one without adapters, or if dropout is off.

        place: number of the first projection, from 0. size: of the inputs, without their width.
        """

        def mask(projection: Projection, place: int) -> Tensor | None:
            if store is None or not store.is_dropping or not any(projection.adapters):
                return None
            shape = (*size, projection.weight.shape[1])
            return self._keep(shape, self._places[place], store.seeds, store.draws, probability)

        return Drop(mask(first, place), mask(second, place + 1), probability)
