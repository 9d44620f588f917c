"""LoRA targets mean what they mean in the reference."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from tune_sa2va.config import EncoderSettings, HieraTargets, LoraSettings
from tune_sa2va.errors import UserError
from tune_sa2va.model.checkpoint import outline_of
from tune_sa2va.model.sa2va import Sa2VA
from tune_sa2va.model.targets import find_encoder_targets, find_targets, matches, memory_attention_shapes

RECIPE_TARGETS = LoraSettings().target_modules


def golden_modules(folder: Path) -> set[str]:
    with safe_open(folder / "adapter" / "adapter_model.safetensors", framework="pt") as file:
        return {key.removeprefix("base_model.model.").rsplit(".", 2)[0] for key in file.keys()}  # noqa: SIM118


def test_the_recipe_matches_the_modules_that_peft_matched(model: Sa2VA, golden_folder: Path) -> None:
    live = {target.reference for target in find_targets(model, RECIPE_TARGETS, ())}
    memory = {name for name in memory_attention_shapes(model.dims.sam2) if matches(name, "q_proj")}
    memory |= {name for name in memory_attention_shapes(model.dims.sam2) if name.endswith(("k_proj", "v_proj"))}
    assert live | memory == golden_modules(golden_folder)
    assert not live & memory


def test_o_proj_is_the_language_models_alone(model: Sa2VA) -> None:
    # SAM2's attention calls its output `o_proj` natively and `out_proj` in the reference.
    assert all(target.native.startswith("language_model.") for target in find_targets(model, ["o_proj"], ()))
    assert {target.native.split(".")[0] for target in find_targets(model, ["out_proj"], ())} == {"sam_mask_decoder"}


def test_longer_names_match_whole_components(model: Sa2VA) -> None:
    targets = find_targets(model, ["layers.1.self_attn.v_proj"], ())
    assert [target.native for target in targets] == [
        "language_model.model.layers.1.self_attn.v_proj",
        "sam_mask_decoder.transformer.layers.1.self_attn.v_proj",
    ]


def test_modules_trained_in_full_get_none(model: Sa2VA) -> None:
    targets = find_targets(model, [*RECIPE_TARGETS, "text_hidden_fcs.0"], ("mask_decoder", "text_hidden_fcs"))
    assert {target.native.split(".")[0] for target in targets} == {"language_model"}


@pytest.mark.parametrize("pattern", ["qkv", "proj", "fc1", "mlp1.1", "vision_model.encoder.layers.0.mlp.fc2"])
def test_encoders_are_refused(model: Sa2VA, pattern: str) -> None:
    with pytest.raises(UserError, match=r"section of their own\. Leave it out and set encoder\.sam2"):
        find_targets(model, ["q_proj", pattern], ())


def test_an_unknown_name_is_answered_with_the_nearest(model: Sa2VA) -> None:
    with pytest.raises(UserError, match=r"'qproj'.*Nearest: q_proj"):
        find_targets(model, ["qproj"], ())


def test_part_of_a_component_does_not_match(model: Sa2VA) -> None:
    with pytest.raises(UserError, match="no module's name"):
        find_targets(model, ["_proj"], ())


@pytest.mark.parametrize("pattern", ["embed_tokens", "conv_s0", "norm"])
def test_only_linear_modules(model: Sa2VA, pattern: str) -> None:
    with pytest.raises(UserError, match="not a linear module"):
        find_targets(model, [pattern], ())


def test_targets_that_one_image_never_runs(model: Sa2VA) -> None:
    assert find_targets(model, ["cross_attn_image.q_proj", "o_proj"], ())  # known, and not alone
    with pytest.raises(UserError, match="no module is left"):
        find_targets(model, ["cross_attn_image.q_proj"], ())


@pytest.mark.parametrize(("choice", "first"), [("none", 48), ("late", 24), ("all", 0)])
def test_hieras_attention_and_mlps_by_the_references_names(
    real_model: Sa2VA, real_folder: Path, choice: HieraTargets, first: int
) -> None:
    trunk = "grounding_encoder.sam2_model.image_encoder.trunk.blocks"
    wanted = {
        f"{trunk}.{block}.{part}"
        for block in range(first, 48)
        for part in ("attn.qkv", "attn.proj", "mlp.layers.0", "mlp.layers.1")
    }
    found = find_encoder_targets(real_model, EncoderSettings(sam2=choice))
    assert {target.reference for target in found} == wanted
    index = json.loads((real_folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert {f"{name}.weight" for name in wanted} <= index.keys()


def test_intern_vits_fused_module_is_one_adapter_in_three_places(real_model: Sa2VA, real_folder: Path) -> None:
    targets = find_encoder_targets(real_model, EncoderSettings(vision="all"))
    fused = [target for target in targets if target.reference == "vision_model.encoder.layers.5.attn.qkv"]
    assert [(target.native.rpartition(".")[2], target.third) for target in fused] == [
        ("q_proj", 0), ("k_proj", 1), ("v_proj", 2),
    ]  # fmt: skip
    references = {target.reference for target in targets}
    assert len(references) == 24 * 4 + 2 and {"mlp1.1", "mlp1.3"} <= references
    index = json.loads((real_folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert {f"{name}.weight" for name in references} <= index.keys()
    projector = find_encoder_targets(real_model, EncoderSettings(vision="mlp1"))
    assert {target.reference for target in projector} == {"mlp1.1", "mlp1.3"}


def test_qwen_vls_tower_takes_none(qwen3_vl_folder: Path) -> None:
    model = outline_of(qwen3_vl_folder)
    assert find_encoder_targets(model, EncoderSettings(sam2="all"))
    with pytest.raises(UserError, match=r"encoder\.vision 'all': only InternVL's"):
        find_encoder_targets(model, EncoderSettings(vision="all"))
