"""Every preset has the real dimensions: its parameters are those of the published base models plus Sa2VA's own."""

from dataclasses import dataclass

import pytest

from tune_sa2va.config import LoraSettings
from tune_sa2va.inspect.counts import count
from tune_sa2va.model.checkpoint import build_on_meta
from tune_sa2va.model.dims import Sam2Dims, read_dims
from tune_sa2va.model.families import Family
from tune_sa2va.model.locate import model_folder, preset_names
from tune_sa2va.model.sa2va import Sa2VA

TOTALS = {
    "8b": 8_182_606_130,  # as the index of a real Sa2VA-InternVL3-8B says
    "sa2va-1b": 1_163_665_458,
    "sa2va-26b": 25_778_005_682,
    "sa2va-4b": 3_941_809_458,
    "sa2va-8b": 8_317_666_610,
    "sa2va-internvl3-14b": 15_369_268_530,
    "sa2va-internvl3-2b": 2_316_157_234,
    "sa2va-qwen2_5-vl-3b": 4_293_849_394,
    "sa2va-qwen2_5-vl-7b": 8_527_538_994,
    "sa2va-qwen3-vl-4b": 5_057_072_434,
    "tiny": 6_760_514,
}


@dataclass(frozen=True)
class Published:
    """A published language model: number of parameters, size of the vocabulary, and whether the head is tied."""

    parameters: int
    vocabulary: int
    tied: bool = False


# `num_parameters` of the safetensors files of each base model.
QWEN2_5_05B = Published(494_032_768, 151_936, tied=True)
QWEN2_5_15B = Published(1_543_714_304, 151_936, tied=True)
QWEN2_5_3B = Published(3_085_938_688, 151_936, tied=True)
QWEN2_5_7B = Published(7_615_616_512, 152_064)
QWEN2_5_14B = Published(14_770_033_664, 152_064)
INTERNLM2_5_7B = Published(7_737_708_544, 92_544)
INTERNLM2_5_20B = Published(19_861_149_696, 92_544)
QWEN3_4B = Published(4_022_468_096, 151_936, tied=True)
LANGUAGE_MODELS = {
    "8b": QWEN2_5_7B,
    "sa2va-1b": QWEN2_5_05B,
    "sa2va-26b": INTERNLM2_5_20B,
    "sa2va-4b": QWEN2_5_3B,
    "sa2va-8b": INTERNLM2_5_7B,
    "sa2va-internvl3-14b": QWEN2_5_14B,
    "sa2va-internvl3-2b": QWEN2_5_15B,
    "sa2va-qwen2_5-vl-3b": QWEN2_5_3B,
    "sa2va-qwen2_5-vl-7b": QWEN2_5_7B,
    "sa2va-qwen3-vl-4b": QWEN3_4B,
}
# Of the whole Qwen-VL base models, their language models taken off; the others are InternViT's.
VISION_TOWERS = {
    "sa2va-qwen2_5-vl-3b": 3_754_622_976 - QWEN2_5_3B.parameters,
    "sa2va-qwen2_5-vl-7b": 8_292_166_656 - QWEN2_5_7B.parameters,
    "sa2va-qwen3-vl-4b": 4_437_815_808 - QWEN3_4B.parameters,
    "8b": 304_012_288,
}


def build(preset: str) -> Sa2VA:
    return build_on_meta(read_dims(model_folder(preset)))


def parts(preset: str) -> dict[str, int]:
    model = build(preset)
    names = ("wqkv", "wo") if model.dims.family is Family.INTERNVL_INTERNLM2 else ("q_proj",)
    counts = count(model, LoraSettings(r=8, alpha_over_r=2, target_modules=names), (), lm_loss=False)
    return {part.name: part.total for part in counts.parts} | {"total": counts.total}


def test_every_preset_is_in_the_table() -> None:
    assert sorted(TOTALS) == sorted(preset_names())
    assert sorted(LANGUAGE_MODELS) == sorted(set(preset_names()) - {"tiny"})


@pytest.mark.parametrize("preset", TOTALS)
def test_parameters(preset: str) -> None:
    counted = parts(preset)
    assert counted["total"] == TOTALS[preset]
    if preset in VISION_TOWERS:
        assert counted["vision_model"] == VISION_TOWERS[preset]
    if preset in LANGUAGE_MODELS:
        base, dims = LANGUAGE_MODELS[preset], read_dims(model_folder(preset))
        width, vocabulary = dims.language_model.hidden_size, dims.language_model.vocab_size
        embeddings = base.vocabulary * width * (1 if base.tied else 2)
        assert counted["language_model"] == base.parameters - embeddings + 2 * vocabulary * width
        assert dims.sam2 == Sam2Dims()
