"""Pictures to the two inputs of Sa2VA: tiles for InternViT (`pixel_values`), one square for SAM2 (`g_pixel_values`).

Both resizes are Pillow's bicubic, as in the reference; another kernel would shift every feature.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from tune_sa2va.model.dims import Sa2VADims

_MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
_STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


@dataclass(frozen=True, slots=True)
class EncoderInputs:
    """pixel_values: (tiles, 3, P, P); g_pixel_values: (1, 3, G, G); both normalised fp32."""

    pixel_values: Float[Tensor, "N 3 P P"]
    g_pixel_values: Float[Tensor, "1 3 G G"]


def encoder_inputs(image: UInt8[np.ndarray, "H W 3"], dims: Sa2VADims) -> EncoderInputs:
    """Both inputs of one picture."""
    picture = Image.fromarray(image)
    square = picture.resize((dims.sam2.image_size, dims.sam2.image_size), Image.Resampling.BICUBIC)
    return EncoderInputs(
        pixel_values=torch.stack([_normalise(tile) for tile in tiles(picture, dims)]),
        g_pixel_values=_normalise(square)[None],
    )


def tiles(picture: Image.Image, dims: Sa2VADims) -> list[Image.Image]:
    """The picture cut into its closest grid of squares, row by row; a thumbnail last when there is more than one."""
    columns, rows = tile_grid(picture.width, picture.height, dims)
    side = dims.tile_size
    resized = picture.resize((columns * side, rows * side), Image.Resampling.BICUBIC)
    cut = [
        resized.crop((x * side, y * side, (x + 1) * side, (y + 1) * side)) for y in range(rows) for x in range(columns)
    ]
    if dims.use_thumbnail and len(cut) > 1:
        cut.append(picture.resize((side, side), Image.Resampling.BICUBIC))
    return cut


def tile_grid(width: int, height: int, dims: Sa2VADims) -> tuple[int, int]:
    """(columns, rows) of the grid of the closest aspect ratio; on a tie the larger if the picture fills half of it.

    As InternVL's `find_closest_aspect_ratio`: candidates by rising area, so that a tie is always with a smaller grid.
    """
    grids = {
        (columns, rows)
        for columns in range(1, dims.max_tiles + 1)
        for rows in range(1, dims.max_tiles + 1)
        if dims.min_tiles <= columns * rows <= dims.max_tiles
    }
    best, best_difference = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: (grid[0] * grid[1], grid)):
        difference = abs(width / height - columns / rows)
        fills_half = width * height > 0.5 * dims.tile_size**2 * columns * rows
        if difference < best_difference or (difference == best_difference and fills_half):
            best, best_difference = (columns, rows), difference
    return best


def num_tiles(width: int, height: int, dims: Sa2VADims) -> int:
    """Tiles of a picture of this size, the thumbnail included."""
    columns, rows = tile_grid(width, height, dims)
    return columns * rows + (1 if dims.use_thumbnail and columns * rows > 1 else 0)


def _normalise(picture: Image.Image) -> Float[Tensor, "3 H W"]:
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1)
    return (pixels.float() / 255 - _MEAN) / _STD
