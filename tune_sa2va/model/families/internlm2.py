"""InternLM2 as transformers' Llama with one fused attention projection.

`wqkv` stays one module, as in the reference, so that an adapter on it is one adapter there, too. Its rows come in
groups, one per key/value head: the group's query heads, then its key head, then its value head (`InternLM2Attention` in
the reference's modeling_internlm2.py).
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward


class FusedAttention(nn.Module):
    """Llama's attention with `wqkv` in InternLM2's grouped layout, and `wo`."""

    def __init__(self, config: LlamaConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = True
        num_heads = config.num_attention_heads + 2 * config.num_key_value_heads
        self.wqkv = nn.Linear(config.hidden_size, num_heads * self.head_dim, bias=config.attention_bias)
        self.wo = nn.Linear(config.hidden_size, config.hidden_size, bias=config.attention_bias)

    def forward(
        self,
        hidden_states: Float[Tensor, "B T D"],
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Float[Tensor, "B T D"], Tensor | None]:
        """As `LlamaAttention.forward`."""
        q, k, v = (heads.transpose(1, 2) for heads in ungroup(self.wqkv(hidden_states), self.config))
        q, k = apply_rotary_pos_emb(q, k, *position_embeddings)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, weights = attend(self, q, k, v, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.wo(mixed.flatten(2)), weights


def ungroup(
    fused: Float[Tensor, "B T F"], config: LlamaConfig
) -> tuple[Float[Tensor, "B T H h"], Float[Tensor, "B T K h"], Float[Tensor, "B T K h"]]:
    """Query, key and value heads from the output of `wqkv`."""
    per_group = config.num_attention_heads // config.num_key_value_heads
    groups = fused.unflatten(-1, (config.num_key_value_heads, per_group + 2, -1))
    return groups[..., :per_group, :].flatten(2, 3), groups[..., -2, :], groups[..., -1, :]


def build_internlm2(config: LlamaConfig) -> LlamaForCausalLM:
    """The language model. On the meta device, building the attention that is then replaced costs nothing."""
    model = LlamaForCausalLM(config)
    for index, layer in enumerate(model.model.layers):
        layer.self_attn = FusedAttention(config, index)
    return model
