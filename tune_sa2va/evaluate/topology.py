"""Scores of a vessel tree's topology, which pixel overlap misses: a gap in a thin vessel has few pixels.

`cl_dice` measures whether centre lines are covered, `betti_error` whether there are as many pieces and holes as in the
truth.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage
from skimage.morphology import skeletonize

from tune_sa2va.evaluate.metrics import require_same_grid

EIGHT = np.ones((3, 3), dtype=np.int8)
"""Neighbours of foreground pixels, corners included: a thin diagonal vessel is one piece."""
FOUR = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=np.int8)
"""Neighbours of background pixels, corners excluded. With 8 for the foreground, b0 - b1 is the Euler characteristic."""


@dataclass(frozen=True, slots=True)
class BettiNumbers:
    """b0: number of 8-connected pieces. b1: number of holes: 4-connected pieces of background enclosed by vessel."""

    b0: int
    b1: int


def cl_dice(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> float:
    """Centreline Dice in [0, 1] on the masks' own grid: Shit et al., arXiv 2003.07311, equations 1 and 2.

    The harmonic mean of the share of the prediction's skeleton inside the truth and the share of the truth's skeleton
    inside the prediction. Skeletons are scikit-image's (Zhang and Suen 1984), one pixel wide.
    NaN if both masks are empty; 0 if only one is, or if neither skeleton meets the other mask.
    """
    require_same_grid(mask_HW, truth_HW)
    if not mask_HW.any() or not truth_HW.any():
        return 0.0 if mask_HW.any() or truth_HW.any() else math.nan
    mask_line, truth_line = skeletonize(mask_HW), skeletonize(truth_HW)
    precision = np.count_nonzero(mask_line & truth_HW) / np.count_nonzero(mask_line)
    sensitivity = np.count_nonzero(truth_line & mask_HW) / np.count_nonzero(truth_line)
    if precision + sensitivity == 0.0:
        return 0.0
    return float(2.0 * precision * sensitivity / (precision + sensitivity))


def betti_numbers(mask_HW: Bool[np.ndarray, "H W"]) -> BettiNumbers:
    """Pieces and holes of a whole mask. Outside the image is background, connected to the background at the edge."""
    _, num_pieces = ndimage.label(mask_HW, structure=EIGHT)
    _, num_backgrounds = ndimage.label(np.pad(~mask_HW, 1, constant_values=True), structure=FOUR)
    return BettiNumbers(b0=int(num_pieces), b1=int(num_backgrounds) - 1)


def betti_error(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> float:
    """|difference of b0| + |difference of b1| over the whole image: a whole number, 0 is best, no upper bound.

    Like the Betti number error of Hu et al. 2019 (arXiv 1906.05404, section 4), but over the whole image and not over
    random patches, so a stray piece counts once. NaN if both masks are empty; for an empty prediction the error is the
    sum of the truth's numbers.
    """
    require_same_grid(mask_HW, truth_HW)
    if not mask_HW.any() and not truth_HW.any():
        return math.nan
    found, true = betti_numbers(mask_HW), betti_numbers(truth_HW)
    return float(abs(found.b0 - true.b0) + abs(found.b1 - true.b1))
