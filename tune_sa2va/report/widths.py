"""Errors by vessel width: what each model misses and invents on the test part, for thin and wide vessels separately."""

import itertools
import math
from dataclasses import dataclass

from tune_sa2va.evaluate.width import EDGES_PX, WidthErrors, errors_by_width, total
from tune_sa2va.report.test_images import MODELS, TestImages

BINS = [
    f"under {EDGES_PX[0]:g} px",
    *(f"{low:g} to {high:g} px" for low, high in itertools.pairwise(EDGES_PX)),
    f"{EDGES_PX[-1]:g} px and more",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class WidthTable:
    """Errors by width. rows: a model, and for each of `bins` the shares that it missed and invented, as percentages.

    num_images: how many images were read.
    """

    bins: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]
    num_images: int


def width_table(images: TestImages | None) -> WidthTable | None:
    """The errors, summed over all test images whose masks were kept; None if there are none."""
    if images is None:
        return None
    found: dict[str, list[tuple[WidthErrors, ...]]] = {model: [] for model in MODELS}
    for image in images:
        for model, mask in image.masks.items():
            found[model].append(errors_by_width(mask, image.truth))
    rows = [(model, list(map(_shares, total(errors)))) for model, errors in found.items() if errors]
    return WidthTable(bins=BINS, rows=rows, num_images=max(map(len, found.values()))) if rows else None


def _shares(errors: WidthErrors) -> tuple[str, str]:
    return _percent(errors.missed_share), _percent(errors.invented_share)


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.0%}"
