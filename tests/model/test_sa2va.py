"""The model's own arithmetic where lower precision would change results."""

import torch

from tune_sa2va.model.checkpoint import load_model
from tune_sa2va.model.locate import model_folder


def test_the_position_encoding_does_not_change_under_autocast() -> None:
    model = load_model(model_folder("tiny"), device=torch.device("cpu"), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = model.image_position_encoding()
    assert torch.equal(under_autocast, model.image_position_encoding())
