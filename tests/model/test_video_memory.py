"""The parameters that the native model leaves out, against real checkpoints' keys and shapes."""

import json
import math
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.model.conftest import REFERENCE
from tune_sa2va.model.dims import Sam2Dims
from tune_sa2va.model.keymap import is_leftover
from tune_sa2va.model.video_memory import video_memory_shapes


def test_the_real_checkpoints_leftovers_are_these_keys_and_make_up_its_total(real_folder: Path, real_model) -> None:
    index = json.loads((real_folder / "model.safetensors.index.json").read_text())
    shapes = video_memory_shapes(Sam2Dims())
    assert {key for key in index["weight_map"] if is_leftover(key)} == set(shapes)
    native = sum(parameter.numel() for parameter in real_model.parameters())
    assert native + sum(map(math.prod, shapes.values())) == index["metadata"]["total_parameters"] == 8_182_606_130


@pytest.mark.parametrize("name", ["sa2va-internvl-tiny", "sa2va-qwen3vl-tiny"])
def test_shapes_are_those_of_a_checkpoint_at_any_width(name: str) -> None:
    folder = REFERENCE / name
    if not folder.is_dir():
        pytest.skip(f"the reference data {name} is not on this machine")
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        stored = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys() if is_leftover(key)}  # noqa: SIM118
    assert video_memory_shapes(Sam2Dims(**json.loads((folder / "sam2_dims.json").read_text()))) == stored
