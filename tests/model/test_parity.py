"""The parity command: passes on the golden folder, and fails on anything that is not the reference's arithmetic.

Its passing run is also the test that the native model, its gradients and PEFT's adapter give the reference's numbers.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from tune_sa2va.errors import CheckpointError
from tune_sa2va.parity import app


def parity(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, [str(folder), *options])


@pytest.fixture
def copy(golden_folder: Path, tmp_path: Path) -> Path:
    """A copy of the golden folder that may be spoilt."""
    folder = tmp_path / "golden"
    shutil.copytree(golden_folder, folder, copy_function=shutil.copyfile)
    for path in (folder, folder / "adapter"):
        path.chmod(0o755)
    return folder


def rewrite(path: Path, changes: dict[str, Tensor]) -> None:
    save_file(load_file(path) | changes, path)


def verdicts(result: Result, verdict: str) -> list[str]:
    return [line.split()[-1] for line in result.stdout.splitlines() if line.startswith(verdict)]


def test_the_golden_folder_agrees(golden_folder: Path) -> None:
    result = parity(golden_folder)
    assert result.exit_code == 0, result.output
    assert "356 checkpoint keys fill native tensors, 105 are only for video." in result.stdout
    golden = set(load_file(golden_folder / "outputs.safetensors")) - {"obj_ptr"}
    golden |= {f"adapter/{name}" for name in load_file(golden_folder / "adapter" / "outputs.safetensors")}
    golden |= {"input_ids", "labels", "attention_mask", "position_ids", "pixel_values", "g_pixel_values"}
    agreeing = verdicts(result, "agrees")
    assert sorted(agreeing) == sorted(golden)
    assert "not compared  obj_ptr (used only for video" in result.stdout


def test_a_changed_weight_is_found(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    key = "language_model.model.layers.2.mlp.up_proj.weight"
    rewrite(copy / "model.safetensors", {key: weights[key] * 1.01})
    result = parity(copy)
    assert result.exit_code == 1
    differing = verdicts(result, "DIFFERS")
    assert {"llm_last_hidden_state", "mask_logits", "adapter/mask_logits"} <= set(differing)
    assert {"vit_embeds", "sam_image_embed", "llm_layer0_output"} <= set(verdicts(result, "agrees"))


def test_changed_outputs_are_found(copy: Path) -> None:
    outputs = load_file(copy / "outputs.safetensors")
    gradient = "grad_bce.vision_model.encoder.layers.0.attn.qkv.weight"
    changes = {
        gradient: outputs[gradient] * 1.002,
        "sam_image_pe": torch.full_like(outputs["sam_image_pe"], torch.nan),
        "iou_scores": torch.zeros(1, 4),
        "unheard_of": torch.zeros(1),
    }
    rewrite(copy / "outputs.safetensors", changes)
    result = parity(copy)
    assert result.exit_code == 1
    far = [line.split("  ")[3] for line in result.stdout.splitlines() if line.startswith("DIFFERS")]
    assert sorted(far) == sorted([gradient, "sam_image_pe", "iou_scores (shape (1, 3), wanted (1, 4))"])
    assert "not compared  unheard_of (no native tensor of that name)" in result.stdout


def test_an_unused_checkpoint_key_fails(copy: Path) -> None:
    rewrite(copy / "model.safetensors", {"grounding_encoder.sam2_model.new_part.weight": torch.zeros(1)})
    result = parity(copy)
    assert result.exit_code == 1
    assert "not used  grounding_encoder.sam2_model.new_part.weight" in result.stdout


@pytest.mark.parametrize("absent", ["config.json", "inputs.safetensors", "sample.json", "model.safetensors"])
def test_a_folder_of_another_kind_is_one_sentence(copy: Path, absent: str) -> None:
    (copy / absent).unlink()
    error = parity(copy).exception
    assert isinstance(error, CheckpointError)
    assert len(str(error).splitlines()) == 1
    assert str(copy) in str(error)


def test_the_golden_folder_of_the_qwen3_vl_kind_agrees(qwen3_vl_folder: Path) -> None:
    result = parity(qwen3_vl_folder)
    assert result.exit_code == 0, result.output
    golden = set(load_file(qwen3_vl_folder / "outputs.safetensors"))
    golden |= {f"adapter/{name}" for name in load_file(qwen3_vl_folder / "adapter" / "outputs.safetensors")}
    golden |= {"input_ids", "labels", "attention_mask", "image_grid_thw", "pixel_values", "g_pixel_values"}
    assert sorted(verdicts(result, "agrees")) == sorted(golden)


def test_bf16_is_reported_within_wide_limits(qwen3_vl_folder: Path) -> None:
    result = parity(qwen3_vl_folder, "--dtype", "bf16")
    assert result.exit_code == 0, result.output
    assert not verdicts(result, "DIFFERS")
