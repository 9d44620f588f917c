"""Pictures are turned into the reference's inputs, pixel for pixel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from tune_sa2va.model.dims import Sa2VADims, Tiling
from tune_sa2va.model.preprocess import encoder_inputs, num_tiles, tile_grid, tiles
from tune_sa2va.model.sa2va import Sa2VA


@pytest.mark.parametrize(("side", "count"), [(512, 1), (768, 5), (1024, 10)])
def test_tiles_of_square_pictures(side: int, count: int, real_dims: Sa2VADims) -> None:
    assert num_tiles(side, side, real_dims) == count
    assert len(tiles(Image.new("RGB", (side, side)), real_dims)) == count


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((900, 450), (2, 1)),  # the ratio decides
        ((450, 900), (1, 2)),
        ((1400, 700), (4, 2)),  # a tie of ratios: 4x2 when the picture fills half of it
        ((4000, 100), (12, 1)),  # the widest there is
    ],
)
def test_grid(size: tuple[int, int], grid: tuple[int, int], real_dims: Sa2VADims) -> None:
    assert tile_grid(*size, real_dims) == grid


def test_tiles_go_row_by_row_with_the_thumbnail_last(real_dims: Sa2VADims) -> None:
    # A different grey for each of 2 x 2 tiles.
    greys = np.array([[0, 80], [160, 240]], dtype=np.uint8)
    picture = Image.fromarray(np.kron(greys, np.ones((448, 448), dtype=np.uint8))).convert("RGB")
    cut = tiles(picture, real_dims)
    assert [tile.getpixel((200, 200))[0] for tile in cut[:4]] == [0, 80, 160, 240]
    assert cut[4].getpixel((100, 100))[0] == 0
    assert cut[4].getpixel((340, 340))[0] == 240


def test_golden_inputs(golden_folder: Path, model: Sa2VA) -> None:
    golden = load_file(golden_folder / "inputs.safetensors")
    inputs = encoder_inputs(golden["image"].numpy(), model.dims)
    assert torch.equal(inputs.pixel_values, golden["pixel_values"])
    assert torch.equal(inputs.g_pixel_values, golden["g_pixel_values"])


def test_golden_resize_at_the_real_side(golden_folder: Path, real_dims: Sa2VADims) -> None:
    golden = load_file(golden_folder / "inputs.safetensors")
    square = encoder_inputs(golden["image"].numpy(), real_dims).g_pixel_values[0, :, 8::16, 8::16]
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    pixels = ((square * std + mean) * 255).round().to(torch.uint8)
    assert torch.equal(pixels.permute(1, 2, 0), golden["g_image_1024_uint8_every_16th"])


sides = st.integers(1, 5_000)
tilings = st.builds(
    lambda least, more, thumbnail: Tiling(side=28, min_tiles=least, max_tiles=least + more, use_thumbnail=thumbnail),
    st.integers(1, 6),
    st.integers(0, 11),
    st.booleans(),
)


@settings(deadline=None)
@given(width=sides, height=sides, tiling=tilings)
def test_no_allowed_grid_is_closer_in_ratio(real_dims: Sa2VADims, width: int, height: int, tiling: Tiling) -> None:
    columns, rows = tile_grid(width, height, replace(real_dims, picture=tiling))
    assert tiling.min_tiles <= columns * rows <= tiling.max_tiles
    numbers = range(1, tiling.max_tiles + 1)
    allowed = [(c, r) for c in numbers for r in numbers if tiling.min_tiles <= c * r <= tiling.max_tiles]
    assert abs(width / height - columns / rows) == min(abs(width / height - c / r) for c, r in allowed)


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 400), height=st.integers(1, 400), tiling=tilings, seed=st.integers(0, 99))
def test_tiles_cover_the_picture_once(real_dims: Sa2VADims, width: int, height: int, tiling: Tiling, seed: int) -> None:
    """Put together again, the tiles are the resized picture, pixel for pixel."""
    dims = replace(real_dims, picture=tiling)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    cut = [np.asarray(tile) for tile in tiles(picture, dims)]
    columns, rows = tile_grid(width, height, dims)
    assert len(cut) == num_tiles(width, height, dims)
    assert {tile.shape for tile in cut} == {(28, 28, 3)}
    whole = np.concatenate([np.concatenate(cut[row * columns : (row + 1) * columns], 1) for row in range(rows)])
    resized = picture.resize((columns * 28, rows * 28), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(whole, np.asarray(resized))
    assert len(cut) == columns * rows + (tiling.use_thumbnail and columns * rows > 1)
    for tile, again in zip(cut, tiles(picture, dims), strict=True):
        np.testing.assert_array_equal(tile, np.asarray(again))
