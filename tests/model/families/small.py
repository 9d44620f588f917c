"""Small checkpoints of every family: config.json in the published layout, with random weights."""

import json
from pathlib import Path
from typing import Any

import torch

from tune_sa2va.model.checkpoint import build_on_meta, load_model, save_model
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.sa2va import Sa2VA

SAM2 = {
    "image_size": 256, "embed_dim": 8, "num_heads": 1, "stages": [1, 2, 3, 1], "global_att_blocks": [4, 5],
    "d": 32, "mem": 8, "mem_ff": 64, "mem_layers": 2, "dec_mlp": 64, "iou_hidden": 32,
}  # fmt: skip
INTERN_VIT = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "image_size": 56,
    "patch_size": 14, "layer_norm_eps": 1e-6, "qkv_bias": True, "qk_normalization": False, "norm_type": "layer_norm",
    "hidden_act": "gelu", "model_type": "intern_vit_6b",
}  # fmt: skip
INTERN_VIT_6B = INTERN_VIT | {"qkv_bias": False, "qk_normalization": True, "norm_type": "rms_norm"}
INTERNLM2 = {
    "model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "bias": False,
    "vocab_size": 700, "max_position_embeddings": 64, "rope_theta": 1000.0, "hidden_act": "silu",
    "rope_scaling": {"type": "dynamic", "factor": 3.0},
}  # fmt: skip


def internvl(llm: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    """config.json of the InternVL families."""
    return {
        "architectures": ["Sa2VAChatModel"], "llm_config": llm, "vision_config": vision, "force_image_size": 56,
        "downsample_ratio": 0.5, "dynamic_image_size": True, "min_dynamic_patch": 1, "max_dynamic_patch": 4,
        "use_thumbnail": True, "ps_version": "v2", "select_layer": -1, "template": "internlm2_chat",
        "model_type": "sa2va_chat", "tie_word_embeddings": False,
        "auto_map": {"AutoModel": "modeling_sa2va_chat.Sa2VAChatModel"},
    }  # fmt: skip


def qwen2_5_vl() -> dict[str, Any]:
    """config.json of the Qwen2.5-VL family: windows of 4 x 4 patches, full attention in the second of three blocks."""
    return {
        "architectures": ["Sa2VAChatModelQwen"], "model_type": "sa2va_chat", "template": "qwen_chat",
        "tie_word_embeddings": False,
        "text_config": {
            "model_type": "qwen2_5_vl_text", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "vocab_size": 700,
            "max_position_embeddings": 4096, "rope_theta": 10000.0, "hidden_act": "silu",
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        },
        "vision_config": {
            "model_type": "qwen2_5_vl", "depth": 3, "hidden_size": 32, "hidden_act": "silu", "intermediate_size": 40,
            "num_heads": 2, "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "window_size": 56, "out_hidden_size": 64, "fullatt_block_indexes": [1],
        },
    }  # fmt: skip


def write_checkpoint(folder: Path, config: dict[str, Any], *, seed: int = 0) -> Sa2VA:
    """Fills `folder` with a config and with weights large enough for every part to matter, and loads the model."""
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "sam2_dims.json").write_text(json.dumps(SAM2))
    model = build_on_meta(read_dims(folder)).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.normal_(0, 0.1 if tensor.ndim == 1 else tensor[0].numel() ** -0.5, generator=generator)
            if tensor.ndim == 1 and name.endswith("weight"):
                tensor.add_(1)
    save_model(model, folder / "model.safetensors", dtype=torch.float32)
    return load_model(folder, device=torch.device("cpu"), dtype=torch.float32)
