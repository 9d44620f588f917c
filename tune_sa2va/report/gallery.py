"""The best, the median and the worst test image as pictures, with what was found, invented and missed."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from PIL import Image

from tune_sa2va.data import Sample, load_image, load_truth
from tune_sa2va.data.codes import image_code
from tune_sa2va.data.split_file import read_split
from tune_sa2va.errors import DataError, ResultsError
from tune_sa2va.report.load import Run
from tune_sa2va.results.test_scores import MASKS_FOLDER, RECIPE, WINNER, mask_name

_SIDE_PX = 360
"""Longest side of a picture in the page."""
FOUND, INVENTED, MISSED = (42, 157, 143), (240, 150, 30), (222, 60, 140)
"""True positive, false positive, false negative as RGB: green, orange, pink."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A picture as a data URL."""

    caption: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One test image."""

    title: str
    image: str
    """Its code, or its name where names may be shown."""
    scores: str
    panels: list[Panel]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """cases: none where `missing` says why."""

    cases: list[Case]
    missing: str


def gallery(run: Run) -> Gallery:
    """Three test images by the winner's Dice, read through the split and the data source."""
    if run.locked is None:
        return Gallery(cases=[], missing="The test part has not been scored.")
    try:
        samples = _test_samples(run)
    except DataError:
        # Not the error's own words: they hold file names.
        missing = "The images cannot be read where the search read them: the data set has been moved or changed."
        return Gallery(cases=[], missing=missing)
    winner = run.locked.scores
    winner = winner[(winner["row"] == WINNER) & winner["dice"].notna()].sort_values("dice").reset_index(drop=True)
    there = [(row["image_code"], row["text"]) in samples for row in winner.to_dict("records")]
    winner = winner[there].reset_index(drop=True)
    if winner.empty:
        return Gallery(cases=[], missing="No test image is as it was when the search read it.")
    places = {"Best": len(winner) - 1, "Median": (len(winner) - 1) // 2, "Worst": 0}
    cases, taken = [], set()
    for title, place in places.items():
        row = winner.iloc[place]
        if place not in taken:
            cases.append(_case(run, title, row, samples[row["image_code"], row["text"]]))
            taken.add(place)
    return Gallery(cases=cases, missing="")


def _test_samples(run: Run) -> dict[tuple[str, str], Sample]:
    samples = [s for s in read_split(run.folder, run.settings.data) if s.split == "test"]
    return {(image_code(sample), sample.text): sample for sample in samples}


def _case(run: Run, title: str, row: pd.Series, sample: Sample) -> Case:
    picture = load_image(sample.image)
    truth = load_truth(sample, *picture.shape[:2])
    panels = [_panel("image", picture), _panel("truth", _painted(picture, truth, truth))]
    for label in (WINNER, RECIPE):
        mask = _mask(run, label, row["image_code"], row["text"], truth.shape)
        if mask is not None:
            panels.append(_panel(f"{label}", _painted(picture, mask, mask)))
            panels.append(_panel(f"{label}: right and wrong", _painted(picture, mask, truth)))
    scores = f"Dice {row['dice']:.3f}, clDice {row['cl_dice']:.3f}, HD95 {row['hd95_px']:.1f} px"
    asked = "" if run.locked is None or len(run.locked.texts) < 2 else f", {row['text']}"
    return Case(title=f"{title}{asked}", image=run.names.label(row["image_code"]), scores=scores, panels=panels)


def _mask(run: Run, label: str, code: str, text: str, shape: tuple[int, ...]) -> Bool[np.ndarray, "H W"] | None:
    texts = [] if run.locked is None else run.locked.texts
    file = run.folder / MASKS_FOLDER / label / mask_name(code, text, texts)
    if not file.is_file():
        return None
    try:
        with Image.open(file, formats=["PNG"]) as image:
            mask = np.asarray(image.convert("L")) > 127
    except (OSError, SyntaxError, ValueError) as error:  # as Pillow's decoder raises on broken files
        raise ResultsError(
            f"{file}: cannot be read as a mask ({' '.join(str(error).split())}). Delete it, or give --no-pictures."
        ) from error
    return mask if mask.shape == shape else None


def _painted(
    picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    painted = picture.astype(np.float64)
    for where, colour in ((mask & truth, FOUND), (mask & ~truth, INVENTED), (~mask & truth, MISSED)):
        painted[where] = 0.35 * painted[where] + 0.65 * np.array(colour, dtype=np.float64)
    return painted.round().astype(np.uint8)


def _panel(caption: str, picture: UInt8[np.ndarray, "H W 3"]) -> Panel:
    """Encoded anew, so that nothing of the file's own metadata comes along."""
    image = Image.fromarray(picture)
    scale = _SIDE_PX / max(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88, subsampling=0)
    return Panel(caption=caption, url="data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
