"""The best, median and worst test image: the image, the truth, and what each model got right and wrong."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from PIL import Image

from tune_sa2va.report.load import Run
from tune_sa2va.report.test_images import TestImage, TestImages
from tune_sa2va.results.test_scores import WINNER

_LONGEST_PX = 1024
"""Longest side of a picture in the page, the size that SAM2 sees. Larger images are scaled down to it."""
FOUND, INVENTED, MISSED = (42, 157, 143), (240, 150, 30), (222, 60, 140)
"""True positive, false positive, false negative as RGB: green, orange, pink."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A picture with its caption. url: a data URL."""

    caption: str
    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One test image with its pictures."""

    title: str
    image: str
    """Its code, or its name if names may be shown."""
    scores: str
    panels: list[Panel]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """The cases to show. missing: why there are none; empty if there are some."""

    cases: list[Case]
    missing: str


def gallery(run: Run, images: TestImages | None) -> Gallery:
    """Up to three test images, chosen by the winner's Dice. images: None if the data set cannot be read."""
    if run.locked is None:
        return Gallery(cases=[], missing="The test part has not been scored.")
    if images is None:
        missing = "The images cannot be read: the data set has been moved or changed since the search."
        return Gallery(cases=[], missing=missing)
    winner = run.locked.scores
    winner = winner[(winner["row"] == WINNER) & winner["dice"].notna()].sort_values("dice").reset_index(drop=True)
    there = [(row["image_code"], row["text"]) in images.samples for row in winner.to_dict("records")]
    winner = winner[there].reset_index(drop=True)
    if winner.empty:
        return Gallery(cases=[], missing="All test images have changed since the search.")
    cases, taken = [], set()
    for title, place in best_median_worst(len(winner)).items():
        row = winner.iloc[place]
        if place not in taken:
            cases.append(_case(run, title, row, images.read((row["image_code"], row["text"]))))
            taken.add(place)
    return Gallery(cases=cases, missing="")


def best_median_worst(number: int) -> dict[str, int]:
    """Title -> place among `number` images that are sorted from the worst to the best."""
    return {"Best": number - 1, "Median": (number - 1) // 2, "Worst": 0}


def _case(run: Run, title: str, row: pd.Series, image: TestImage) -> Case:
    """The panels of one image: image and truth first, then one per model."""
    picture, truth = image.picture, image.truth
    panels = [_panel("image", picture), _panel("truth", painted(picture, truth, truth))]
    panels += [_panel(model, painted(picture, mask, truth)) for model, mask in image.masks.items()]
    scores = f"Dice {row['dice']:.3f}, clDice {row['cl_dice']:.3f}, HD95 {row['hd95_px']:.1f} px"
    asked = "" if run.locked is None or len(run.locked.texts) < 2 else f", {row['text']}"
    return Case(title=f"{title}{asked}", image=run.names.label(row["image_code"]), scores=scores, panels=panels)


def painted(
    picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with `mask` over it, in the colours FOUND, INVENTED and MISSED."""
    mixed = picture.astype(np.float64)
    for where, colour in ((mask & truth, FOUND), (mask & ~truth, INVENTED), (~mask & truth, MISSED)):
        mixed[where] = 0.35 * mixed[where] + 0.65 * np.array(colour, dtype=np.float64)
    return mixed.round().astype(np.uint8)


def _panel(caption: str, picture: UInt8[np.ndarray, "H W 3"]) -> Panel:
    """The picture as JPEG. It is encoded again, so that it carries none of the file's metadata."""
    image = Image.fromarray(picture)
    scale = _LONGEST_PX / max(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, subsampling=0)
    return Panel(caption=caption, url="data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
