"""The frozen encoders' part: pictures in, `ImageFeatures` out; and letting the encoders go when all is encoded."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import nn

from tune_sa2va.model.preprocess import EncoderInputs, encoder_inputs
from tune_sa2va.model.sa2va import ImageFeatures, Sa2VA

ENCODERS = ("vision_model", "mlp1", "sam_vision")
"""The modules of `Sa2VA` that training has no use for once the features are there."""


class EncodersReleasedError(RuntimeError):
    """Something is to be encoded, but `release_encoders` was called on this model."""


def encode(model: Sa2VA, image: UInt8[ndarray, "H W 3"], *, raw_high_res: bool) -> ImageFeatures:
    """Features of one picture, in the base model's own dtype."""
    return encode_batch(model, [encoder_inputs(image, model.dims)], raw_high_res=raw_high_res)[0]


@torch.no_grad()
def encode_batch(model: Sa2VA, inputs: Sequence[EncoderInputs], *, raw_high_res: bool) -> list[ImageFeatures]:
    """Features of several pictures whose inputs have one shape, each as `encode` gives it but for kernels' rounding.

    raw_high_res: leave the FPN's finer levels before `conv_s0`/`conv_s1`.
    """
    reference = model.no_mem_embed
    pixel_values = [each.pixel_values.to(reference) for each in inputs]
    g_pixel_values = torch.cat([each.g_pixel_values.to(reference) for each in inputs])
    if len(inputs) == 1 or not model.dims.family.is_internvl:  # Qwen-VL's tower takes the patches of one picture
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
    """Take encoders out of `model` and give their memory back to the device. Open the model again to encode.

    sam2, vision: which; a trial that adapts one needs it in its steps.
    """
    for name in ENCODERS:
        if sam2 if name == "sam_vision" else vision:
            setattr(model, name, _Released(name))
    if model.no_mem_embed.device.type == "cuda":
        torch.cuda.empty_cache()


class _Released(nn.Module):
    """Stands where an encoder was."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name_of_encoder = name

    def forward(self, *_: object, **__: object) -> NoReturn:
        raise EncodersReleasedError(
            f"{self._name_of_encoder} was let go after the features were cached, so this model encodes no more images. "
            "Load the model again for them."
        )
