"""Runs the frozen encoders on pictures, and releases them once everything is encoded."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import nn

from tune_sa2va.model.preprocess import EncoderInputs, encoder_inputs
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA

ENCODERS = ("vision_model", "mlp1", "sam_vision")
"""The modules of `Sa2VA` that training does not need once the features are computed."""


class EncodersReleasedError(RuntimeError):
    """An encoder was called after `release_encoders` had removed it from the model."""


def encode(model: Sa2VA, image: UInt8[ndarray, "H W 3"], *, raw_high_res: bool) -> ImageFeatures:
    """Features of one picture in the base model's dtype. raw_high_res: see `encode_batch`."""
    return encode_batch(model, [encoder_inputs(image, model.dims)], raw_high_res=raw_high_res)[0]


@torch.no_grad()
def encode_batch(model: Sa2VA, inputs: Sequence[EncoderInputs], *, raw_high_res: bool) -> list[ImageFeatures]:
    """Features of several pictures whose inputs have the same shape; equal to those of `encode` up to rounding.

    raw_high_res: return the FPN's finer levels as they are before `conv_s0` and `conv_s1`.
    """
    reference = model.no_mem_embed
    pixel_values = [each.pixel_values.to(reference) for each in inputs]
    g_pixel_values = torch.cat([each.g_pixel_values.to(reference) for each in inputs])
    if len(inputs) == 1 or not model.dims.family.is_internvl:  # Qwen-VL's tower takes one picture at a time
        return [
            model.encode_image(pixels, square[None], project_high_res=not raw_high_res, grid=each.grid)
            for pixels, square, each in zip(pixel_values, g_pixel_values, inputs, strict=True)
        ]
    tokens = model.encode_tiles(torch.cat(pixel_values)).unflatten(0, (len(inputs), -1)).flatten(1, 2)
    embed, high_res_1, high_res_0 = model.encode_sam(g_pixel_values)
    if not raw_high_res:
        high_res_1, high_res_0 = model.project_high_res(high_res_1, high_res_0)
    return [ImageFeatures(*fields) for fields in zip(tokens, embed, high_res_1, high_res_0, strict=True)]


def release_encoders(model: Sa2VA, *, sam2: bool = True, vision: bool = True) -> None:
    """Removes encoders from `model` and frees their memory. To encode again, load the model again.

    sam2, vision: which ones to remove. A trial that adapts an encoder needs it in its steps.
    """
    for name in ENCODERS:
        if sam2 if name == "sam_vision" else vision:
            setattr(model, name, _Released(name))
    if model.no_mem_embed.device.type == "cuda":
        torch.cuda.empty_cache()


class _Released(nn.Module):
    """Takes the place of a released encoder, and raises EncodersReleasedError when called."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name_of_encoder = name

    def forward(self, *_: object, **__: object) -> NoReturn:
        raise EncodersReleasedError(
            f"{self._name_of_encoder} was released after the features were cached, so this model cannot encode images. "
            "Load the model again."
        )
