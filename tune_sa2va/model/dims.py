"""The dimensions of a Sa2VA, read from a checkpoint's config.json (and sam2_dims.json if SAM2 is not the usual one)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from pydantic import BaseModel, ConfigDict
from transformers import Sam2Config

from tune_sa2va.errors import CheckpointError
from tune_sa2va.model.families import Family
from tune_sa2va.model.families.configs import (
    TextConfig,
    VisionConfig,
    family_of,
    text_config,
    ties_embeddings,
    vision_config,
)
from tune_sa2va.model.templates import template_of


class Sam2Dims(BaseModel):
    """SAM2's dimensions. The defaults are Hiera-large at 1024 pixels, which every published Sa2VA has.

    `d` is the width of the FPN, the prompt encoder, the mask decoder and the memory attention; `mem` is the number of
    memory channels; `mem_ff` and `mem_layers` are the memory attention's MLP width and depth. `patch_stride` is 4 in
    every published model; the `tiny` preset has 2, so that its 512-pixel input still gives mask logits of 256x256.
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
        """These dimensions as transformers' own configuration."""
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
                # Off in Sa2VA, which always takes the mask with the highest predicted IoU.
                "dynamic_multimask_via_stability": False,
            },
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """How InternVL cuts a picture: into `min_tiles` to `max_tiles` squares of `side` pixels, and a thumbnail."""

    side: int
    min_tiles: int
    max_tiles: int
    use_thumbnail: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Patching:
    """How Qwen-VL cuts a picture: resized to multiples of merge x patch_size, within limits, and cut into one grid.

    temporal: how often a picture is repeated in time. mean, std: per channel, for normalisation.
    min_pixels, max_pixels: of the resized picture. The reference's code fixes them at 512 and 2048 times 28 x 28,
        whatever the checkpoint's files say (`modeling_sa2va_qwen.py`, and `min_pixels_single` of its training data).
    """

    patch_size: int
    merge: int
    temporal: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    min_pixels: int = 512 * 28 * 28
    max_pixels: int = 2048 * 28 * 28


@dataclass(frozen=True, kw_only=True, slots=True)
class Sa2VADims:
    """All settings that determine a Sa2VA's modules and the preparation of its inputs."""

    family: Family
    language_model: TextConfig
    vision: VisionConfig
    sam2: Sam2Dims
    picture: Tiling | Patching
    ties_embeddings: bool

    @property
    def tiling(self) -> Tiling:
        """How pictures are cut, in the InternVL families."""
        assert isinstance(self.picture, Tiling), f"{self.family} cuts no tiles"
        return self.picture

    @property
    def patching(self) -> Patching:
        """How pictures are cut, in the Qwen-VL families."""
        assert isinstance(self.picture, Patching), f"{self.family} cuts no single grid of patches"
        return self.picture

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels (InternVL)."""
        return self.tiling.side

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens per tile: a quarter of its patches, 256 for 448 pixels (InternVL)."""
        return (self.tiling.side // self.vision.patch_size[0]) ** 2 // 4


def read_dims(folder: Path) -> Sa2VADims:
    """The dimensions of the checkpoint in `folder`.

    Raises:
        CheckpointError: config.json is missing, is not JSON, or describes another kind of model.
    """
    config_path = folder / "config.json"
    config = _read_json(config_path)
    family = family_of(config)
    if family is None:
        raise CheckpointError(
            f"{config_path}: describes {_described(config)}, which is not a Sa2VA of a supported family "
            f"({', '.join(Family)}). Give the folder of one of these."
        )
    template_of(config, config_path)  # raises if the template is unknown
    sam2_path = folder / "sam2_dims.json"
    try:
        return Sa2VADims(
            family=family,
            language_model=text_config(family, config),
            vision=vision_config(family, config),
            sam2=Sam2Dims(**(_read_json(sam2_path) if sam2_path.exists() else {})),
            ties_embeddings=ties_embeddings(family, config),
            picture=_tiling(config) if family.is_internvl else _patching(family, config["vision_config"]),
        )
    except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{config_path}: cannot be read as a Sa2VA's dimensions: {reason}. Copy it again from the checkpoint."
        ) from error


def _tiling(config: dict[str, Any]) -> Tiling:
    if config.get("ps_version", "v2") != "v2" or config.get("select_layer", -1) != -1:
        raise ValueError("ps_version must be v2 and select_layer -1, as in every published Sa2VA")
    return Tiling(
        side=config.get("force_image_size") or config["vision_config"]["image_size"],
        min_tiles=config.get("min_dynamic_patch", 1),
        max_tiles=config.get("max_dynamic_patch", 12) if config.get("dynamic_image_size", True) else 1,
        use_thumbnail=config.get("use_thumbnail", True),
    )


def _patching(family: Family, vision: dict[str, Any]) -> Patching:
    # From preprocessor_config.json of Qwen2.5-VL-*-Instruct (CLIP's values) and of Qwen3-VL-*-Instruct.
    clip = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    mean, std = clip if family is Family.QWEN2_5_VL else ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    default_patch = 14 if family is Family.QWEN2_5_VL else 16
    return Patching(
        patch_size=vision.get("patch_size", default_patch),
        merge=vision.get("spatial_merge_size", 2),
        temporal=vision.get("temporal_patch_size", 2),
        mean=mean,
        std=std,
    )


def _described(config: dict[str, Any]) -> str:
    """What config.json declares, for an error message."""
    for part in ("llm_config", "text_config"):
        if isinstance(inner := config.get(part), dict):
            return f"a language model {inner.get('model_type', 'of no model_type')!r} ({part})"
    return f"model_type {config.get('model_type')!r} without llm_config or text_config"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: not found. Give the folder of a Sa2VA checkpoint, or a preset's name."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}. Copy it again from the checkpoint.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: must hold a JSON object, got {type(content).__name__}. Copy it again.")
    return content
