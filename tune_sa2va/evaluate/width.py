"""What a model misses and invents by the width of the vessel: thin branches are the hard ones, and means hide them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.morphology import skeletonize

from tune_sa2va.evaluate.metrics import require_same_grid

EDGES_PX = (4.0, 8.0, 16.0)
"""Widths that part the bins: under 4, 4 to 8, 8 to 16, and from 16 pixels of the original."""


@dataclass(frozen=True, slots=True)
class WidthErrors:
    """Pixels of one width. true: of the vessel; missed: of these. predicted: of the mask; invented: of these."""

    true: int
    missed: int
    predicted: int
    invented: int

    @property
    def missed_share(self) -> float:
        """Of the vessel, 0 to 1; NaN where there is no vessel of this width."""
        return self.missed / self.true if self.true else float("nan")

    @property
    def invented_share(self) -> float:
        """Of the prediction, 0 to 1; NaN where nothing of this width is predicted."""
        return self.invented / self.predicted if self.predicted else float("nan")


def errors_by_width(mask_HW: Bool[np.ndarray, "H W"], truth_HW: Bool[np.ndarray, "H W"]) -> tuple[WidthErrors, ...]:
    """A record a bin of `EDGES_PX`, thin to wide. Misses go by the true vessel's width, inventions by the mask's."""
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
    """Of several images."""
    return tuple(
        WidthErrors(
            *(sum(getattr(one, name) for one in of_bin) for name in ("true", "missed", "predicted", "invented"))
        )
        for of_bin in zip(*errors, strict=True)
    )


def _width(mask_HW: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Each vessel pixel's local width in pixels: twice the distance from its nearest centre line to the background."""
    if not mask_HW.any():
        return np.zeros(mask_HW.shape)
    # A frame of background: a vessel that leaves the picture has an edge there, for the distance.
    inside = ndimage.distance_transform_edt(np.pad(mask_HW, 1))[1:-1, 1:-1]
    centre = skeletonize(mask_HW)
    nearest = ndimage.distance_transform_edt(~centre, return_distances=False, return_indices=True)
    # A line of one pixel is 1 from the background and 1 wide; of three, 2 and 3.
    width: Float[np.ndarray, "H W"] = 2 * inside[nearest[0], nearest[1]] - 1
    return width
