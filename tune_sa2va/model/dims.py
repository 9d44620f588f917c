"""The dimensions of a Sa2VA, read from a checkpoint's config.json (and sam2_dims.json where SAM2 is another)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from transformers import InternVLVisionConfig, Qwen2Config, Sam2Config

from tune_sa2va.errors import CheckpointError


class Sam2Dims(BaseModel):
    """SAM2's dimensions. The defaults are Hiera-large at 1024 pixels, which every published Sa2VA carries.

    `d` is the width of the FPN, the prompt encoder, the mask decoder and the memory attention; `mem` the memory
    channels, `mem_ff` and `mem_layers` the memory attention's MLP and depth. `patch_stride` is 4 in every published
    model; the `tiny` preset takes 2, so that its 512-pixel input still gives mask logits of 256x256.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    image_size: int = 1024
    embed_dim: int = 144
    num_heads: int = 2
    stages: tuple[int, int, int, int] = (2, 6, 36, 4)
    global_att_blocks: tuple[int, ...] = (23, 33, 43)
    window_pos_embed_bkg_spatial_size: tuple[int, int] = (7, 7)
    window_spec: tuple[int, int, int, int] = (8, 4, 16, 8)
    d: int = 256
    mem: int = 64
    mem_ff: int = 2048
    mem_layers: int = 4
    dec_mlp: int = 2048
    iou_hidden: int = 256
    patch_stride: int = 4

    @property
    def embed_side(self) -> int:
        """Rows (and columns) of the image embedding that the mask decoder receives: stride 16, 64 for 1024."""
        return self.image_size // (4 * self.patch_stride)

    @property
    def mask_side(self) -> int:
        """Rows (and columns) of the mask logits: four times the image embedding's, 256 for 1024."""
        return 4 * self.embed_side

    def to_transformers(self) -> Sam2Config:
        """The same as transformers' own configuration."""
        doubling = [2**i for i in range(4)]
        side, stride = self.image_size, self.patch_stride
        return Sam2Config(
            vision_config={
                "model_type": "sam2_vision_model",
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "hidden_size": self.embed_dim,
                    "num_attention_heads": self.num_heads,
                    "image_size": [side, side],
                    "patch_stride": [stride, stride],
                    "window_positional_embedding_background_size": list(self.window_pos_embed_bkg_spatial_size),
                    "blocks_per_stage": list(self.stages),
                    "embed_dim_per_stage": [self.embed_dim * k for k in doubling],
                    "num_attention_heads_per_stage": [self.num_heads * k for k in doubling],
                    "window_size_per_stage": list(self.window_spec),
                    "global_attention_blocks": list(self.global_att_blocks),
                },
                "backbone_channel_list": [self.embed_dim * k for k in reversed(doubling)],
                "backbone_feature_sizes": [[side // (stride * k)] * 2 for k in (1, 2, 4)],
                "fpn_hidden_size": self.d,
            },
            prompt_encoder_config={
                "hidden_size": self.d,
                "image_size": side,
                "patch_size": side // self.embed_side,
            },
            mask_decoder_config={
                "hidden_size": self.d,
                "mlp_dim": self.dec_mlp,
                "iou_head_hidden_dim": self.iou_hidden,
                # Off in Sa2VA: the mask with the highest predicted IoU is taken as it is.
                "dynamic_multimask_via_stability": False,
            },
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sa2VADims:
    """Everything that fixes a Sa2VA's modules and the preparation of its inputs."""

    language_model: Qwen2Config
    vision: InternVLVisionConfig
    sam2: Sam2Dims
    tile_size: int
    min_tiles: int
    max_tiles: int
    use_thumbnail: bool

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens a tile: a quarter of its patches, 256 for 448 pixels."""
        return (self.tile_size // self.vision.patch_size[0]) ** 2 // 4


# Keys of InternVL's own llm_config that transformers' Qwen2Config knows under the same name.
_QWEN2_FIELDS = (
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


def read_dims(folder: Path) -> Sa2VADims:
    """The dimensions of the checkpoint in `folder`.

    Raises:
        CheckpointError: config.json is missing, is not JSON, or describes another kind of model.
    """
    config_path = folder / "config.json"
    config = _read_json(config_path)
    llm, vision = config.get("llm_config"), config.get("vision_config")
    if not isinstance(llm, dict) or not isinstance(vision, dict):
        raise CheckpointError(
            f"{config_path}: has no llm_config and vision_config, so it is not a Sa2VA of the InternVL kind. "
            "Give the folder of a Sa2VA checkpoint."
        )
    if config.get("template", "qwen_chat") != "qwen_chat" or llm.get("model_type", "qwen2") != "qwen2":
        raise CheckpointError(
            f"{config_path}: the language model is {llm.get('model_type')!r} with template {config.get('template')!r}; "
            "only qwen2 with qwen_chat can be loaded. Give a Sa2VA-InternVL3 checkpoint."
        )
    sam2_path = folder / "sam2_dims.json"
    try:
        return Sa2VADims(
            language_model=_qwen2(llm),
            vision=_intern_vit(vision),
            sam2=Sam2Dims(**(_read_json(sam2_path) if sam2_path.exists() else {})),
            tile_size=config.get("force_image_size") or vision["image_size"],
            min_tiles=config.get("min_dynamic_patch", 1),
            max_tiles=config.get("max_dynamic_patch", 12) if config.get("dynamic_image_size", True) else 1,
            use_thumbnail=config.get("use_thumbnail", True),
        )
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"{config_path}: cannot be read as a Sa2VA's dimensions: {error}") from error


def _qwen2(llm: dict[str, Any]) -> Qwen2Config:
    # The published configs ask for dynamic NTK rope, which changes nothing below max_position_embeddings (32,768);
    # a training sequence has at most 12 x 256 image tokens and a line of text.
    return Qwen2Config(
        **{name: llm[name] for name in _QWEN2_FIELDS if name in llm},
        rope_parameters={"rope_type": "default", "rope_theta": llm.get("rope_theta", 1_000_000.0)},
    )


def _intern_vit(vision: dict[str, Any]) -> InternVLVisionConfig:
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
        # Mean pooling in transformers' words: no norm after the last layer, as in the reference.
        use_mean_pooling=True,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found. Give the folder of a Sa2VA checkpoint, or a preset's name."
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}. Copy it again from the checkpoint.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: must hold a JSON object, got {type(content).__name__}.")
    return content
