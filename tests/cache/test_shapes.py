"""The expected shapes are those that the encoders produce, in every family; features of another model do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model.conftest import REFERENCE
from tests.model.families.small import INTERN_VIT, INTERNLM2, internvl, qwen2_5_vl, write_checkpoint
from tune_sa2va.cache.feature_file import Layout, layout_of
from tune_sa2va.cache.room import features_bytes
from tune_sa2va.cache.shapes import misfit
from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.dims import read_dims
from tune_sa2va.model.encoding import encode
from tune_sa2va.model.locate import model_folder
from tune_sa2va.model.sa2va import Sa2VA

PICTURE = np.zeros((60, 130, 3), np.uint8)
QWEN3_VL = REFERENCE / "sa2va-qwen3vl-tiny"
CPU, FP32, BF16 = torch.device("cpu"), torch.float32, torch.bfloat16


def _check(model: Sa2VA) -> Layout:
    """Checks that a model's features fit its own shapes and size. Returns the layout with raw features."""
    for raw in (False, True):
        layout = layout_of(encode(model, PICTURE, raw_high_res=raw), BF16)
        assert misfit(layout, model.dims, BF16, raw_high_res=raw) == ""
        assert "wanted" in misfit(layout, model.dims, FP32, raw_high_res=raw)
        assert "high_res_1 is" in misfit(layout, model.dims, BF16, raw_high_res=not raw)
        bytes_said = features_bytes(model.dims, [PICTURE.shape[:2]] * 2, BF16, raw_high_res=raw)
        assert bytes_said == 2 * (4096 + layout.num_bytes)
    return layout


@pytest.mark.parametrize("config", [internvl(INTERNLM2, INTERN_VIT), qwen2_5_vl()], ids=["internlm2", "qwen2_5_vl"])
def test_features_fit_their_own_model(config: dict[str, Any], tmp_path: Path) -> None:
    _check(write_checkpoint(tmp_path, config))


@pytest.mark.skipif(not QWEN3_VL.is_dir(), reason="the reference data sa2va-qwen3vl-tiny is not on this machine")
def test_features_with_deepstack_fit_their_own_model() -> None:
    _check(load_model(QWEN3_VL, device=CPU, dtype=FP32))


def test_features_of_another_model_do_not_fit() -> None:
    model = load_model(model_folder("tiny"), device=CPU, dtype=FP32)
    layout = _check(model)
    assert "image_tokens is" in misfit(layout, read_dims(model_folder("8b")), BF16, raw_high_res=True)
    places = {name: place for name, place in layout.places.items() if name != "embed"}
    assert misfit(Layout(places, {}), model.dims, BF16, raw_high_res=True).startswith("it holds high_res_0, ")


@pytest.mark.parametrize("preset", ["8b", "sa2va-qwen2_5-vl-3b", "sa2va-qwen3-vl-4b"])
def test_every_family_is_told_its_bytes(preset: str) -> None:
    """Needs no weights."""
    dims = read_dims(model_folder(preset))
    assert features_bytes(dims, [(512, 512)], BF16, raw_high_res=False) > 2**22
