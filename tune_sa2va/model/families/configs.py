"""Converts config.json of each family to transformers' configurations.

The reference's InternLM2 (`modeling_internlm2.py` in a checkpoint) is transformers' Llama except for its fused
attention projection and its names, so its configuration is Llama's.
"""

from typing import Any, TypeAlias

from transformers import InternVLVisionConfig, LlamaConfig, Qwen2Config
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig, Qwen2_5_VLVisionConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig, Qwen3VLVisionConfig

from tune_sa2va.model.families import Family

TextConfig: TypeAlias = Qwen2Config | LlamaConfig | Qwen2_5_VLTextConfig | Qwen3VLTextConfig
VisionConfig: TypeAlias = InternVLVisionConfig | Qwen2_5_VLVisionConfig | Qwen3VLVisionConfig

# Keys of InternVL's llm_config that have the same name in transformers' Qwen2Config and LlamaConfig.
_LLM_FIELDS = (
    "attention_dropout",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "tie_word_embeddings",
    "vocab_size",
)
# Keys of Qwen-VL's text_config. Those left out tell how generation starts and ends.
_TEXT_FIELDS = (*_LLM_FIELDS, "attention_bias", "head_dim", "rope_parameters", "rope_scaling", "rope_theta")
_QWEN2_5_VISION_FIELDS = (
    "depth",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "num_heads",
    "in_channels",
    "patch_size",
    "spatial_merge_size",
    "temporal_patch_size",
    "window_size",
    "out_hidden_size",
    "fullatt_block_indexes",
)
_QWEN3_VISION_FIELDS = (
    "depth",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "num_heads",
    "in_channels",
    "patch_size",
    "spatial_merge_size",
    "temporal_patch_size",
    "out_hidden_size",
    "num_position_embeddings",
    "deepstack_visual_indexes",
)


def family_of(config: dict[str, Any]) -> Family | None:
    """The family that a config.json describes; None for an unknown one."""
    llm, vision = config.get("llm_config"), config.get("vision_config")
    if not isinstance(vision, dict):
        return None
    if isinstance(llm, dict):
        kinds = {"qwen2": Family.INTERNVL_QWEN2, "internlm2": Family.INTERNVL_INTERNLM2}
        return kinds.get(llm.get("model_type", "qwen2"))
    text = config.get("text_config", {})
    text_kind = text.get("model_type", "") if isinstance(text, dict) else ""
    for family, prefix in ((Family.QWEN2_5_VL, "qwen2_5_vl"), (Family.QWEN3_VL, "qwen3_vl")):
        if str(vision.get("model_type", "")).startswith(prefix) and text_kind in ("", prefix, f"{prefix}_text"):
            return family
    return None


def text_config(family: Family, config: dict[str, Any]) -> TextConfig:
    """The language model's configuration."""
    if family is Family.INTERNVL_QWEN2:
        llm = config["llm_config"]
        return Qwen2Config(**_picked(llm, _LLM_FIELDS), rope_parameters=_rope(llm))
    if family is Family.INTERNVL_INTERNLM2:
        llm = config["llm_config"]
        bias = llm.get("bias", False)
        return LlamaConfig(**_picked(llm, _LLM_FIELDS), attention_bias=bias, rope_parameters=_rope(llm))
    # Older transformers wrote Qwen2.5-VL's text configuration flat, next to vision_config.
    text = config.get("text_config", config)
    fields = _picked(text, _TEXT_FIELDS) | {"bos_token_id": None, "eos_token_id": None}
    return Qwen2_5_VLTextConfig(**fields) if family is Family.QWEN2_5_VL else Qwen3VLTextConfig(**fields)


def ties_embeddings(family: Family, config: dict[str, Any]) -> bool:
    """Whether lm_head shares the token embedding. No published Sa2VA does; its base models of 4 B and less do."""
    inner = config["llm_config"] if family.is_internvl else {**config.get("text_config", {}), **config}
    return bool(inner.get("tie_word_embeddings", False))


def vision_config(family: Family, config: dict[str, Any]) -> VisionConfig:
    """The vision tower's configuration."""
    vision = config["vision_config"]
    if family is Family.QWEN2_5_VL:
        return Qwen2_5_VLVisionConfig(**_picked(vision, _QWEN2_5_VISION_FIELDS))
    if family is Family.QWEN3_VL:
        return Qwen3VLVisionConfig(**_picked(vision, _QWEN3_VISION_FIELDS))
    return InternVLVisionConfig(
        hidden_size=vision["hidden_size"],
        num_hidden_layers=vision["num_hidden_layers"],
        num_attention_heads=vision["num_attention_heads"],
        intermediate_size=vision["intermediate_size"],
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        layer_norm_eps=vision.get("layer_norm_eps", 1e-6),
        norm_type=vision.get("norm_type", "layer_norm"),
        attention_bias=vision.get("qkv_bias", True),
        use_qk_norm=vision.get("qk_normalization", False),
        hidden_act=vision.get("hidden_act", "gelu"),
        # transformers' name for having no norm after the last layer, as in the reference.
        use_mean_pooling=True,
    )


def _rope(llm: dict[str, Any]) -> dict[str, Any]:
    """Rotary parameters from InternVL's llm_config. The published ones use dynamic NTK scaling (see `rotary`)."""
    scaling = llm.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "dynamic"):
        raise ValueError(f"rope_scaling {kind!r}, only dynamic is known")
    rope = {"rope_type": kind, "rope_theta": float(llm.get("rope_theta", 1_000_000.0))}
    return rope | ({"factor": float(scaling["factor"])} if kind == "dynamic" else {})


def _picked(config: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: config[name] for name in fields if name in config}
