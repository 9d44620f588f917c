"""Turns pictures into the two inputs of Sa2VA: `pixel_values` for the vision tower, `g_pixel_values` for SAM2.

All resizes are Pillow's bicubic, as in the reference; another kernel would shift every feature. The vision tower's
input is tiles for InternViT (here) or one grid of patches for Qwen-VL (`patches`). SAM2's is one square.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from tune_sa2va.model.dims import Patching, Sa2VADims
from tune_sa2va.model.patches import patches_of, token_grid

MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


@dataclass(frozen=True, slots=True)
class EncoderInputs:
    """pixel_values: (tiles, 3, P, P), or (patches, F) in Qwen-VL; g_pixel_values: (1, 3, G, G); both normalised fp32.

    grid: rows and columns of image tokens in Qwen-VL, None in InternVL; `Sa2VA.encode_image` takes it.
    """

    pixel_values: Float[Tensor, "N ..."]
    g_pixel_values: Float[Tensor, "1 3 G G"]
    grid: tuple[int, int] | None = None


def encoder_inputs(image: UInt8[np.ndarray, "H W 3"], dims: Sa2VADims) -> EncoderInputs:
    """Both inputs for one picture, RGB."""
    picture = Image.fromarray(image)
    square = picture.resize((dims.sam2.image_size, dims.sam2.image_size), Image.Resampling.BICUBIC)
    g_pixel_values = _normalise(square)[None]
    if isinstance(dims.picture, Patching):
        patches, grid = patches_of(picture, dims.picture)
        return EncoderInputs(patches, g_pixel_values, grid)
    return EncoderInputs(torch.stack([_normalise(tile) for tile in tiles(picture, dims)]), g_pixel_values)


@dataclass(frozen=True, slots=True)
class Pixels:
    """One picture resized for the encoders but not normalised, 8 bits per value, for steps that run an encoder.

    square: (3, G, G) for SAM2; None if its features are cached.
    tiles: (tiles, 3, P, P) for InternViT, row by row, the thumbnail last; None if its features are cached.
    grid: (rows, columns) of the tiles without the thumbnail; None without tiles.
    """

    square: UInt8[Tensor, "3 G G"] | None
    tiles: UInt8[Tensor, "N 3 P P"] | None
    grid: tuple[int, int] | None


def pixels_of(image: UInt8[np.ndarray, "H W 3"], dims: Sa2VADims, *, sam2: bool, vision: bool) -> Pixels:
    """The inputs for the chosen encoders. Once normalised, they equal those of `encoder_inputs`."""
    picture = Image.fromarray(image)
    square = picture.resize((dims.sam2.image_size, dims.sam2.image_size), Image.Resampling.BICUBIC) if sam2 else None
    columns, rows = tile_grid(picture.width, picture.height, dims) if vision else (0, 0)
    return Pixels(
        None if square is None else _levels(square),
        torch.stack([_levels(tile) for tile in tiles(picture, dims)]) if vision else None,
        (rows, columns) if vision else None,
    )


def normalised(
    pictures: Float[Tensor, "*B 3 H W"], mean: Float[Tensor, "3 1 1"] = MEAN, deviation: Float[Tensor, "3 1 1"] = STD
) -> Float[Tensor, "*B 3 H W"]:
    """Normalises values in [0, 1] for the encoders. mean, deviation: ImageNet's, on the pictures' device."""
    return (pictures - mean) / deviation


def num_image_tokens(width: int, height: int, dims: Sa2VADims) -> int:
    """Number of image tokens for a picture of this size in pixels, in any family."""
    if isinstance(dims.picture, Patching):
        rows, columns = token_grid(width, height, dims.picture)
        return rows * columns
    return num_tiles(width, height, dims) * dims.tokens_per_tile


def tiles(picture: Image.Image, dims: Sa2VADims) -> list[Image.Image]:
    """The picture cut into its closest grid of squares, row by row, and a thumbnail if there is more than one."""
    columns, rows = tile_grid(picture.width, picture.height, dims)
    side = dims.tile_size
    resized = picture.resize((columns * side, rows * side), Image.Resampling.BICUBIC)
    cut = [
        resized.crop((x * side, y * side, (x + 1) * side, (y + 1) * side)) for y in range(rows) for x in range(columns)
    ]
    if dims.tiling.use_thumbnail and len(cut) > 1:
        cut.append(picture.resize((side, side), Image.Resampling.BICUBIC))
    return cut


def tile_grid(width: int, height: int, dims: Sa2VADims) -> tuple[int, int]:
    """(columns, rows) of the grid with the closest aspect ratio; on a tie the larger if the picture fills half of it.

    As in InternVL's `find_closest_aspect_ratio`. Candidates are sorted by area, so a tie is always with a smaller grid.
    """
    tiling = dims.tiling
    grids = {
        (columns, rows)
        for columns in range(1, tiling.max_tiles + 1)
        for rows in range(1, tiling.max_tiles + 1)
        if tiling.min_tiles <= columns * rows <= tiling.max_tiles
    }
    best, best_difference = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: (grid[0] * grid[1], grid)):
        difference = abs(width / height - columns / rows)
        fills_half = width * height > 0.5 * dims.tile_size**2 * columns * rows
        if difference < best_difference or (difference == best_difference and fills_half):
            best, best_difference = (columns, rows), difference
    return best


def num_tiles(width: int, height: int, dims: Sa2VADims) -> int:
    """Number of tiles for a picture of this size in pixels, including the thumbnail."""
    columns, rows = tile_grid(width, height, dims)
    return columns * rows + (1 if dims.tiling.use_thumbnail and columns * rows > 1 else 0)


def _normalise(picture: Image.Image) -> Float[Tensor, "3 H W"]:
    return normalised(_levels(picture).float() / 255)


def _levels(picture: Image.Image) -> UInt8[Tensor, "3 H W"]:
    return torch.from_numpy(np.array(picture, dtype=np.uint8)).permute(2, 0, 1)
