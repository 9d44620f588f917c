"""Turns a picture into the input of Qwen-VL's vision towers: a grid of patches, each flattened to a row.

Follows transformers' Pillow image processor for Qwen2-VL, which needs no torchvision. The torchvision one resizes
differently.
"""

import math

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from tune_sa2va.model.dims import Patching


def token_grid(width: int, height: int, patching: Patching) -> tuple[int, int]:
    """(rows, columns) of image tokens for a picture of this size in pixels; a token is merge x merge patches.

    Each side is rounded to whole tokens. If the area is outside the limits, both sides are scaled by the same factor
    (`smart_resize` of Qwen2-VL's image processor).
    """
    side = patching.patch_size * patching.merge
    rows, columns = round(height / side), round(width / side)
    area = rows * columns * side**2
    if area > patching.max_pixels:
        shrink = math.sqrt(height * width / patching.max_pixels)
        rows, columns = (max(1, math.floor(length / shrink / side)) for length in (height, width))
    elif area < patching.min_pixels:
        grow = math.sqrt(patching.min_pixels / (height * width))
        rows, columns = (math.ceil(length * grow / side) for length in (height, width))
    return rows, columns


def patches_of(picture: Image.Image, patching: Patching) -> tuple[Float[Tensor, "P F"], tuple[int, int]]:
    """Normalised patches, one per row, and the grid (rows, columns) of image tokens.

    Patches are ordered by token, row by row, and within a token row by row. Each has channel x time x patch height x
    patch width values, with the picture repeated in time.
    """
    rows, columns = token_grid(picture.width, picture.height, patching)
    size, merge = patching.patch_size, patching.merge
    resized = picture.resize((columns * merge * size, rows * merge * size), Image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
    pixels = pixels.view(resized.height, resized.width, 3).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (patching.mean, patching.std))
    cut = ((pixels - mean) / std).view(3, rows, merge, size, columns, merge, size)
    ordered = cut.permute(1, 4, 2, 5, 0, 3, 6)  # token row and column, patch row and column in it, channel, pixels
    in_time = ordered[..., None, :, :].expand(*ordered.shape[:5], patching.temporal, size, size)
    return in_time.reshape(rows * columns * merge**2, -1), (rows, columns)
