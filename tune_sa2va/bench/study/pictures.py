"""Pictures of a study: the locked images on which the tool did best, in the middle and worst, with every mask."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from tune_sa2va.bench.study.cells import Cell, StudyPlan, cells_of, is_done
from tune_sa2va.durable import write_whole
from tune_sa2va.errors import DataError
from tune_sa2va.report.gallery import best_median_worst, painted
from tune_sa2va.report.load import load_run
from tune_sa2va.report.test_images import TestImages
from tune_sa2va.results.test_scores import RECIPE, UNTUNED, WINNER

_PANEL_PX, _GAP_PX, _CAPTION_PX = 300, 6, 24
_COLUMNS = ("image", "truth", UNTUNED, RECIPE, WINNER)


@dataclass(frozen=True, slots=True)
class _Shown:
    """An image to show. title: of `best_median_worst`."""

    title: str
    cell: Cell
    key: tuple[str, str]
    dice: dict[str, float]
    """Model -> its Dice on the image."""


def write_pictures(plan: StudyPlan, folder: Path, row: str) -> str:
    """Writes pictures.jpg: three rows of images, chosen by the Dice of the row's winners over all seeds.

    Returns a sentence on what was done, or why not.
    """
    chosen = _chosen(plan, folder, row)
    if not chosen:
        return "No pictures: no search of the study is done."
    try:
        strips = [_strip(folder, shown) for shown in chosen]
    except DataError as error:
        return f"No pictures: {error}"
    sheet = np.concatenate(strips)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "JPEG", quality=80)
    write_whole(folder / "pictures.jpg", file.getvalue())
    return f"Pictures: {folder / 'pictures.jpg'}"


def _chosen(plan: StudyPlan, folder: Path, row: str) -> list[_Shown]:
    found: list[tuple[Cell, tuple[str, str], dict[str, float]]] = []
    for cell in cells_of(plan):
        if cell.row.key != row or not is_done(folder, cell):
            continue
        locked = load_run(folder / cell.name, show_names=False).locked
        assert locked is not None, "a search that is done has scored its test part"
        of_image: dict[tuple[str, str], dict[str, float]] = {}
        for score in locked.scores.to_dict("records"):
            of_image.setdefault((score["image_code"], score["text"]), {})[score["row"]] = score["dice"]
        found += [(cell, key, dice) for key, dice in of_image.items() if not math.isnan(dice[WINNER])]
    if not found:
        return []
    found.sort(key=lambda each: each[2][WINNER])
    return [_Shown(title, *found[place]) for title, place in best_median_worst(len(found)).items()]


def _strip(folder: Path, shown: _Shown) -> UInt8[np.ndarray, "H W 3"]:
    """The panels of one image side by side, with a line of text above them.

    Raises:
        DataError: the image cannot be read, or has changed since the search.
    """
    images = TestImages.of(load_run(folder / shown.cell.name, show_names=False))
    if shown.key not in images.samples:
        raise DataError("a locked image has been changed since the search.")
    image = images.read(shown.key)
    panels = {"image": image.picture, "truth": painted(image.picture, image.truth, image.truth)}
    panels |= {model: painted(image.picture, mask, image.truth) for model, mask in image.masks.items()}
    panels.setdefault(RECIPE, panels[WINNER])  # a recipe that won has no mask of its own
    height = round(_PANEL_PX * image.picture.shape[0] / image.picture.shape[1])
    width = len(_COLUMNS) * (_PANEL_PX + _GAP_PX) - _GAP_PX
    sheet = Image.new("RGB", (width, _CAPTION_PX + height + _GAP_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    for number, name in enumerate(_COLUMNS):
        left = number * (_PANEL_PX + _GAP_PX)
        caption = f"{name} {shown.dice[name]:.3f}" if name in shown.dice else name
        draw.text((left, 2), f"{shown.title}: {caption}" if number == 0 else caption, fill="black", font=font)
        panel = Image.fromarray(panels[name]).resize((_PANEL_PX, height), Image.Resampling.LANCZOS)
        sheet.paste(panel, (left, _CAPTION_PX))
    return np.asarray(sheet)
