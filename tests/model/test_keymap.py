"""Every key of a real checkpoint fills one native tensor or is for video only."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tune_sa2va.model.families import Family
from tune_sa2va.model.keymap import LEFTOVER_PATTERNS, Source, is_leftover, source_of
from tune_sa2va.model.sa2va import Sa2VA

FAMILY = Family.INTERNVL_QWEN2


@pytest.fixture(scope="module")
def real_keys(real_folder: Path) -> set[str]:
    index = json.loads((real_folder / "model.safetensors.index.json").read_text())
    return set(index["weight_map"])


def test_every_key_of_the_real_index_is_used_once(real_keys: set[str], real_model: Sa2VA) -> None:
    assert len(real_keys) == 1589
    sources = [source_of(name, FAMILY) for name in real_model.state_dict()]
    uses = Counter((key, source.third) for source in sources for key in source.keys)
    assert max(uses.values()) == 1
    mapped = {key for key, _ in uses}
    leftover = {key for key in real_keys if is_leftover(key)}
    assert mapped | leftover == real_keys  # the file has no other keys, and has those of every native tensor
    assert not mapped & leftover


def test_fused_qkv_is_used_in_three_thirds(real_model: Sa2VA) -> None:
    thirds: dict[str, list[int]] = {}
    for source in (source_of(name, FAMILY) for name in real_model.state_dict()):
        if source.third is not None:
            thirds.setdefault(source.keys[0], []).append(source.third)
    assert len(thirds) == 2 * 24  # weight and bias of every InternViT layer
    assert all(sorted(parts) == [0, 1, 2] for parts in thirds.values())


def test_no_leftover_pattern_is_stale(real_keys: set[str]) -> None:
    # A pattern that matches no key of a real checkpoint is misspelt.
    unmatched = [p for p in LEFTOVER_PATTERNS if not any(re.fullmatch(p, key) for key in real_keys)]
    assert not unmatched


def test_8b_has_the_real_number_of_values(real_model: Sa2VA) -> None:
    assert sum(tensor.numel() for tensor in real_model.state_dict().values()) == 8_175_101_121


@pytest.mark.parametrize(
    ("native", "keys", "third"),
    [
        ("language_model.lm_head.weight", ("language_model.lm_head.weight",), None),
        (
            "vision_model.encoder.layer.3.attention.k_proj.bias",
            ("vision_model.encoder.layers.3.attn.qkv.bias",),
            1,
        ),
        (
            "sam_mask_decoder.transformer.layers.1.self_attn.o_proj.weight",
            ("grounding_encoder.sam2_model.sam_mask_decoder.transformer.layers.1.self_attn.out_proj.weight",),
            None,
        ),
        (
            "sam_mask_decoder.iou_prediction_head.proj_out.weight",
            ("grounding_encoder.sam2_model.sam_mask_decoder.iou_prediction_head.layers.2.weight",),
            None,
        ),
        (
            "sam_mask_decoder.transformer.layers.0.mlp.proj_out.weight",
            ("grounding_encoder.sam2_model.sam_mask_decoder.transformer.layers.0.mlp.layers.1.weight",),
            None,
        ),
        (
            "sam_prompt_encoder.point_embed.weight",
            tuple(f"grounding_encoder.sam2_model.sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)),
            None,
        ),
        (
            "sam_mask_decoder.transformer.final_attn_token_to_image.o_proj.weight",
            ("grounding_encoder.sam2_model.sam_mask_decoder.transformer.final_attn_token_to_image.out_proj.weight",),
            None,
        ),
    ],
)
def test_names(native: str, keys: tuple[str, ...], third: int | None) -> None:
    assert source_of(native, FAMILY) == Source(keys, third)
