"""Rotary position embedding with dynamic NTK scaling, which InternVL's language models use.

transformers chooses the scaling by the largest position. That is a value on the device, so Python must wait for it and
a CUDA graph cannot contain the choice. Here the sequence's length decides, which is equivalent for whole sequences and
known to Python.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import LlamaConfig, Qwen2Config


class DynamicNtkRotary(nn.Module):
    """cos and sin of positions, with the interface of transformers' rotary embeddings."""

    def __init__(self, config: Qwen2Config | LlamaConfig) -> None:
        super().__init__()
        self.config = config
        rope = config.rope_parameters
        self._base, self._factor = rope["rope_theta"], rope.get("factor", 1.0)
        self._width = config.hidden_size // config.num_attention_heads
        self.inv_freq = nn.Buffer(self._frequencies(self._base), persistent=False)

    @torch.no_grad()
    def forward(
        self, x: Tensor, position_ids: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T h"], Float[Tensor, "B T h"]]:
        """cos and sin in the dtype of `x`. position_ids: those of the whole sequence, 0 to T - 1."""
        frequencies: Tensor = self.inv_freq
        if (base := self.base_at(position_ids.shape[-1])) != self._base:
            frequencies = self._frequencies(base).to(frequencies.device)
        angles = position_ids[..., None].float() * frequencies.to(device=x.device, dtype=torch.float)
        both_halves = torch.cat((angles, angles), dim=-1)
        return both_halves.cos().to(x.dtype), both_halves.sin().to(x.dtype)

    def base_at(self, length: int) -> float:
        """The base for sequences of `length` tokens; it grows once `length` exceeds max_position_embeddings.

        It is then base (factor L / L_max - (factor - 1)) ^ (h / (h - 2)), where h is the width of a head, from
        InternLM2's `InternLM2DynamicNTKScalingRotaryEmbedding` and transformers' `_compute_dynamic_ntk_parameters`.
        """
        longest = self.config.max_position_embeddings
        if self.config.rope_parameters["rope_type"] == "default" or length <= longest:
            return self._base
        stretch = self._factor * length / longest - (self._factor - 1)
        return self._base * stretch ** (self._width / (self._width - 2))

    def _frequencies(self, base: float) -> Float[Tensor, " h/2"]:
        return 1.0 / (base ** (torch.arange(0, self._width, 2, dtype=torch.float) / self._width))
