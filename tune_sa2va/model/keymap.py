"""Maps native parameter names to the reference's checkpoint keys.

The reference fuses InternViT's q, k and v into one `qkv`, keeps SAM2's four point embeddings apart, and names modules
differently from transformers. The tables below give all renames in the direction native -> reference; loading, saving,
LoRA targets and adapters all use them. Outside SAM2 and `text_hidden_fcs`, names differ between families.
"""

import re
from dataclasses import dataclass

from tune_sa2va.model.families import Family

_SAM2 = "grounding_encoder.sam2_model."


@dataclass(frozen=True, slots=True)
class Source:
    """The place of a native tensor in a checkpoint.

    keys: one key, or several whose tensors are stacked as rows.
    third: None for the whole tensor; 0, 1 or 2 for a third of its rows (q, k, v of a fused `qkv`).
    """

    keys: tuple[str, ...]
    third: int | None = None


# Reference keys without a native parameter: they are for video (memory of earlier frames) and unused on one image.
LEFTOVER_PATTERNS: tuple[str, ...] = (
    r"grounding_encoder\.sam2_model\.memory_attention\..*",
    r"grounding_encoder\.sam2_model\.memory_encoder\..*",
    r"grounding_encoder\.sam2_model\.(maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)",
    r"grounding_encoder\.sam2_model\.(mask_downsample|obj_ptr_proj|obj_ptr_tpos_proj)\..*",
)

_Renames = tuple[tuple[str, str], ...]

# (native, reference) for a family's vision tower and language model. The first one that matches a name's start applies.
_INTERN_VIT: _Renames = (
    (r"vision_model\.embeddings\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"vision_model\.embeddings\.position_embeddings$", "vision_model.embeddings.position_embedding"),
    (r"vision_model\.embeddings\.patch_embeddings\.projection\.", "vision_model.embeddings.patch_embedding."),
    (r"vision_model\.encoder\.layer\.", "vision_model.encoder.layers."),
)  # fmt: skip
_LAYER = r"language_model\.model\.layers\.(\d+)\."
_INTERNLM2: _Renames = (
    (r"language_model\.lm_head\.", "language_model.output."),
    (r"language_model\.model\.embed_tokens\.", "language_model.model.tok_embeddings."),
    (_LAYER + r"self_attn\.", r"language_model.model.layers.\1.attention."),
    (_LAYER + r"mlp\.gate_proj\.", r"language_model.model.layers.\1.feed_forward.w1."),
    (_LAYER + r"mlp\.down_proj\.", r"language_model.model.layers.\1.feed_forward.w2."),
    (_LAYER + r"mlp\.up_proj\.", r"language_model.model.layers.\1.feed_forward.w3."),
    (_LAYER + r"input_layernorm\.", r"language_model.model.layers.\1.attention_norm."),
    (_LAYER + r"post_attention_layernorm\.", r"language_model.model.layers.\1.ffn_norm."),
)  # fmt: skip
_QWEN_VL: _Renames = (
    (r"vision_model\.", "model.model.visual."),
    (r"language_model\.model\.", "model.model.language_model."),
    (r"language_model\.lm_head\.", "model.lm_head."),
)
_BY_FAMILY: dict[Family, _Renames] = {
    Family.INTERNVL_QWEN2: _INTERN_VIT,
    Family.INTERNVL_INTERNLM2: _INTERN_VIT + _INTERNLM2,
    Family.QWEN2_5_VL: _QWEN_VL,
    Family.QWEN3_VL: _QWEN_VL,
}
# The same for the modules of every family.
_COMMON: _Renames = (
    (r"sam_vision\.backbone\.patch_embed\.projection\.", _SAM2 + "image_encoder.trunk.patch_embed.proj."),
    (r"sam_vision\.backbone\.", _SAM2 + "image_encoder.trunk."),
    (r"sam_vision\.neck\.convs\.(\d+)\.", _SAM2 + r"image_encoder.neck.convs.\1.conv."),
    (r"sam_prompt_encoder\.shared_embedding\.positional_embedding$",
     _SAM2 + "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"sam_prompt_encoder\.mask_embed\.conv1\.", _SAM2 + "sam_prompt_encoder.mask_downscaling.0."),
    (r"sam_prompt_encoder\.mask_embed\.layer_norm1\.", _SAM2 + "sam_prompt_encoder.mask_downscaling.1."),
    (r"sam_prompt_encoder\.mask_embed\.conv2\.", _SAM2 + "sam_prompt_encoder.mask_downscaling.3."),
    (r"sam_prompt_encoder\.mask_embed\.layer_norm2\.", _SAM2 + "sam_prompt_encoder.mask_downscaling.4."),
    (r"sam_prompt_encoder\.mask_embed\.conv3\.", _SAM2 + "sam_prompt_encoder.mask_downscaling.6."),
    (r"sam_prompt_encoder\.", _SAM2 + "sam_prompt_encoder."),
    (r"sam_mask_decoder\.upscale_conv1\.", _SAM2 + "sam_mask_decoder.output_upscaling.0."),
    (r"sam_mask_decoder\.upscale_layer_norm\.", _SAM2 + "sam_mask_decoder.output_upscaling.1."),
    (r"sam_mask_decoder\.upscale_conv2\.", _SAM2 + "sam_mask_decoder.output_upscaling.3."),
    (r"sam_mask_decoder\.transformer\.layer_norm_final_attn\.",
     _SAM2 + "sam_mask_decoder.transformer.norm_final_attn."),
    (r"sam_mask_decoder\.", _SAM2 + "sam_mask_decoder."),
    (r"no_mem_embed$", _SAM2 + "no_mem_embed"),
)  # fmt: skip

# (native, reference) inside InternViT's layers, Hiera's blocks and the mask decoder.
_INNER: tuple[tuple[str, str, str], ...] = (
    ("vision_model.", r"\.lambda_1$", ".ls1"),
    ("vision_model.", r"\.lambda_2$", ".ls2"),
    ("vision_model.", r"\.layernorm_before\.", ".norm1."),
    ("vision_model.", r"\.layernorm_after\.", ".norm2."),
    ("vision_model.", r"\.attention\.projection_layer\.", ".attn.proj."),
    ("vision_model.", r"\.attention\.([qk])_norm\.", r".attn.\1_norm."),
    (_SAM2, r"\.layer_norm(\d)\.", r".norm\1."),
    (_SAM2 + "sam_mask_decoder.", r"\.o_proj\.", ".out_proj."),
)
_FUSED_QKV = re.compile(r"(vision_model\.encoder\.layers\.\d+\.)attention\.([qkv])_proj\.(weight|bias)$")
_FEED_FORWARD = re.compile(r"\.(proj_in|proj_out|layers\.(\d+))\.(weight|bias)$")
# SAM2's MLPs of three layers: transformers names the first and the last layer, the reference numbers them.
_DEEP_MLP = re.compile(r"\.(output_hypernetworks_mlps\.\d+|iou_prediction_head|pred_obj_score_head)\.")


def source_of(native: str, family: Family) -> Source:
    """The place of the native parameter or buffer `native` in a reference checkpoint of this family."""
    if native == "sam_prompt_encoder.point_embed.weight":
        return Source(tuple(f"{_SAM2}sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)))
    name = native
    for pattern, replacement in _BY_FAMILY[family] + _COMMON:
        name, count = re.subn("^" + pattern, replacement, name)
        if count:
            break
    if fused := _FUSED_QKV.match(name):
        return Source((f"{fused[1]}attn.qkv.{fused[3]}",), third="qkv".index(fused[2]))
    for prefix, pattern, replacement in _INNER:
        if name.startswith(prefix):
            name = re.sub(pattern, replacement, name)
    if name.startswith(_SAM2):
        name = _number_mlp(name)
    return Source((name,))


def _number_mlp(name: str) -> str:
    if not (match := _FEED_FORWARD.search(name)):
        return name
    is_deep = bool(_DEEP_MLP.search(name))
    if match[1] == "proj_in":
        index = 0
    elif match[1] == "proj_out":
        index = 2 if is_deep else 1
    elif is_deep:
        index = int(match[2]) + 1
    else:  # `.layers.N.` here is a transformer layer's own weight, not an MLP's
        return name
    return f"{name[: match.start()]}.layers.{index}.{match[3]}"


def is_leftover(key: str) -> bool:
    """Whether a checkpoint key has no native parameter because it is for video only (memory of earlier frames)."""
    return any(re.fullmatch(pattern, key) for pattern in LEFTOVER_PATTERNS)
