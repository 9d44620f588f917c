"""Qwen2.5-VL and Qwen3-VL: a vision tower over a grid of patches, and a language model with 3-D positions.

transformers' own outer model searches the token ids for images on the host. Here an image is always one run of tokens
with a known start, so positions follow from its grid and no mask is needed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLTextModel,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel, Qwen3VLVisionModel

from tune_sa2va.model.families import Family
from tune_sa2va.model.families.configs import TextConfig, VisionConfig


@dataclass(frozen=True, slots=True)
class VisualContext:
    """What the language model needs about images besides their tokens. All images of a batch share the grid.

    image_start: position of the first image token. grid: rows and columns of image tokens.
    deepstack: added to the image tokens after each of the first L layers (Qwen3-VL); L is 0 in Qwen2.5-VL.
    """

    image_start: int
    grid: tuple[int, int]
    deepstack: Float[Tensor, "B L I D"]


class CausalText(nn.Module):
    """A text model and its head, with the attribute names of transformers' causal language models."""

    def __init__(self, family: Family, config: TextConfig) -> None:
        super().__init__()
        self.model = (Qwen3VLTextModel if family is Family.QWEN3_VL else Qwen2_5_VLTextModel)(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""
        return self.model.embed_tokens


def build_vision(family: Family, config: VisionConfig) -> nn.Module:
    """The vision tower with its merger (and Qwen3-VL's deepstack mergers)."""
    return (Qwen3VLVisionModel if family is Family.QWEN3_VL else Qwen2_5_VisionTransformerPretrainedModel)(config)


def encode_patches(
    vision: Any, patches: Float[Tensor, "P F"], grid: tuple[int, int]
) -> tuple[Float[Tensor, "I D"], Float[Tensor, "L I D"]]:
    """Image tokens of one picture, and its deepstack features (none in Qwen2.5-VL).

    patches: as `patches.patches_of` orders them. grid: rows and columns of image tokens, each of merge x merge patches.
    """
    merge = vision.config.spatial_merge_size
    patch_grid = torch.tensor([[1, grid[0] * merge, grid[1] * merge]], device=patches.device)
    output = vision(patches, grid_thw=patch_grid)
    tokens = output.pooler_output
    deepstack = getattr(output, "deepstack_features", None) or []
    return tokens, torch.stack(deepstack) if deepstack else tokens.new_zeros(0, *tokens.shape)


def positions(length: int, image_start: int, grid: tuple[int, int]) -> Int[Tensor, "3 T"]:
    """Temporal, row and column position of each token of a sequence with one image (M-RoPE, arXiv 2409.12191).

    In text, all three count up together. All image tokens have the temporal position of the image's start; their row
    and column are added to it in the other two. Text after the image continues at that start plus the larger side of
    the grid.
    """
    rows, columns = grid
    before = torch.arange(image_start).expand(3, -1)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    image = image_start + torch.stack((torch.zeros_like(row), row, column)).flatten(1)
    num_after = length - image_start - rows * columns
    after = (image_start + max(rows, columns) + torch.arange(num_after)).expand(3, -1)
    return torch.cat((before, image, after), dim=1)


def run_text(
    text: Any,
    inputs_embeds: Float[Tensor, "B T D"],
    context: VisualContext,
    *,
    final_norm: bool,
    cache: Cache | None = None,
) -> Float[Tensor, "B T D"]:
    """The text model's last hidden state. Causal, without a padding mask: pad on the right.

    final_norm: whether to apply the model's final norm.
    cache: the positions given are appended to those that it holds. Unless it is empty, it must hold the image.
    """
    num_before = 0 if cache is None else cache.get_seq_length()
    end = num_before + inputs_embeds.shape[1]
    three = positions(end, context.image_start, context.grid)[:, num_before:].to(inputs_embeds.device)
    position_embeddings = text.rotary_emb(inputs_embeds, three[:, None])
    hidden = inputs_embeds
    for index, layer in enumerate(text.layers):
        hidden = layer(
            hidden, position_embeddings=position_embeddings, attention_mask=None, past_key_values=cache,
            use_cache=cache is not None,
        )  # fmt: skip
        if num_before == 0 and index < context.deepstack.shape[1]:
            hidden = add_to_image(hidden, context.deepstack[:, index], context.image_start)
    return text.norm(hidden) if final_norm else hidden


def add_to_image(
    hidden: Float[Tensor, "B T D"], features: Float[Tensor, "B I D"], image_start: int
) -> Float[Tensor, "B T D"]:
    """`hidden` with `features` added at the image tokens."""
    end = image_start + features.shape[1]
    image = hidden[:, image_start:end] + features.to(hidden.dtype)
    return torch.cat((hidden[:, :image_start], image, hidden[:, end:]), dim=1)
