"""Draws every picture with the outline of its truth, one by one and as a contact sheet for each group.

The files are named by the codes of images and groups, so that their names identify nobody. They still show patients.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy.ndimage import binary_dilation

from tune_sa2va.data.codes import group_codes, image_code
from tune_sa2va.data.images import load_image
from tune_sa2va.data.sample import Sample
from tune_sa2va.data.truth import load_truth
from tune_sa2va.errors import UserError

SHEETS, SINGLE = "groups", "images"

_COLOURS = np.array(
    [[255, 80, 0], [0, 200, 255], [80, 255, 80], [255, 0, 200], [255, 230, 0], [150, 120, 255]], dtype=np.uint8
)
"""One for each text, in order of the texts; they repeat from the seventh text on."""

_TILE_PX, _TILES_ACROSS, _TILES_A_SHEET, _GAP_PX = 320, 6, 60, 4


def check_overlay_folder(folder: Path) -> None:
    """Raises UserError if `folder` is not empty, or is a file."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--overlays {folder}: exists already. Give a new or an empty folder.")


def write_overlays(samples: Sequence[Sample], folder: Path, *, limit: int | None = None) -> None:
    """Writes `images/CODE.png` for each picture in its own size, and `groups/CODE.png`, a sheet of small pictures.

    All truths of a picture are drawn into it, each text in its colour, in order of the texts. A sheet holds 60
    pictures; a larger group has several. limit: write this many pictures, one of each group in turn; None: all.

    Raises:
        UserError: `limit` is below 1, or the folder cannot be written.
        DataError: a file has changed since it was checked.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--num-overlays must be 1 or more, got {limit}.")
    colours = {text: _COLOURS[n % len(_COLOURS)] for n, text in enumerate(sorted({s.text for s in samples}))}
    codes = group_codes(samples)
    try:
        for place in (SHEETS, SINGLE):
            (folder / place).mkdir(parents=True, exist_ok=True)
        tiles: dict[str, list[Image.Image]] = defaultdict(list)
        for group, shown in _spread(samples, limit):
            drawn = Image.fromarray(outlined(shown, colours))
            drawn.save(folder / SINGLE / f"{image_code(shown[0])}.png")
            tiles[group].append(_tile(drawn))
        for group, images in tiles.items():
            for number, start in enumerate(range(0, len(images), _TILES_A_SHEET)):
                name = codes[group] + (f"-{number + 1}" if len(images) > _TILES_A_SHEET else "")
                _sheet(images[start : start + _TILES_A_SHEET]).save(folder / SHEETS / f"{name}.png")
    except OSError as error:
        raise UserError(f"--overlays {folder}: cannot be written ({error.strerror}). Give another folder.") from error


def outlined(samples: Sequence[Sample], colours: dict[str, UInt8[np.ndarray, " 3"]]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture that all `samples` share, with the outlines of their truths; lines are thicker in large pictures."""
    pixels = load_image(samples[0].image)
    height, width, _ = pixels.shape
    for sample in samples:
        pixels[_edge(load_truth(sample, height, width))] = colours[sample.text]
    return pixels


def _edge(mask_HW: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels just outside the mask, so that thin vessels stay visible."""
    thickness = max(1, max(mask_HW.shape) // 512)
    edge: Bool[np.ndarray, "H W"] = binary_dilation(mask_HW, np.ones((3, 3)), iterations=thickness) & ~mask_HW
    return edge


def _spread(samples: Sequence[Sample], limit: int | None) -> list[tuple[str, list[Sample]]]:
    """(group, samples of one picture), in order of group and name. A limit takes one picture of each group in turn."""
    pictures: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        pictures[sample.group][sample.name].append(sample)
    turns = sorted((turn, group, name) for group, names in pictures.items() for turn, name in enumerate(sorted(names)))[
        :limit
    ]
    return [(group, pictures[group][name]) for _, group, name in sorted(turns, key=lambda turn: turn[1:])]


def _tile(image: Image.Image) -> Image.Image:
    tile = image.copy()
    tile.thumbnail((_TILE_PX, _TILE_PX))
    return tile


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    across = min(_TILES_ACROSS, len(tiles))
    down = -(-len(tiles) // across)
    pitch = _TILE_PX + _GAP_PX
    sheet = Image.new("RGB", (across * pitch - _GAP_PX, down * pitch - _GAP_PX), (40, 40, 40))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % across * pitch, number // across * pitch))
    return sheet
