"""Counts of the 8B model against the reference's, and of the tiny preset against what a trial really trains."""

import pytest

from tune_sa2va.config import NO_ENCODER, EncoderSettings, LoraSettings
from tune_sa2va.errors import UserError
from tune_sa2va.inspect.counts import count
from tune_sa2va.model.checkpoint import build_on_meta
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.lora import TrialAdapters
from tune_sa2va.model.sa2va import Sa2VA


@pytest.fixture(scope="module")
def real() -> Sa2VA:
    return build_on_meta(read_dims(model_folder("8b")))


@pytest.fixture(scope="module")
def tiny() -> Sa2VA:
    return build_on_meta(read_dims(model_folder("tiny")))


def test_the_8b_model_with_the_recipe(real: Sa2VA) -> None:
    counts = count(real, LoraSettings(), (), lm_loss=False)
    assert counts.total == 8_182_606_130
    assert (counts.adapter, counts.adapter_reached, counts.in_full) == (41_623_552, 40_935_424, 0)
    totals = {part.name: part.total for part in counts.parts}
    assert totals["language_model"] == 7_612_856_832 and totals["vision_model"] == 304_012_288
    assert totals["mlp1"] == 27_540_480 and totals["text_hidden_fcs"] == 13_766_400
    assert totals["SAM2 memory attention"] == 5_922_304 and totals["SAM2 mask decoder"] == 4_215_109
    assert sum(total for name, total in totals.items() if name.startswith("SAM2")) == 224_430_130
    adapters = {part.name: (part.adapter_modules, part.adapter) for part in counts.parts if part.adapter}
    assert adapters == {
        "language_model": (112, 40_370_176),
        "SAM2 mask decoder": (21, 565_248),
        "SAM2 memory attention": (24, 688_128),
    }


@pytest.mark.parametrize(
    ("full", "encoder"),
    [
        ((), NO_ENCODER),
        (("mask_decoder",), NO_ENCODER),
        (("mask_decoder", "text_hidden_fcs"), EncoderSettings(sam2="late", r=4)),
        (("neck",), EncoderSettings(sam2="all", vision="all", r=4)),
    ],
)
def test_trained_is_what_a_trial_trains(tiny: Sa2VA, full, encoder: EncoderSettings) -> None:
    lora = LoraSettings(r=8)
    counts = count(tiny, lora, full, lm_loss=False, encoder=encoder)
    adapters = TrialAdapters(tiny, lora, full, seed=0, encoder=encoder)
    sizes = {name: value.numel() for name, value in adapters.parameters.items()}
    adapters.detach()
    lora_size = sum(size for name, size in sizes.items() if ".lora_" in name)
    assert counts.adapter_reached == lora_size  # a gradient reaches all modules that the recipe's names match
    assert counts.in_full == sum(sizes.values()) - lora_size


def test_modules_are_grouped_and_none_is_lost(tiny: Sa2VA) -> None:
    counts = count(tiny, LoraSettings(target_modules=("layers.0.self_attn.q_proj", "v_proj")), (), lm_loss=False)
    names = {group.name: group.count for group in counts.modules}
    assert names["language_model.model.layers.0.self_attn.q_proj"] == 1
    assert names["language_model.model.layers.{0-2}.self_attn.v_proj"] == 3
    assert sum(names.values()) == sum(part.adapter_modules for part in counts.parts)


def test_targets_that_no_loss_reaches_are_named(tiny: Sa2VA) -> None:
    settings = LoraSettings(target_modules=("q_proj", "lm_head"))
    for lm_loss, unreached in ((False, ["language_model.lm_head"]), (True, [])):
        groups = count(tiny, settings, (), lm_loss=lm_loss).modules
        named = [group.name for group in groups if not group.reached and "memory_attention" not in group.name]
        assert named == unreached


def test_wrong_targets_are_the_users_error(tiny: Sa2VA) -> None:
    with pytest.raises(UserError, match="Nearest: q_proj"):
        count(tiny, LoraSettings(target_modules=("qproj",)), (), lm_loss=False)
