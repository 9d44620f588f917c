"""Sa2VA from transformers' own modules: vision tower, language model, `text_hidden_fcs`, SAM2. No remote code.

The forward pass is split where training splits it: `encode_image` (frozen, run once per image) gives `ImageFeatures`;
`embed_text` and `hidden_states` run the language model over them; `seg_embeddings` and `decode_masks` give the mask.

Code for all families passes `features.context(image_start)` to `hidden_states` and uses `logits` to score tokens. In
the InternVL families the context is None and may be omitted; the Qwen-VL families require it.

Shape letters: B images, T text positions, D width of the language model, d width of SAM2, S side of the mask logits.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, InternVLVisionModel, Qwen2ForCausalLM
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder, Sam2PromptEncoder, Sam2VisionModel

from tune_sa2va.model.dims import Sa2VADims
from tune_sa2va.model.families import Family, qwen_vl
from tune_sa2va.model.families.internlm2 import build_internlm2
from tune_sa2va.model.families.qwen_vl import VisualContext
from tune_sa2va.model.families.rotary import DynamicNtkRotary


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """The frozen encoders' output for one image, which is all that a trial needs of it.

    image_tokens: (I, D), replaces the image's placeholder embeddings; I is tiles x tokens_per_tile in InternVL.
    embed: (d, S/4, S/4), the stride-16 level with `no_mem_embed` added.
    high_res_1: (d, S/2, S/2) the FPN's stride-8 level before `conv_s1`, or (d/4, S/2, S/2) after it.
    high_res_0: (d, S, S) the FPN's stride-4 level before `conv_s0`, or (d/8, S, S) after it.

    The last two are None except in the Qwen-VL families (a cache must keep both; images of one batch share the grid):
    grid: rows and columns of image tokens; their product is I, and they determine the positions of the text.
    deepstack: (L, I, D), added by Qwen3-VL to the image's tokens after its first L layers; L is 0 in Qwen2.5-VL.
    """

    image_tokens: Float[Tensor, "I D"]
    embed: Float[Tensor, "d h w"]
    high_res_1: Float[Tensor, "c1 2h 2w"]
    high_res_0: Float[Tensor, "c0 4h 4w"]
    grid: tuple[int, int] | None = None
    deepstack: Float[Tensor, "L I D"] | None = None

    def context(self, image_start: int) -> VisualContext | None:
        """The context for `Sa2VA.hidden_states` with a batch of this image; None in the InternVL families."""
        return context_of([self], image_start)


def context_of(images: Sequence[ImageFeatures], image_start: int) -> VisualContext | None:
    """The context for `Sa2VA.hidden_states` with a batch of images; None in the InternVL families.

    image_start: position of the first image token in every sequence. All images must have the same grid.
    """
    grids = {image.grid for image in images}
    assert len(grids) == 1, f"images of one batch share their grid, got {grids}"
    grid = grids.pop()
    if grid is None:
        return None
    deepstack = [image.deepstack for image in images if image.deepstack is not None]
    return VisualContext(image_start, grid, torch.stack(deepstack))


class MaskOutput(NamedTuple):
    """mask_logits: (B, 3, S, S), masks 1..3; iou_scores: (B, 3) in [0, 1]; object_score_logits: (B, 1), unused."""

    mask_logits: Float[Tensor, "B 3 S S"]
    iou_scores: Float[Tensor, "B 3"]
    object_score_logits: Float[Tensor, "B 1"]

    def best(self) -> Float[Tensor, "B S S"]:
        """The mask with the highest predicted IoU, chosen per image (the choice itself has no gradient)."""
        index = self.iou_scores.argmax(dim=1)
        return self.mask_logits.gather(
            1, index[:, None, None, None].expand(-1, 1, *self.mask_logits.shape[2:])
        ).squeeze(1)


class Sa2VA(nn.Module):
    """The model. Build it on the meta device (see `checkpoint`). `keymap` maps its names to the reference's."""

    def __init__(self, dims: Sa2VADims) -> None:
        super().__init__()
        self.dims = dims
        sam2 = dims.sam2.to_transformers()
        for config in (dims.vision, dims.language_model, sam2.vision_config, sam2.mask_decoder_config):
            config._attn_implementation = "sdpa"
        sam2.vision_config.backbone_config._attn_implementation = "sdpa"
        width = dims.language_model.hidden_size
        self.vision_model, self.mlp1 = _build_vision(dims)
        self.language_model = _build_language_model(dims)
        self.text_hidden_fcs = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dims.sam2.d))
        self.sam_vision = Sam2VisionModel(sam2.vision_config)
        self.sam_prompt_encoder = Sam2PromptEncoder(sam2.prompt_encoder_config)
        self.sam_mask_decoder = Sam2MaskDecoder(sam2.mask_decoder_config)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dims.sam2.d))

    # -- frozen encoders --------------------------------------------------------------------------------------------

    def encode_tiles(self, pixel_values: Float[Tensor, "N 3 P P"]) -> Float[Tensor, "N I D"]:
        """InternVL: image tokens of each tile. No final norm; drops the class token; pixel shuffle v2; `mlp1`."""
        patches = self.vision_model(pixel_values).last_hidden_state[:, 1:]
        return self.mlp1(pixel_shuffle(patches))

    def encode_sam(
        self, g_pixel_values: Float[Tensor, "B 3 G G"]
    ) -> tuple[Float[Tensor, "B d h w"], Float[Tensor, "B d 2h 2w"], Float[Tensor, "B d 4h 4w"]]:
        """SAM2's image embedding with `no_mem_embed` added, and the stride-8 and stride-4 levels before their convs."""
        return self.sam_levels(self.sam_vision.backbone(g_pixel_values).intermediate_hidden_states)

    def sam_levels(
        self, of_stages: Sequence[Float[Tensor, "B H W C"]]
    ) -> tuple[Float[Tensor, "B d h w"], Float[Tensor, "B d 2h 2w"], Float[Tensor, "B d 4h 4w"]]:
        """SAM2's feature pyramid over the outputs of the trunk's stages. Returns what `encode_sam` does."""
        neck = self.sam_vision.neck
        is_wider = neck.convs[0].weight.dtype != self.no_mem_embed.dtype  # a trial trains it, in fp32
        with torch.autocast(self.no_mem_embed.device.type, torch.bfloat16) if is_wider else nullcontext():
            levels, _ = neck(of_stages)
        stride_4, stride_8, stride_16 = levels[-self.sam_vision.num_feature_levels :][::-1]
        return stride_16 + self.no_mem_embed.view(1, -1, 1, 1).to(stride_16.dtype), stride_8, stride_4

    def encode_image(
        self,
        pixel_values: Float[Tensor, "N ..."],
        g_pixel_values: Float[Tensor, "1 3 G G"],
        *,
        project_high_res: bool,
        grid: tuple[int, int] | None = None,
    ) -> ImageFeatures:
        """Features of one image, from the fields of `encoder_inputs`.

        pixel_values: (tiles, 3, P, P) in InternVL, (patches, F) in Qwen-VL. grid: required in Qwen-VL.
        project_high_res: whether to apply `conv_s0` and `conv_s1`, which makes their levels an 8th and a 4th as large.
        """
        deepstack = None
        if self.dims.family.is_internvl:
            image_tokens = self.encode_tiles(pixel_values).flatten(0, 1)
        else:
            assert grid is not None, "Qwen-VL needs the picture's grid"
            image_tokens, deepstack = qwen_vl.encode_patches(self.vision_model, pixel_values, grid)
        embed, high_res_1, high_res_0 = self.encode_sam(g_pixel_values)
        if project_high_res:
            high_res_1, high_res_0 = self.project_high_res(high_res_1, high_res_0)
        return ImageFeatures(image_tokens, embed[0], high_res_1[0], high_res_0[0], grid, deepstack)

    # -- what a trial trains ----------------------------------------------------------------------------------------

    def embed_text(
        self, input_ids: Int[Tensor, "B T"], image_tokens: Float[Tensor, "B I D"], image_start: int
    ) -> Float[Tensor, "B T D"]:
        """Token embeddings, with those of the image's I placeholders from `image_start` on replaced."""
        embeds = self.language_model.get_input_embeddings()(input_ids)
        image_end = image_start + image_tokens.shape[1]
        return torch.cat((embeds[:, :image_start], image_tokens.to(embeds.dtype), embeds[:, image_end:]), dim=1)

    def hidden_states(
        self,
        inputs_embeds: Float[Tensor, "B T D"],
        context: VisualContext | None = None,
        *,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The hidden states for `seg_embeddings` and `logits`. Causal, without a padding mask: pad on the right.

        They are taken after the final norm, but in Qwen3-VL before it: the reference uses `hidden_states[-1]`, which is
        not normed there in transformers 4.57, with which those checkpoints were trained.

        context: `ImageFeatures.context` of the same images; required in Qwen-VL, None in InternVL.
        cache: the positions given are appended to those that it holds.
        """
        text = self.language_model.model
        if self.dims.family.is_internvl:
            return text(
                inputs_embeds=inputs_embeds, past_key_values=cache, use_cache=cache is not None
            ).last_hidden_state
        assert context is not None, "Qwen-VL needs the images' context"
        final_norm = self.dims.family is not Family.QWEN3_VL
        return qwen_vl.run_text(text, inputs_embeds, context, final_norm=final_norm, cache=cache)

    def logits(self, hidden: Float[Tensor, "... D"]) -> Float[Tensor, "... V"]:
        """Logits of the next token, from the output of `hidden_states`."""
        if self.dims.family is Family.QWEN3_VL:
            hidden = self.language_model.model.norm(hidden)
        return self.language_model.lm_head(hidden)

    def seg_embeddings(self, hidden: Float[Tensor, "B T D"], seg_positions: Int[Tensor, " B"]) -> Float[Tensor, "B d"]:
        """`text_hidden_fcs` of the hidden state at each sequence's [SEG] token itself."""
        rows = torch.arange(hidden.shape[0], device=hidden.device)
        return self.text_hidden_fcs(hidden[rows, seg_positions])

    def project_high_res(
        self, high_res_1: Float[Tensor, "B d 2h 2w"], high_res_0: Float[Tensor, "B d 4h 4w"]
    ) -> tuple[Float[Tensor, "B c1 2h 2w"], Float[Tensor, "B c0 4h 4w"]]:
        """The mask decoder's `conv_s1` and `conv_s0` on the stride-8 and stride-4 levels."""
        return self.sam_mask_decoder.conv_s1(high_res_1), self.sam_mask_decoder.conv_s0(high_res_0)

    def decode_masks(
        self,
        embed: Float[Tensor, "B d h w"],
        high_res_1: Float[Tensor, "B c1 2h 2w"],
        high_res_0: Float[Tensor, "B c0 4h 4w"],
        seg_embeddings: Float[Tensor, "B d"],
    ) -> MaskOutput:
        """SAM2's three masks for each image and its [SEG] embedding. The finer levels may be raw or projected."""
        if high_res_0.shape[1] == self.dims.sam2.d:
            high_res_1, high_res_0 = self.project_high_res(high_res_1, high_res_0)
        batch = embed.shape[0]
        masks, iou_scores, _, object_score_logits = self.sam_mask_decoder(
            image_embeddings=embed,
            image_positional_embeddings=self.image_position_encoding().expand(batch, -1, -1, -1),
            sparse_prompt_embeddings=self.sparse_prompts(seg_embeddings)[:, None],
            dense_prompt_embeddings=self.sam_prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand_as(embed),
            multimask_output=True,
            high_resolution_features=[high_res_0, high_res_1],
        )
        return MaskOutput(masks[:, 0], iou_scores[:, 0], object_score_logits[:, 0])

    def sparse_prompts(self, seg_embeddings: Float[Tensor, "B d"]) -> Float[Tensor, "B 3 d"]:
        """Two not-a-point embeddings, then the [SEG] embedding: the reference passes one padded empty point."""
        not_a_point = self.sam_prompt_encoder.not_a_point_embed.weight.to(seg_embeddings.dtype)
        return torch.cat((not_a_point.expand(seg_embeddings.shape[0], 2, -1), seg_embeddings[:, None]), dim=1)

    def image_position_encoding(self) -> Float[Tensor, "1 d h w"]:
        """The dense positional encoding: cell centres in [0, 1] through SAM2's random Fourier features, in fp32."""
        side = self.dims.sam2.embed_side
        embedding = self.sam_prompt_encoder.shared_embedding.positional_embedding
        # Autocast would run the Fourier matmul in bf16 and shift whole cells.
        with torch.autocast(embedding.device.type, enabled=False):
            centres = (torch.arange(side, device=embedding.device, dtype=torch.float32) + 0.5) / side
            y, x = torch.meshgrid(centres, centres, indexing="ij")
            encoding = self.sam_prompt_encoder.shared_embedding(torch.stack((x, y), dim=-1)[None])
        return encoding.permute(0, 3, 1, 2)


def _build_vision(dims: Sa2VADims) -> tuple[Any, nn.Module]:
    """The vision tower and the projection of its output to the language model's width (inside the tower in Qwen-VL)."""
    if not dims.family.is_internvl:
        return qwen_vl.build_vision(dims.family, dims.vision), nn.Identity()
    width, wide = dims.language_model.hidden_size, 4 * dims.vision.hidden_size
    mlp1 = nn.Sequential(nn.LayerNorm(wide), nn.Linear(wide, width), nn.GELU(), nn.Linear(width, width))
    return InternVLVisionModel(dims.vision), mlp1


def _build_language_model(dims: Sa2VADims) -> Any:
    config = dims.language_model
    if not dims.family.is_internvl:
        return qwen_vl.CausalText(dims.family, config)
    is_internlm2 = dims.family is Family.INTERNVL_INTERNLM2
    model = build_internlm2(config) if is_internlm2 else Qwen2ForCausalLM(config)
    model.model.rotary_emb = DynamicNtkRotary(config)
    return model


def pixel_shuffle(patches: Float[Tensor, "N L C"]) -> Float[Tensor, "N L/4 4C"]:
    """InternVL's pixel shuffle, version 2, ratio 0.5: 2x2 patches become one token of four times the width."""
    count, length, channels = patches.shape
    side = int(length**0.5)
    x = patches.view(count, side, side, channels)
    x = x.reshape(count, side, side // 2, 2 * channels).permute(0, 2, 1, 3)
    x = x.reshape(count, side // 2, side // 2, 4 * channels).permute(0, 2, 1, 3)
    return x.reshape(count, length // 4, 4 * channels)
