"""Missed and invented pixels by width of the vessel: thin branches are hard to find, and overall means hide them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.morphology import skeletonize

from tune_sa2va.evaluate.metrics import require_same_grid

EDGES_PX = (4.0, 8.0, 16.0)
"""Boundaries of the bins: widths under 4, 4 to 8, 8 to 16, and from 16 pixels of the original image."""


@dataclass(frozen=True, slots=True)
class WidthErrors:
    """Numbers of pixels in one bin of widths.

    true: vessel pixels of the truth; missed: those of them not predicted.
    predicted: pixels of the predicted mask; invented: those of them not in the truth.
    """

    true: int
    missed: int
    predicted: int
    invented: int

    @property
    def missed_share(self) -> float:
        """Share of the true vessel that is missed, in [0, 1]; NaN if there is no vessel of this width."""
        return self.missed / self.true if self.true else float("nan")

    @property
    def invented_share(self) -> float:
        """Share of the prediction that is invented, in [0, 1]; NaN if nothing of this width is predicted."""
        return self.invented / self.predicted if self.predicted else float("nan")


def errors_by_width(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> tuple[WidthErrors, ...]:
    """One record per bin of `EDGES_PX`, thin to wide.

    Missed pixels are counted by the width of the true vessel, invented ones by the width of the predicted mask.
    """
    require_same_grid(mask_HW, truth_HW)
    truly, predicted = (np.digitize(_width(each), EDGES_PX) for each in (truth_HW, mask_HW))
    bins = range(len(EDGES_PX) + 1)
    return tuple(
        WidthErrors(
            true=int((truth_HW & (truly == place)).sum()),
            missed=int((truth_HW & ~mask_HW & (truly == place)).sum()),
            predicted=int((mask_HW & (predicted == place)).sum()),
            invented=int((mask_HW & ~truth_HW & (predicted == place)).sum()),
        )
        for place in bins
    )


def total(errors: Sequence[tuple[WidthErrors, ...]]) -> tuple[WidthErrors, ...]:
    """Sums the records of several images, bin by bin."""
    return tuple(
        WidthErrors(
            *(sum(getattr(one, name) for one in of_bin) for name in ("true", "missed", "predicted", "invented"))
        )
        for of_bin in zip(*errors, strict=True)
    )


def _width(mask_HW: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Local width at each pixel, in pixels: twice the nearest centre line's distance to the background, minus 1."""
    if not mask_HW.any():
        return np.zeros(mask_HW.shape)
    # Padded with background: a vessel that leaves the picture ends at its edge.
    inside = ndimage.distance_transform_edt(np.pad(mask_HW, 1))[1:-1, 1:-1]
    centre = skeletonize(mask_HW)
    nearest = ndimage.distance_transform_edt(~centre, return_distances=False, return_indices=True)
    # The centre of a line 1 pixel wide is 1 from the background; of one 3 pixels wide, 2.
    width: Float[np.ndarray, "H W"] = 2 * inside[nearest[0], nearest[1]] - 1
    return width
